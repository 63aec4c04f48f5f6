// Configuration of an app, by the keys of its ecosystem file.
import { useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { safe } from "../format.js";
import { Chips, Copy } from "../parts.js";

const FROM_WORDS = { file: "fromFile", option: "fromOption", default: "fromDefault" };

const valueText = (value) => (typeof value === "object" ? JSON.stringify(value, null, 1) : String(value));

export function Config({ detail }) {
  const [only, setOnly] = useState("all");
  const { config, config_from: from, config_file: file } = detail;
  const isSet = (key) => from[key] !== "default";
  const shown = Object.keys(config).filter((key) => only === "all" || isSet(key));
  const set = Object.fromEntries(Object.entries(config).filter(([key]) => isSet(key)));
  return html`<section class="card flush"><div class="toolbar"><h2>${t("config")} <span class="sub wrap">${file ? safe(file) : t("startedWithoutFile")}</span></h2><${Chips} label=${t("config")} now=${only} pick=${setOnly} options=${[["all", t("all")], ["set", t("onlySet")]]} /></div>
      <table class="apps settings"><thead><tr><th scope="col">${t("key")}</th><th scope="col">${t("value")}</th><th scope="col">${t("setBy")}</th></tr></thead>
      <tbody>${shown.map((key) => html`<tr key=${key} class=${isSet(key) ? "" : "unset"}><th scope="row"><code>${safe(key)}</code></th><td data-label=${t("value")}><code class="wrap">${safe(valueText(config[key]))}</code></td><td data-label=${t("setBy")}>${t(FROM_WORDS[from[key]])}</td></tr>`)}</tbody></table></section>
    <div class="two"><section class="card"><h2>${t("variables")}</h2><p class="names">${detail.env.map((name) => html`<code key=${name}>${safe(name)}</code>`)}</p></section>
      <section class="card"><details><summary>${t("asFile")}</summary><${Copy} text=${safe(`module.exports = ${JSON.stringify({ apps: [set] }, null, 2)};`)} /></details></section></div>`;
}
