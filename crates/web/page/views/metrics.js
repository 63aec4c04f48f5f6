// Metrics of an app: its routes, its runtime, its custom metrics and its actions.
import { useEffect, useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { millis, percent, rate, safe } from "../format.js";
import { address, goTo, setSortTerm, sortTerm } from "../address.js";
import { api, segment } from "../api.js";
import { Empty, Head, InstanceChoice, instanceTerm } from "../parts.js";
import { FlagLegend, Sparkline } from "../chart.js";
import { RUNTIME_FIGURES, metricsOf } from "../figures.js";
import { mayAct, runCommand } from "../act.js";
import { FigureCharts, HISTORY_STEP, OwnCharts, RangeChips, marksOf, ofApp, pickLines, spanOf, usePast } from "./past.js";

// Time between two reports of a Node app.
const ROUTES_MS = 2000;
const TREND_POINTS = 40;
// All recorded routes.
const ROUTE_SERIES = ["route:*"];

const inMs = (seconds) => (seconds === null ? null : seconds * 1000);

// Key, title, value to sort by.
const ROUTE_COLUMNS = [
  ["route", "route", (one) => one.route],
  ["rate", "requests", (one) => -one.rate],
  ["p50", "p50", (one) => -(one.p50 ?? -1)],
  ["p95", "p95", (one) => -(one.p95 ?? -1)],
  ["p99", "p99", (one) => -(one.p99 ?? -1)],
  ["failed_share", "responses5xx", (one) => -(one.failed_share ?? -1)],
];

// Routes of the last seconds; null = not known yet.
function useRoutes(app) {
  const [routes, setRoutes] = useState(null);
  useEffect(() => {
    const stop = new AbortController();
    const read = () => api(`apps/${segment(app.name)}/routes`, { signal: stop.signal }).then((answer) => setRoutes(answer.routes)).catch(() => {});
    read();
    const timer = setInterval(() => document.hidden || read(), ROUTES_MS);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [app.name, app.namespace]);
  return routes;
}

function RouteCells({ one }) {
  const time = (key) => html`<td data-label=${key} class="num">${millis(inMs(one[key]))}</td>`;
  return html`<td data-label=${`${t("requests")} ${t("aSecond")}`} class="num">${rate(one.rate)}</td>${time("p50")}${time("p95")}${time("p99")}<td data-label=${t("responses5xx")} class="num ${one.failed_share > 0.01 ? "bad" : ""}">${one.failed_share === null ? "–" : percent(one.failed_share * 100)}</td>`;
}

function RouteRow({ one, trend }) {
  const [isOpen, setOpen] = useState(false);
  const instances = one.instances || [];
  const name = html`<span class="wrap">${safe(one.route)}</span>`;
  return html`<tr><th scope="row">${instances.length > 1 ? html`<button class="plain" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>${isOpen ? "▾" : "▸"} ${name}</button>` : name}</th><${RouteCells} one=${one} />
      <td data-label=${t("trend")} class="num"><${Sparkline} list=${trend} name="avg" label=${`${t("trend")}: ${safe(one.route)}`} /></td></tr>
    ${isOpen && instances.map((of) => html`<tr key=${of.instance} class="part"><th scope="row">${t("instance")} ${of.instance}</th><${RouteCells} one=${of} /><td></td></tr>`)}`;
}

export function Routes({ app, span }) {
  const routes = useRoutes(app);
  const sort = sortTerm(ROUTE_COLUMNS.map(([key]) => key), "rate");
  const setSort = (to) => setSortTerm(to, "rate");
  const past = usePast([{ query: ofApp(app), metrics: ROUTE_SERIES }], span, HISTORY_STEP, TREND_POINTS);
  if (!routes || !routes.length) return null;
  const value = ROUTE_COLUMNS.find(([key]) => key === sort[0])[2];
  const shown = [...routes].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    return (a < b ? -1 : a > b ? 1 : one.route.localeCompare(other.route)) * sort[1];
  });
  return html`<section class="card flush"><h2 class="pad">${t("routes")} <span class="sub">${t("routesHint")}</span></h2>
    <table class="apps routes"><thead><tr>${ROUTE_COLUMNS.map(([key, title]) => html`<${Head} key=${key} name=${key} title=${title.startsWith("p") ? title : t(title)} unit=${key === "rate" && t("aSecond")} isText=${key === "route"} sort=${sort} setSort=${setSort} />`)}<th scope="col" class="num">${t("trend")} <span class="sub">${span.fixed ? "" : span.word}</span></th></tr></thead>
    <tbody>${shown.map((one) => html`<${RouteRow} key=${one.route} one=${one} trend=${past && past.list(`route:${one.route}`)} />`)}</tbody></table></section>`;
}

