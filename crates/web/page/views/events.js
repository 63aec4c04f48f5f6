// What happened, and why.
import { html, useState } from "../vendor/preact.js";
import { t } from "../i18n.js";
import { dateTime, safe } from "../format.js";
import { loadEvents, state } from "../store.js";
import { Ago, Empty } from "../parts.js";

const EVENTS_DRAWN = 300;

export function EventList({ app, word }) {
  const matches = (event) => (!app || event.app === app) && (!word || `${event.app || ""} ${event.text} ${event.who}`.toLowerCase().includes(word));
  const shown = state.events.filter(matches).slice(0, EVENTS_DRAWN);
  if (!shown.length) return html`<${Empty} title=${t("noEvents")} />`;
  return html`<ol class="events">${shown.map((event) => html`<li key=${`${event.epoch}-${event.sequence}`} class=${event.severity}><span class="dot" aria-label=${event.severity}></span><span class="when" title=${new Date(event.at).toLocaleString()}>${dateTime(event.at)}</span>
      <span class="what"><strong>${safe(event.app ?? "ostler")}${event.instance === null ? "" : ` (${event.instance})`}</strong> ${safe(event.text)} <span class="sub">${safe(event.who)}</span></span><span class="ago sub"><${Ago} at=${event.at} /></span></li>`)}</ol>
    ${state.missing && html`<p class="note warn pad" role="note">${t("eventsMissing", { from: dateTime(state.missing.from), to: dateTime(state.missing.to) })}</p>`}
    ${state.more && html`<div class="row center pad"><button onClick=${() => loadEvents(true).catch(() => {})}>${t("older")}</button></div>`}`;
}

export function Events() {
  const [filter, setFilter] = useState("");
  return html`<div class="view-head"><h1>${t("events")}</h1><input id="filter" type="search" placeholder=${`${t("filterEvents")}  /`} aria-label=${t("filterEvents")} value=${filter} onInput=${(event) => setFilter(event.target.value)} /></div>
    <section class="card flush"><${EventList} word=${filter.toLowerCase()} /></section>`;
}
