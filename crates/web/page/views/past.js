// Charts of an app or of the machine, from minutes to a year. The range of an app's charts is in
// the address, so it survives a reload of the page.
import { useEffect, useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { bytes, percent, safe } from "../format.js";
import { state } from "../store.js";
import { api } from "../api.js";
import { Empty } from "../parts.js";
import { Chart } from "../chart.js";

const MINUTE = 60000;
const DAY = 1440 * MINUTE;
const RANGES = [["10m", 10 * MINUTE], ["1h", 60 * MINUTE], ["6h", 360 * MINUTE], ["1d", DAY], ["7d", 7 * DAY], ["30d", 30 * DAY], ["1y", 365 * DAY]];
const MARKED = ["exit", "reload_done", "reload_failed", "errored", "online"];
// Number of charts of custom metrics that are shown at first.
const OWN_SHOWN = 8;
const OWN_STEP = 10000;

const decimal = (value) => (value >= 100 ? String(Math.round(value)) : value.toFixed(1));
const hundredths = (value) => value.toFixed(2);
const millis = (value) => `${decimal(value)} ms`;
// Format of a custom metric, whose unit is unknown.
const plainNumber = (value) => (Math.abs(value) >= 1e6 ? value.toExponential(2) : String(Number(value.toPrecision(4))));

// Metric, title, format, and whether the chart is shown without values.
const CHARTS = [["cpu", "cpu", percent, true], ["memory", "memory", bytes, true], ["requests", "requests", decimal, false], ["p95", "p95", millis, false], ["errors", "errorShare", percent, false], ["loop", "loop", millis, false], ["restarts", "restarts", decimal, false]];
const HOST_CHARTS = [["cpu", "cpu", percent], ["memory", "memory", bytes], ["load", "load", hundredths], ["disk", "disk", bytes]];

// Time range in the address: the name of a range, or two instants.
function spanOf(word) {
  const ends = /^(\d{10,14})-(\d{10,14})$/.exec(word || "");
  if (ends && Number(ends[1]) < Number(ends[2])) return { word, fixed: [Number(ends[1]), Number(ends[2])] };
  const range = RANGES.find(([key]) => key === word) || RANGES[1];
  return { word: range[0], length: range[1] };
}

const asSamples = (answer) => answer.figures.map(([at, min, avg, max]) => ({ at, min, avg, max }));
const ofApp = (app) => `app=${encodeURIComponent(app.name)}&namespace=${encodeURIComponent(app.namespace)}`;

// Returns the values of several queries over a time range. It reads them again about as often as a
// step of the chart ends.
function usePast(questions, span, least) {
  const [past, setPast] = useState(null);
  const key = `${questions.join("\n")} ${span.word}`;
  useEffect(() => {
    const stop = new AbortController();
    const read = async () => {
      const [from, to] = span.fixed || [Date.now() - span.length, Date.now()];
      const fetchHistory = (question) => api(`history?${question}&from=${from}&to=${to}&points=300`, { signal: stop.signal });
      try {
        const answers = await Promise.all(questions.map((question) => fetchHistory(question).catch((error) => (error.status === 404 ? { figures: [], marks: [] } : Promise.reject(error)))));
        setPast({ key, from, to, lists: answers.map(asSamples), marks: answers.length ? answers[0].marks : [] });
      } catch {
        // The next read retries it; the page itself reports that the server is gone.
      }
    };
    read();
    const timer = span.fixed ? 0 : setInterval(() => document.hidden || read(), Math.max(least, Math.min(MINUTE, span.length / 300)));
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [key]);
  return past && past.key === key ? past : null;
}

function RangeChips({ span, go }) {
  return html`<div class="chips" role="group" aria-label=${t("range")}>${span.fixed && html`<button class="chip" onClick=${() => go("1h")}>${t("zoomOut")}</button>`}${RANGES.map(([key]) => html`<button key=${key} class="chip ${span.word === key ? "on" : ""}" aria-pressed=${span.word === key} onClick=${() => go(key)}>${key}</button>`)}</div>`;
}

// Custom metrics that the app reports or serves on its own Prometheus page. Their names are not
// known in advance.
function OwnCharts({ app, span, zoom, pick }) {
  const [known, setKnown] = useState([]);
  const [whole, setWhole] = useState(false);
  useEffect(() => {
    const stop = new AbortController();
    const read = () =>
      api("history/series", { signal: stop.signal })
        .then(({ series }) => setKnown(series.filter((one) => one.app === app.name && one.namespace === app.namespace && one.metric.startsWith("own:"))))
        .catch(() => {});
    read();
    const timer = setInterval(() => document.hidden || read(), MINUTE);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [app.name, app.namespace]);
  // Only of instances that exist; others are in the past.
  const isHere = (one) => one.instance === null || app.instances.some((instance) => instance.id === one.instance);
  const all = known.filter(isHere).sort((one, other) => one.metric.localeCompare(other.metric) || (one.instance ?? -1) - (other.instance ?? -1));
  const shown = whole ? all : all.slice(0, OWN_SHOWN);
  const past = usePast(shown.map((one) => `${ofApp(app)}&metric=${encodeURIComponent(one.metric)}${one.instance === null ? "" : `&instance=${one.instance}`}`), span, OWN_STEP);
  if (!all.length) return null;
  return html`<section class="card"><h2>${t("ownFigures")}</h2><div class="two">
      ${shown.map((one, at) => html`<${Chart} key=${`${one.metric} ${one.instance}`} title=${`${safe(one.metric.slice(4))}${one.instance === null || app.instances.length < 2 ? "" : ` · ${one.instance}`}`} list=${past && past.lists[at]} name="avg" format=${plainNumber} marks=${past && past.marks} span=${past && [past.from, past.to]} zoom=${zoom} pick=${pick} />`)}</div>
    ${all.length > shown.length && html`<div class="row center"><button onClick=${() => setWhole(true)}>${t("allFigures", { n: all.length })}</button></div>`}
  </section>`;
}

export function PastCharts({ app, word }) {
  const span = spanOf(word);
  const base = `#/app/${encodeURIComponent(app.namespace)}/${encodeURIComponent(app.name)}`;
  const go = (to) => (location.hash = `${base}/charts/${to}`);
  const shown = usePast(CHARTS.map(([metric]) => `${ofApp(app)}&metric=${metric}`), span, 2000);
  const recent = shown ? state.events.filter((event) => event.app === app.name && MARKED.includes(event.kind) && event.at > shown.to) : [];
  const marks = shown ? [...shown.marks, ...recent] : [];
  const isEmpty = shown && shown.lists.every((list) => list.length === 0);
  const zoom = (ends) => go(ends.join("-"));
  // Shows the log lines of a moment: the time range of one chart point, and a few seconds.
  const pick = (at) => {
    const around = Math.round(Math.max(15000, shown ? (shown.to - shown.from) / 200 : 0));
    location.hash = `${base}/logs/${at - around}-${at + around}`;
  };
  return html`<section class="card"><div class="row chart-head"><h2 class="grow">${t("charts")} <span class="sub">${t("zoomHint")}</span></h2><${RangeChips} span=${span} go=${go} /></div>
    ${isEmpty ? html`<${Empty} title=${t("noFigures")} />` : html`<div class="two">${CHARTS.map(([metric, title, format, always], at) => (always || (shown && shown.lists[at].some((sample) => sample.max > 0))) && html`<${Chart} key=${metric} title=${t(title)} list=${shown && shown.lists[at]} name="avg" format=${format} isBytes=${metric === "memory"} marks=${marks} span=${shown && [shown.from, shown.to]} zoom=${zoom} pick=${pick} />`)}</div>`}
  </section>
  <${OwnCharts} app=${app} span=${span} zoom=${zoom} pick=${pick} />`;
}

// Charts of the machine; empty if the user may not see them.
export function HostCharts() {
  const [word, setWord] = useState("1h");
  const span = spanOf(word);
  const shown = usePast(HOST_CHARTS.map(([metric]) => `metric=${metric}`), span, 10000);
  if (shown && shown.lists.every((list) => list.length === 0)) return null;
  return html`<section class="card" id="machine"><div class="row chart-head"><h2 class="grow">${t("machine")} <span class="sub">${t("zoomHintOnly")}</span></h2><${RangeChips} span=${span} go=${setWord} /></div>
    <div class="two">${HOST_CHARTS.map(([metric, title, format], at) => html`<${Chart} key=${metric} title=${t(title)} list=${shown && shown.lists[at]} name="avg" format=${format} isBytes=${metric === "memory" || metric === "disk"} marks=${shown && shown.marks} span=${shown && [shown.from, shown.to]} zoom=${(ends) => setWord(ends.join("-"))} />`)}</div></section>`;
}
