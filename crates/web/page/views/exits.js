// Exits of an app, folded, and by kind.
import { useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { dateTime, safe, span } from "../format.js";
import { setTerms, term } from "../address.js";
import { Ago, Chips, Empty } from "../parts.js";
import { foldExits, median } from "../fold.js";

const EXIT_KINDS = { failed: "exitsFailed", exited: "exitsByItself", requested: "exitsRequested" };

function Words({ lines }) {
  return lines.length > 0 && html`<details open><summary>${t("lastWords")}</summary><pre>${lines.map(safe).join("\n")}</pre></details>`;
}

function ExitGroup({ group }) {
  const { exit, all, isSameOutput } = group;
  const [isOpen, setOpen] = useState(false);
  const isOne = all.length === 1;
  const oldest = all[all.length - 1];
  const when = isOne ? `${t("ran", { time: span(exit.ran_ms) })} · ${dateTime(exit.at)}` : `${t("ranAbout", { time: span(median(all.map((one) => one.ran_ms))) })} · ${dateTime(oldest.at)} – ${dateTime(exit.at)}${isSameOutput ? ` · ${t("sameOutput")}` : ""}`;
  const instances = [...new Set(all.map((one) => one.instance))].sort((one, other) => one - other).join(", ");
  return html`<li class="exit ${exit.kind}"><div>${!isOne && html`<span class="times">${all.length} ×</span> `}<strong>${t("instance")} ${instances}</strong> ${safe(exit.text)} <span class="sub">${when} · <${Ago} at=${exit.at} /></span>
      ${!isOne && html` <button class="plain link" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>${isOpen ? t("foldUp") : t("showEach")}</button>`}</div>
    ${isOpen ? html`<ol class="plain-list each">${all.map((one) => html`<li key=${`${one.at}-${one.pid}`}><strong>${t("instance")} ${one.instance}</strong> <span class="sub">${t("pid")} ${one.pid} · ${t("ran", { time: span(one.ran_ms) })} · ${dateTime(one.at)}</span><${Words} lines=${one.last_words} /></li>`)}</ol>` : html`<${Words} lines=${exit.last_words} />`}</li>`;
}

export function Exits({ exits }) {
  const kind = term("kind", "all", Object.keys(EXIT_KINDS));
  const kinds = Object.keys(EXIT_KINDS).filter((one) => exits.some((exit) => exit.kind === one));
  if (!exits.length) return html`<${Empty} title=${t("noExits")} />`;
  const shown = exits.filter((exit) => kind === "all" || exit.kind === kind);
  return html`${kinds.length > 1 && html`<div class="row exits-filter"><${Chips} label=${t("kind")} now=${kind} pick=${(to) => setTerms({ kind: to === "all" ? "" : to })} options=${[["all", t("all")], ...kinds.map((one) => [one, t(EXIT_KINDS[one])])]} /></div>`}
    <ol class="plain-list">${foldExits(shown).map((group) => html`<${ExitGroup} key=${`${group.exit.at}-${group.exit.pid}-${group.exit.instance}`} group=${group} />`)}</ol>`;
}
