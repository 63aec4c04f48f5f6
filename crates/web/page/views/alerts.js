// Alerts: firing ones, channels, silences and history.
import { useEffect, useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { dateTime, fullTime, safe } from "../format.js";
import { state } from "../store.js";
import { api, segment } from "../api.js";
import { Ago, Empty, Skeleton } from "../parts.js";
import { mayAct } from "../act.js";
import { AddChannel, Channels, managesChannels, refused } from "./channels.js";

const ALERTS_EVERY = 5000;
const SPANS = ["30m", "1h", "4h", "24h"];

function AppLink({ name }) {
  const app = name && state.table && state.table.apps.find((one) => one.name === name);
  return app ? html`<a href=${`#/app/${segment(app.namespace)}/${segment(name)}`}>${safe(name)}</a>` : safe(name || "ostler");
}

function Firing({ all, reload }) {
  const silence = (alert) => api("alerts/silences", { method: "POST", body: { app: alert.app || undefined, rule: alert.rule, for: "1h" } }).then(reload, refused);
  if (!all.alerts.length) return html`<${Empty} title=${t(all.channels.length || !managesChannels() ? "nothingFires" : "noChannels")}>${!all.channels.length && managesChannels() && html`<p class="sub">${t("noChannelsHint")}</p><${AddChannel} all=${all} reload=${reload} />`}<//>`;
  return html`<ol class="events">${all.alerts.map((alert) => html`<li key=${`${alert.rule} ${alert.app}`} class=${alert.severity}><span class="dot" aria-label=${alert.severity}></span><span class="when" title=${fullTime(alert.since)}>${dateTime(alert.since)}</span>
      <span class="what"><strong><${AppLink} name=${alert.app} /></strong> ${safe(alert.text)} <span class="sub">${safe(alert.rule)}${alert.count > 1 ? ` · ${alert.count} ×` : ""}${alert.status === "pending" ? ` · ${t("pending")}` : ""}${alert.silenced ? ` · ${t("silenced")}` : ""}${alert.flapping ? ` · ${t("flapping")}` : ""}</span></span>
      ${mayAct() && !alert.silenced ? html`<button onClick=${() => silence(alert)}>${t("silence1h")}</button>` : html`<span class="ago sub"><${Ago} at=${alert.since} /></span>`}</li>`)}</ol>`;
}

function Silences({ all, reload }) {
  const end = (id) => api(`alerts/silences/${segment(id)}`, { method: "DELETE" }).then(reload, refused);
  const make = (event) => {
    event.preventDefault();
    const { app, span, reason } = event.target.elements;
    api("alerts/silences", { method: "POST", body: { app: app.value || undefined, for: span.value, reason: reason.value } }).then(() => { event.target.reset(); reload(); }, refused);
  };
  return html`<section class="card"><h2>${t("silences")}</h2>
    ${all.silences.length ? html`<ul class="plain-list">${all.silences.map((one) => html`<li key=${one.id} class="row"><span class="grow"><strong>${safe(one.app || t("everything"))}</strong> ${safe(one.rule || "")} <span class="sub">${t("until")} ${dateTime(one.until_ms)} · ${safe(one.by)}${one.reason ? ` · ${safe(one.reason)}` : ""}</span></span>${mayAct() && html`<button onClick=${() => end(one.id)}>${t("endSilence")}</button>`}</li>`)}</ul>` : html`<p class="sub">${t("noSilences")}</p>`}
    ${mayAct() && html`<form class="row" onSubmit=${make}><input name="app" maxlength="200" placeholder=${t("silenceApp")} aria-label=${t("silenceApp")} class="grow" /><input name="reason" maxlength="200" placeholder=${t("reason")} aria-label=${t("reason")} class="grow" /><select name="span" aria-label=${t("duration")}>${SPANS.map((span) => html`<option key=${span} value=${span} selected=${span === "1h"}>${span}</option>`)}</select><button type="submit">${t("silence")}</button></form>`}</section>`;
}

export function Alerts() {
  const [all, setAll] = useState(null);
  const reload = () => api("alerts").then(setAll, refused);
  useEffect(() => {
    reload();
    // Only while the page is visible.
    const timer = setInterval(() => document.hidden || reload(), ALERTS_EVERY);
    return () => clearInterval(timer);
  }, [state.session]);
  if (!all) return html`<h1>${t("alerts")}</h1><section class="card"><${Skeleton} rows=${4} /></section>`;
  return html`<h1>${t("alerts")}</h1>
    ${all.problems.map((problem, at) => html`<div key=${at} class="note">${safe(problem)}</div>`)}
    <section class="card flush"><${Firing} all=${all} reload=${reload} /></section>
    <${Silences} all=${all} reload=${reload} />
    <${Channels} all=${all} reload=${reload} />
    <section class="card flush"><h2 class="pad">${t("alertHistory")}</h2>${all.history.length ? html`<ol class="events">${all.history.slice(0, 100).map((one, at) => html`<li key=${at} class=${one.status === "resolved" ? "info" : one.severity}><span class="dot" aria-label=${one.status}></span><span class="when">${dateTime(one.at)}</span><span class="what"><strong>${safe(one.app || "ostler")}</strong> ${safe(one.text)} <span class="sub">${safe(one.rule)} · ${t(one.status === "resolved" ? "resolved" : "firing")}</span></span></li>`)}</ol>` : html`<${Empty} title=${t("noAlertHistory")} />`}</section>`;
}
