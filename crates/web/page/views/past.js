// Figures of the past: charts of an app, from minutes to a year. What is looked at is in the address, so it survives a reload.
import { html, useEffect, useState } from "../vendor/preact.js";
import { t } from "../i18n.js";
import { bytes, percent } from "../format.js";
import { state } from "../store.js";
import { api } from "../api.js";
import { Empty } from "../parts.js";
import { Chart } from "../chart.js";

const MINUTE = 60000;
const DAY = 1440 * MINUTE;
const RANGES = [["10m", 10 * MINUTE], ["1h", 60 * MINUTE], ["6h", 360 * MINUTE], ["1d", DAY], ["7d", 7 * DAY], ["30d", 30 * DAY], ["1y", 365 * DAY]];
const MARKED = ["exit", "reload_done", "reload_failed", "errored", "online"];

const decimal = (value) => (value >= 100 ? String(Math.round(value)) : value.toFixed(1));
const millis = (value) => `${decimal(value)} ms`;

// Metric, title, how it is written, whether it is shown without figures.
const CHARTS = [["cpu", "cpu", percent, true], ["memory", "memory", bytes, true], ["requests", "requests", decimal, false], ["p95", "p95", millis, false], ["errors", "errorShare", percent, false], ["loop", "loop", millis, false], ["restarts", "restarts", decimal, false]];

// The time in the address: the word of a range, or two instants.
function spanOf(word) {
  const ends = /^(\d{10,14})-(\d{10,14})$/.exec(word || "");
  if (ends && Number(ends[1]) < Number(ends[2])) return { word, fixed: [Number(ends[1]), Number(ends[2])] };
  const range = RANGES.find(([key]) => key === word) || RANGES[1];
  return { word: range[0], length: range[1] };
}

const asSamples = (answer) => answer.figures.map(([at, min, avg, max]) => ({ at, min, avg, max }));

export function PastCharts({ app, word }) {
  const span = spanOf(word);
  const [past, setPast] = useState(null);
  const base = `#/app/${encodeURIComponent(app.namespace)}/${encodeURIComponent(app.name)}/charts`;
  const go = (to) => (location.hash = `${base}/${to}`);
  useEffect(() => {
    const stop = new AbortController();
    const read = async () => {
      const [from, to] = span.fixed || [Date.now() - span.length, Date.now()];
      const ask = (metric) => api(`history?app=${encodeURIComponent(app.name)}&namespace=${encodeURIComponent(app.namespace)}&metric=${metric}&from=${from}&to=${to}&points=300`, { signal: stop.signal });
      try {
        const answers = await Promise.all(CHARTS.map(([metric]) => ask(metric).catch((error) => (error.status === 404 ? { figures: [], marks: [] } : Promise.reject(error)))));
        setPast({ word: span.word, from, to, lists: answers.map(asSamples), marks: answers[0].marks });
      } catch {
        // Asked again in a while; the page says by itself when the server is gone.
      }
    };
    read();
    // About as often as a step of the chart ends.
    const every = span.fixed ? 0 : Math.max(2000, Math.min(60000, span.length / 300));
    const timer = every ? setInterval(read, every) : 0;
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [app.name, app.namespace, span.word]);
  const shown = past && past.word === span.word ? past : null;
  const recent = shown ? state.events.filter((event) => event.app === app.name && MARKED.includes(event.kind) && event.at > shown.to) : [];
  const marks = shown ? [...shown.marks, ...recent] : [];
  const isEmpty = shown && shown.lists.every((list) => list.length === 0);
  return html`<section class="card"><div class="row chart-head"><h2 class="grow">${t("charts")} <span class="sub">${t("zoomHint")}</span></h2>
      <div class="chips" role="group" aria-label=${t("range")}>${span.fixed && html`<button class="chip" onClick=${() => go("1h")}>${t("zoomOut")}</button>`}${RANGES.map(([key]) => html`<button key=${key} class="chip ${span.word === key ? "on" : ""}" aria-pressed=${span.word === key} onClick=${() => go(key)}>${key}</button>`)}</div></div>
    ${isEmpty ? html`<${Empty} title=${t("noFigures")} />` : html`<div class="two">${CHARTS.map(([metric, title, format, always], at) => (always || (shown && shown.lists[at].some((sample) => sample.max > 0))) && html`<${Chart} key=${metric} title=${t(title)} list=${shown && shown.lists[at]} name="avg" format=${format} isBytes=${metric === "memory"} marks=${marks} span=${shown && [shown.from, shown.to]} zoom=${(ends) => go(ends.join("-"))} />`)}</div>`}
  </section>`;
}
