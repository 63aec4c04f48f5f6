// Logs of all apps, or of one.
import { html } from "../html.js";
import { t } from "../i18n.js";
import { safe } from "../format.js";
import { setTerms, term } from "../address.js";
import { state } from "../store.js";
import { Empty } from "../parts.js";
import { LogView } from "../logview.js";
import { LogTabs } from "../logsearch.js";

export function Logs() {
  const app = term("app");
  const all = state.table ? [...state.table.apps, ...state.table.modules] : [];
  return html`<div class="view-head"><h1>${t("logs")}</h1>
      <select aria-label=${t("apps")} value=${app} onChange=${(event) => setTerms({ app: event.target.value })}><option value="">${t("allApps")}</option>${all.map((one) => html`<option key=${`${one.namespace} ${one.name}`} value=${one.name}>${safe(one.name)}</option>`)}</select></div>
    <section class="card flush">${app && state.table && !all.some((one) => one.name === app) ? html`<${Empty} title=${t("noSuchApp")} />` : html`<${LogTabs} app=${app || null} key=${app} live=${html`<${LogView} app=${app || null} filterId="filter" key=${app} />`} />`}</section>`;
}
