// Metrics of apps and of the machine, as charts: the series of each, its title, its unit and its
// format. The titles are the same as in the terminal and in docs/metrics.md.
import { t } from "./i18n.js";
import { bytes, millis, percent, rate } from "./format.js";

// Custom metric, whose unit is unknown.
export const plainNumber = (value) => (Math.abs(value) >= 1e6 ? value.toExponential(2) : String(Number(value.toPrecision(4))));

const PERCENTILES = { p50: "p50", p95: "p95", p99: "p99" };

// Series by metric of the history, with their labels; `always`: shown without values, too.
export const APP_FIGURES = [
  { title: "cpu", unit: "ofOneCore", series: { cpu: "" }, format: percent, always: true },
  { title: "memory", series: { memory: "" }, format: bytes, isBytes: true, always: true },
  { title: "requests", unit: "aSecond", series: { requests: "" }, format: rate },
  { title: "responseTime", series: PERCENTILES, format: millis },
  { title: "responses5xx", unit: "ofRequests", series: { errors: "" }, format: percent },
  { title: "restarts", unit: "inEachStep", series: { restarted: "" }, format: rate, bars: true },
];
export const RUNTIME_FIGURES = [
  { title: "loopUse", unit: "ofTime", series: { "loop-use": "" }, format: percent },
  { title: "loopDelay", series: { loop: "p50", "loop-p95": "p95", "loop-p99": "p99" }, format: millis },
  { title: "heap", series: { heap: "heapUsed", "heap-total": "heapTotal" }, format: bytes, isBytes: true },
  { title: "gcTime", unit: "ofTime", series: { gc: "" }, format: percent },
  { title: "handles", series: { handles: "" }, format: rate },
];
export const HOST_FIGURES = [
  { title: "cpu", unit: "ofAllCores", series: { cpu: "" }, format: percent, always: true },
  { title: "memory", series: { memory: "" }, format: bytes, isBytes: true, always: true },
  { title: "load", series: { load: "" }, format: rate, always: true },
  { title: "disk", series: { disk: "" }, format: bytes, isBytes: true, always: true },
];

export const metricsOf = (figures) => figures.flatMap((figure) => Object.keys(figure.series));

// Label of a series: a percentile, a name, or the title of a chart with one series.
export const labelOf = (label, title) => (label === "" ? t(title) : label.startsWith("p") ? label : t(label));
