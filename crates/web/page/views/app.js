// View of one app.
import { useEffect, useRef, useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { bytes, dateTime, millis, percent, rate, safe, span } from "../format.js";
import { address, formatAddress, goTo, listHref } from "../address.js";
import { state } from "../store.js";
import { api, segment } from "../api.js";
import { Badge, Empty, Skeleton, Tabs, instanceTerm } from "../parts.js";
import { PastCharts } from "./past.js";
import { Metrics } from "./metrics.js";
import { FailureBanner } from "./failure.js";
import { Exits } from "./exits.js";
import { Config } from "./config.js";
import { LogView } from "../logview.js";
import { LogTabs } from "../logsearch.js";
import { mayAct, runCommand } from "../act.js";
import { Verbs } from "./overview.js";
import { EventList } from "./events.js";
import { ErrorList } from "./errors.js";
import { TraceList } from "./traces.js";
import { Profiles } from "./profiles.js";

// Time between two reads of the custom metrics.
const METRICS_MS = 10000;

function NodeFigures({ node }) {
  const tiles = [[t("requests"), `${rate(node.rate)}${t("perSecond")}`], [`${t("responseTime")} p95`, node.p95 === null ? "–" : millis(node.p95 * 1000)], [t("responses5xx"), node.failed_share === null ? "–" : percent(node.failed_share * 100)], [t("loopUse"), percent(node.loop_use * 100)]];
  return html`<div class="tiles">${tiles.map(([label, value]) => html`<div class="tile" key=${label}><span class="tile-title">${label}</span><span class="tile-value">${value}</span></div>`)}</div>`;
}

function Instances({ app }) {
  const chosen = instanceTerm(app);
  const name = (one) => (app.instances.length > 1 ? html`<a href=${formatAddress(address.parts, { ...address.terms, instance: one.id })} aria-current=${chosen === String(one.id) ? "true" : undefined}>${one.id}</a>` : one.id);
  return html`<section class="card flush"><h2 class="pad">${t("instances")}</h2><table class="apps"><thead><tr>
      <th scope="col">${t("instance")}</th><th scope="col">${t("state")}</th><th scope="col">${t("health")}</th><th scope="col" class="num">${t("pid")}</th><th scope="col" class="num">${t("cpu")}</th><th scope="col" class="num">${t("memory")}</th><th scope="col" class="num">${t("restarts")}</th><th scope="col" class="num">${t("uptime")}</th><th scope="col"><span class="hidden">${t("actions")}</span></th></tr></thead>
    <tbody>${app.instances.map((one) => html`<tr key=${one.id} class=${chosen === String(one.id) ? "selected" : ""}><th scope="row">${name(one)}</th><td data-label=${t("state")}><${Badge} word=${one.state} /></td><td data-label=${t("health")}>${one.health ? html`<${Badge} word=${one.health} />` : "–"}</td><td data-label=${t("pid")} class="num">${one.pid || "–"}</td><td data-label=${t("cpu")} class="num">${percent(one.cpu)}</td><td data-label=${t("memory")} class="num">${bytes(one.memory)}</td><td data-label=${t("restarts")} class="num">${one.restarts}</td><td data-label=${t("uptime")} class="num">${span(one.uptime)}</td>
      <td class="act">${mayAct() && app.instances.length > 1 && html`<button onClick=${() => runCommand(app, "restart", { instance: one.id })}>${t("restart")}</button>`}</td></tr>`)}</tbody></table></section>`;
}

function Releases({ detail }) {
  if (!detail.releases.length) return html`<${Empty} title=${t("noReleases")} />`;
  return html`<ol class="plain-list">${detail.releases.map((one) => html`<li key=${one.release}><strong>${t("release", { n: one.release })}</strong> ${one.version && one.version !== "N/A" ? safe(one.version) : ""} ${one.current && html`<span class="badge good">${t("serves")}</span>`} <span class="sub">${one.state} · ${dateTime(one.at)}</span>${one.fault && html`<div class="bad">${safe(one.fault)}</div>`}</li>`)}</ol>`;
}

export function AppView({ namespace, name, tab, range }) {
  const { table } = state;
  const app = table && [...table.apps, ...table.modules].find((one) => one.name === name && one.namespace === namespace);
  const [detail, setDetail] = useState(null);
  // Read again when an instance changes, and regularly while metrics are shown.
  const stamp = app ? app.instances.map((one) => `${one.pid}${one.state}`).join() : "";
  const newest = useRef(0);
  useEffect(() => {
    if (!app) return;
    const read = () => {
      const turn = (newest.current += 1);
      api(`apps/${segment(name)}`).then((answer) => turn === newest.current && setDetail(answer)).catch(() => {});
    };
    read();
    if (tab !== "metrics") return;
    const timer = setInterval(() => document.hidden || read(), METRICS_MS);
    return () => clearInterval(timer);
  }, [name, namespace, stamp, tab === "metrics"]);
  if (!table) return html`<${Skeleton} rows=${6} />`;
  if (!app) return html`<section class="card"><${Empty} isPage title=${t("noSuchApp")}><a class="button" href="#/">${t("back")}</a></${Empty}></section>`;
  const base = `#/app/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
  const tabs = [["charts", t("overview")], ["logs", t("logs")], ["events", t("events")], ["errors", t("errors")], ["traces", t("traces")], ["exits", t("exits")], ["metrics", t("metrics")], ["profiles", t("profiles")], ["releases", t("releases")], ["config", t("config")]];
  const body = () => {
    if (tab === "logs") return html`<section class="card flush"><${LogTabs} app=${name} key=${`${name} ${range || ""}`} moment=${range} live=${html`<${LogView} app=${name} filterId="filter" key=${name} />`} /></section>`;
    if (tab === "events") return html`<section class="card flush"><${EventList} app=${name} /></section>`;
    if (tab === "errors") return html`<section class="card flush"><${ErrorList} app=${name} /></section>`;
    if (tab === "traces") return html`<section class="card flush"><${TraceList} app=${name} /></section>`;
    if (!tabs.some(([key]) => key === tab)) return html`<section class="card"><${Empty} title=${t("noSuchPage")}><a class="button" href=${base}>${t("overview")}</a></${Empty}></section>`;
    if (tab === "charts") return html`<${FailureBanner} app=${app} failure=${detail && detail.failure} />${app.node && html`<${NodeFigures} node=${app.node} />`}<${PastCharts} app=${app} word=${range} /><${Instances} app=${app} />`;
    if (tab === "metrics") return html`<${Metrics} app=${app} detail=${detail} word=${range} />`;
    if (!detail) return html`<${Skeleton} rows=${4} />`;
    if (tab === "exits") return html`<section class="card"><${Exits} exits=${detail.exits} /></section>`;
    if (tab === "profiles") return html`<${Profiles} app=${app} detail=${detail} open=${range} go=${(id) => (location.hash = `${base}/profiles/${id}`)} />`;
    if (tab === "releases") return html`<section class="card"><${Releases} detail=${detail} /></section>`;
    return html`<${Config} detail=${detail} />`;
  };
  return html`
    <div class="app-head"><a class="button quiet-button" href=${listHref("")} aria-label=${t("back")}>←</a>
      <div class="grow"><h1>${safe(name)}</h1><span class="sub">${detail ? safe(detail.script) : "\u00a0"}</span></div>
      <${Badge} word=${app.state} />${app.health && html`<${Badge} word=${app.health} />`}<${Verbs} app=${app} /></div>
    <${Tabs} tabs=${tabs} now=${tab} label=${safe(name)} go=${(key) => goTo(["app", namespace, name, key], { instance: instanceTerm(app) })} />
    ${body()}`;
}
