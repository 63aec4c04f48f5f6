// Events and their causes.
import { Component, useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { language, t } from "../i18n.js";
import { dateTime, fullTime, safe, span } from "../format.js";
import { loadOlder, state } from "../store.js";
import { Empty } from "../parts.js";

const EVENTS_DRAWN = 300;

class EventRow extends Component {
  shouldComponentUpdate(next) {
    return ["event", "ago", "today"].some((name) => next[name] !== this.props[name]);
  }

  render({ event, ago }) {
    const full = fullTime(event.at);
    return html`<li class=${event.severity}><span class="dot" aria-label=${event.severity}></span><span class="when" title=${full}>${dateTime(event.at)}</span>
      <span class="what"><strong>${safe(event.app ?? "ostler")}${event.instance === null ? "" : ` (${event.instance})`}</strong> ${safe(event.text)} <span class="sub">${safe(event.who)}</span></span><span class="ago sub"><time datetime=${new Date(event.at).toISOString()} title=${full}>${ago}</time></span></li>`;
  }
}

export function EventList({ app, word }) {
  const matches = (event) => (!app || event.app === app) && (!word || `${event.app || ""} ${event.text} ${event.who}`.toLowerCase().includes(word));
  const shown = state.events.filter(matches).slice(0, EVENTS_DRAWN);
  if (!shown.length) return html`<${Empty} title=${t("noEvents")} />`;
  // Most rows are unchanged; only rows with different properties are drawn again.
  const today = `${language.now} ${new Date().toDateString()}`;
  return html`<ol class="events">${shown.map((event) => html`<${EventRow} key=${`${event.epoch}-${event.sequence}`} event=${event} ago=${t("ago", { time: span(Date.now() - event.at) })} today=${today} />`)}</ol>
    ${state.missing && html`<div class="pad"><p class="note" role="note">${t("eventsMissing", { from: dateTime(state.missing.from), to: dateTime(state.missing.to) })}</p></div>`}
    ${state.more && html`<div class="row center pad"><button onClick=${() => loadOlder().catch(() => {})}>${t("older")}</button></div>`}`;
}

export function Events() {
  const [filter, setFilter] = useState("");
  return html`<div class="view-head"><h1>${t("events")}</h1><input id="filter" type="search" placeholder=${`${t("filterEvents")}  /`} aria-label=${t("filterEvents")} value=${filter} onInput=${(event) => setFilter(event.target.value)} /></div>
    <section class="card flush"><${EventList} word=${filter.toLowerCase()} /></section>`;
}
