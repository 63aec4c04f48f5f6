// Logs of all apps, or of one.
import { useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { safe } from "../format.js";
import { state } from "../store.js";
import { LogView } from "../logview.js";
import { LogTabs } from "../logsearch.js";

export function Logs() {
  const [app, setApp] = useState("");
  const all = state.table ? [...state.table.apps, ...state.table.modules] : [];
  return html`<div class="view-head"><h1>${t("logs")}</h1>
      <select aria-label=${t("apps")} value=${app} onChange=${(event) => setApp(event.target.value)}><option value="">${t("allApps")}</option>${all.map((one) => html`<option key=${`${one.namespace} ${one.name}`} value=${one.name}>${safe(one.name)}</option>`)}</select></div>
    <section class="card flush"><${LogTabs} app=${app || null} key=${app} live=${html`<${LogView} app=${app || null} filterId="filter" key=${app} />`} /></section>`;
}
