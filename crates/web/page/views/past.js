// Charts of an app or of the machine, from minutes to a year.
import { useEffect, useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { safe } from "../format.js";
import { address, goTo, setTerms, term } from "../address.js";
import { state } from "../store.js";
import { api } from "../api.js";
import { Empty, InstanceChoice, instanceTerm } from "../parts.js";
import { Chart, FlagLegend } from "../chart.js";
import { appBase } from "./base.js";
import { APP_FIGURES, HOST_FIGURES, labelOf, metricsOf, plainNumber } from "../figures.js";

const MINUTE = 60000;
const DAY = 1440 * MINUTE;
const RANGES = [["10m", 10 * MINUTE], ["1h", 60 * MINUTE], ["6h", 360 * MINUTE], ["1d", DAY], ["7d", 7 * DAY], ["30d", 30 * DAY], ["1y", 365 * DAY]];
const MARKED = ["exit", "reload_done", "reload_failed", "errored", "online"];
// Number of charts of custom metrics that are shown at first.
const OWN_SHOWN = 8;
// Time between two samples of the history while no page is open.
export const HISTORY_STEP = 10000;
// Number and length of the metrics in a request.
const AT_ONCE = 32;
const LONGEST_QUERY = 4000;

// Time range in the address: the name of a range, or two instants.
export function spanOf(word) {
  const ends = /^(\d{10,14})-(\d{10,14})$/.exec(word || "");
  if (ends && Number(ends[1]) < Number(ends[2])) return { word, fixed: [Number(ends[1]), Number(ends[2])] };
  const range = RANGES.find(([key]) => key === word) || RANGES[1];
  return { word: range[0], length: range[1] };
}

const asSamples = (figures) => figures.map(([at, min, avg, max]) => ({ at, min, avg, max }));
export const ofApp = (app) => `app=${encodeURIComponent(app.name)}&namespace=${encodeURIComponent(app.namespace)}`;

// Reads the metrics of one subject. Returns {lists, marks}; a missing series is empty.
async function readHistory({ query, metrics }, from, to, points, signal) {
  const parts = [];
  for (const metric of metrics) {
    const word = `&metric=${encodeURIComponent(metric)}`;
    const last = parts[parts.length - 1];
    if (last && last.count < AT_ONCE && last.text.length + word.length < LONGEST_QUERY) Object.assign(last, { text: last.text + word, count: last.count + 1 });
    else parts.push({ text: word, count: 1 });
  }
  const read = ({ text }) =>
    api(`history?${query}&from=${from}&to=${to}&points=${points}${text}`, { signal }).catch((error) => (error.status === 404 ? { series: [], marks: [] } : Promise.reject(error)));
  const answers = await Promise.all(parts.map(read));
  const series = answers.flatMap((answer) => answer.series || [answer]);
  return { lists: new Map(series.map((one) => [one.metric, asSamples(one.figures)])), marks: answers.length ? answers[0].marks : [] };
}

// Returns the values of several subjects ({query, metrics}) over a time range: {from, to, marks,
// list(metric, subject)}. It reads them again about as often as a step of the chart ends.
export function usePast(subjects, span, least, points = 300) {
  const [past, setPast] = useState(null);
  const key = `${subjects.map(({ query, metrics }) => `${query} ${metrics.join("\n")}`).join("\n\n")} ${span.word}`;
  useEffect(() => {
    const stop = new AbortController();
    const read = async () => {
      const [from, to] = span.fixed || [Date.now() - span.length, Date.now()];
      try {
        const all = await Promise.all(subjects.map((subject) => readHistory(subject, from, to, points, stop.signal)));
        setPast({ key, from, to, marks: all.length ? all[0].marks : [], list: (metric, subject = 0) => (all[subject] && all[subject].lists.get(metric)) || [] });
      } catch {
        // The next read retries it; the page itself reports that the server is gone.
      }
    };
    read();
    const timer = span.fixed ? 0 : setInterval(() => document.hidden || read(), Math.max(least, Math.min(MINUTE, span.length / points)));
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [key]);
  return past && past.key === key ? past : null;
}

export function RangeChips({ span, go }) {
  return html`<div class="chips" role="group" aria-label=${t("range")}>${span.fixed && html`<button class="chip" onClick=${() => go("1h")}>${t("zoomOut")}</button>`}${RANGES.map(([key]) => html`<button key=${key} class="chip ${span.word === key ? "on" : ""}" aria-pressed=${span.word === key} onClick=${() => go(key)}>${key}</button>`)}</div>`;
}

// Charts of figures (figures.js) of the first subject of `past`.
export function FigureCharts({ figures, past, marks, isSmall, zoom, pick }) {
  const isShown = ({ always, series }) => always || (past && Object.keys(series).some((metric) => past.list(metric).some((sample) => sample.max > 0)));
  return html`<div class=${isSmall ? "three" : "two"}>${figures.filter(isShown).map(({ title, unit, series, format, isBytes, bars }) => html`<${Chart} key=${title} title=${t(title)} unit=${unit && t(unit)} series=${past && Object.entries(series).map(([metric, label]) => ({ label: labelOf(label, title), list: past.list(metric) }))} format=${format} isBytes=${isBytes} bars=${bars} isSmall=${isSmall} marks=${marks || (past && past.marks)} span=${past && [past.from, past.to]} zoom=${zoom} pick=${pick} />`)}</div>`;
}

// Custom metrics that the app reports or serves on its own Prometheus page. Their names are not
// known in advance.
export function OwnCharts({ app, span, zoom, pick }) {
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
  const ids = [...new Set(shown.map((one) => one.instance))];
  const subjects = ids.map((id) => ({ query: `${ofApp(app)}${id === null ? "" : `&instance=${id}`}`, metrics: shown.filter((one) => one.instance === id).map((one) => one.metric) }));
  const past = usePast(subjects, span, HISTORY_STEP);
  if (!all.length) return null;
  return html`<section class="card"><h2>${t("ownFigures")}</h2><div class="three">
      ${shown.map((one) => {
        const title = `${safe(one.metric.slice(4))}${one.instance === null || app.instances.length < 2 ? "" : ` · ${one.instance}`}`;
        return html`<${Chart} key=${`${one.metric} ${one.instance}`} isSmall title=${title} series=${past && [{ label: title, list: past.list(one.metric, ids.indexOf(one.instance)) }]} format=${plainNumber} marks=${past && past.marks} span=${past && [past.from, past.to]} zoom=${zoom} pick=${pick} />`;
      })}</div>
    ${all.length > shown.length && html`<div class="row center"><button onClick=${() => setWhole(true)}>${t("allFigures", { n: all.length })}</button></div>`}
  </section>`;
}

// Shows the log lines of a moment: the time range of one chart point, and a few seconds.
export function pickLines(app, past) {
  return (at) => {
    const around = Math.round(Math.max(15000, past ? (past.to - past.from) / 200 : 0));
    location.hash = `${appBase(app)}/logs/${at - around}-${at + around}`;
  };
}

// Marks of the past, and of events since then.
export function marksOf(app, past) {
  if (!past) return [];
  return [...past.marks, ...state.events.filter((event) => event.app === app.name && MARKED.includes(event.kind) && event.at > past.to)];
}

export function PastCharts({ app, word }) {
  const span = spanOf(word);
  const instance = instanceTerm(app);
  const go = (to) => goTo(["app", app.namespace, app.name, "charts", to], address.terms);
  const past = usePast([{ query: `${ofApp(app)}${instance && `&instance=${instance}`}`, metrics: metricsOf(APP_FIGURES) }], span, 2000);
  const marks = marksOf(app, past);
  const isEmpty = past && metricsOf(APP_FIGURES).every((metric) => past.list(metric).length === 0);
  return html`<section class="card"><div class="row chart-head"><h2 class="grow">${t("charts")} <span class="sub">${t("zoomHint")}</span></h2><${InstanceChoice} app=${app} now=${instance} /><${RangeChips} span=${span} go=${go} /></div>
    <${FlagLegend} marks=${marks} />
    ${isEmpty ? html`<${Empty} title=${t("noFigures")} />` : html`<${FigureCharts} figures=${APP_FIGURES} past=${past} marks=${marks} zoom=${(ends) => go(ends.join("-"))} pick=${pickLines(app, past)} />`}
  </section>`;
}

// Charts of the machine; empty if the user may not see them.
export function HostCharts() {
  const span = spanOf(term("range"));
  const setWord = (range) => setTerms({ range: range === "1h" ? "" : range });
  const past = usePast([{ query: "", metrics: metricsOf(HOST_FIGURES) }], span, HISTORY_STEP);
  if (past && metricsOf(HOST_FIGURES).every((metric) => past.list(metric).length === 0)) return null;
  return html`<section class="card" id="machine"><div class="row chart-head"><h2 class="grow">${t("machine")} <span class="sub">${t("zoomHintOnly")}</span></h2><${RangeChips} span=${span} go=${setWord} /></div>
    <${FlagLegend} marks=${past ? past.marks : []} />
    <${FigureCharts} figures=${HOST_FIGURES} past=${past} zoom=${(ends) => setWord(ends.join("-"))} /></section>`;
}