function Runtime({ app, span, go }) {
  const instance = instanceTerm(app);
  const query = `${ofApp(app)}${instance === "" ? "" : `&instance=${instance}`}`;
  const past = usePast([{ query, metrics: metricsOf(RUNTIME_FIGURES) }], span, HISTORY_STEP);
  const marks = marksOf(app, past);
  const isEmpty = past && metricsOf(RUNTIME_FIGURES).every((metric) => past.list(metric).length === 0);
  if (isEmpty && instance === "") return null;
  return html`<section class="card"><div class="row chart-head"><h2 class="grow">${t("runtime")} <span class="sub">${instance === "" && app.instances.length > 1 ? t("runtimeHint") : ""}</span></h2>
      <${InstanceChoice} app=${app} now=${instance} /></div>
    <${FlagLegend} marks=${marks} />
    ${isEmpty ? html`<${Empty} title=${t("noFigures")} />` : html`<${FigureCharts} figures=${RUNTIME_FIGURES} past=${past} marks=${marks} isSmall zoom=${(ends) => go(ends.join("-"))} pick=${pickLines(app, past)} />`}</section>`;
}

function Actions({ app, detail }) {
  const [answers, setAnswers] = useState({});
  const run = (event, action) => {
    event.preventDefault();
    const field = event.target.elements.param;
    runCommand(app, "trigger", { action: action.name, param: field && field.value ? field.value : undefined }, (answer) => setAnswers({ ...answers, [action.name]: answer.output }));
  };
  return html`<section class="card"><h2>${t("actions")}</h2>${detail.actions.map((action) => html`<form key=${action.name} class="row action" onSubmit=${(event) => run(event, action)}><span class="grow">${safe(action.name)}${action.comment && html`<span class="sub">${safe(action.comment)}</span>`}</span>${action.arity > 1 && html`<input name="param" placeholder=${t("parameter")} aria-label=${`${t("parameter")}: ${action.name}`} />`}${mayAct() && html`<button type="submit">${t("run")}</button>`}
    ${answers[action.name] && html`<pre class="answer">${safe(JSON.stringify(answers[action.name].map((one) => one.value), null, 2))}</pre>`}</form>`)}</section>`;
}

export function Metrics({ app, detail, word }) {
  const span = spanOf(word);
  const go = (to) => goTo(["app", app.namespace, app.name, "metrics", to], address.terms);
  const own = detail ? detail.metrics.filter((metric) => !metric.measured) : [];
  const isMeasured = app.node || (detail && detail.metrics.length > 0);
  return html`<div class="row chart-head"><span class="grow"></span><${RangeChips} span=${span} go=${go} /></div>
    ${app.node && html`<${Routes} app=${app} span=${span} />`}
    ${app.node && html`<${Runtime} app=${app} span=${span} go=${go} />`}
    <${OwnCharts} app=${app} span=${span} zoom=${(ends) => go(ends.join("-"))} pick=${pickLines(app, null)} />
    <div class="two">
      ${own.length > 0 && html`<section class="card"><h2>${t("metrics")}</h2><dl class="pairs">${own.map((metric) => html`<div key=${`${metric.instance} ${metric.name}`}><dt>${safe(metric.name)}${app.instances.length > 1 ? ` · ${metric.instance}` : ""}</dt><dd>${safe(typeof metric.value === "object" ? JSON.stringify(metric.value) : metric.value)}${metric.unit ? ` ${safe(metric.unit)}` : ""}</dd></div>`)}</dl></section>`}
      ${detail && detail.actions.length > 0 && html`<${Actions} app=${app} detail=${detail} />`}
    </div>
    ${detail && !isMeasured && !detail.actions.length && html`<section class="card"><${Empty} title=${t("noMetrics")} /></section>`}`;
}
