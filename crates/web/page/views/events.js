// Events and their causes: folded, and by kind.
import { Component, useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { language, preference, savePreference, t } from "../i18n.js";
import { dateTime, fullTime, safe, span } from "../format.js";
import { setTerms, term, typeTerms } from "../address.js";
import { loadOlder, state } from "../store.js";
import { Chips, Empty } from "../parts.js";
import { EVENT_GROUPS, eventGroup, foldEvents } from "../fold.js";

const EVENTS_DRAWN = 300;

class EventRow extends Component {
  shouldComponentUpdate(next) {
    return ["event", "ago", "today", "count", "isOpen"].some((name) => next[name] !== this.props[name]);
  }

  render({ event, oldest, count, ago, isOpen, toggle }) {
    const full = fullTime(event.at);
    return html`<li class="${event.severity} ${toggle ? "" : "of-group"}"><span class="dot" role="img" aria-label=${t(event.severity)}></span><span class="when" title=${full}>${dateTime(event.at)}</span>
      <span class="what">${count > 1 && html`<button class="plain times" aria-expanded=${isOpen} aria-label=${t("nTimes", { n: count })} onClick=${toggle}>${count} ×</button> `}<strong>${safe(event.app ?? "ostler")}${event.instance === null ? "" : ` (${event.instance})`}</strong> ${safe(event.text)} <span class="sub">${safe(event.who)}${count > 1 ? ` · ${t("sinceTime", { time: dateTime(oldest.at) })}` : ""}</span></span><span class="ago sub"><time datetime=${new Date(event.at).toISOString()} title=${full}>${ago}</time></span></li>`;
  }
}

const eventKey = (event) => `${event.epoch}-${event.sequence}`;

export function EventList({ app, word }) {
  const kind = term("kind", "all", ["all", "problems", ...EVENT_GROUPS]);
  const [open, setOpen] = useState(new Set());
  const [isFolded, setFolded] = useState(preference("ostler-fold") !== "no");
  const fold = (event) => {
    savePreference("ostler-fold", event.target.checked ? "yes" : "no");
    setFolded(event.target.checked);
  };
  const matches = (event) => (!app || event.app === app) && (!word || `${event.app || ""} ${event.text} ${event.who}`.toLowerCase().includes(word));
  const all = state.events.filter(matches);
  const kinds = EVENT_GROUPS.filter((group) => all.some((event) => eventGroup(event) === group));
  const isProblem = (event) => event.severity !== "info";
  const shown = foldEvents(all.filter((event) => kind === "all" || (kind === "problems" ? isProblem(event) : eventGroup(event) === kind)), isFolded).slice(0, EVENTS_DRAWN);
  // Most rows are unchanged; only rows with different properties are drawn again.
  const today = `${language.now} ${new Date().toDateString()}`;
  const toggle = (id) => {
    const next = new Set(open);
    if (!next.delete(id)) next.add(id);
    setOpen(next);
  };
  const ago = (event) => t("ago", { time: span(Date.now() - event.at) });
  // A group keeps its key while it grows.
  const row = ({ event, oldest, count, all: members }) => {
    const id = eventKey(oldest);
    const isOpen = open.has(id);
    return html`<${EventRow} key=${id} event=${event} oldest=${oldest} count=${count} ago=${ago(event)} today=${today} isOpen=${isOpen} toggle=${() => toggle(id)} />
      ${isOpen && count > 1 && members.slice(1).map((one) => html`<${EventRow} key=${`each ${eventKey(one)}`} event=${one} oldest=${one} count=${1} ago=${ago(one)} today=${today} />`)}`;
  };
  return html`${all.length > 0 && html`<div class="toolbar"><${Chips} label=${t("kind")} now=${kind} pick=${(to) => setTerms({ kind: to === "all" ? "" : to })} options=${[["all", t("all")], ...(all.some(isProblem) ? [["problems", t("problems")]] : []), ...kinds.map((group) => [group, t(group)])]} /><span class="grow"></span><label class="check"><input type="checkbox" checked=${isFolded} onChange=${fold} />${t("foldRepeats")}</label></div>`}
    ${shown.length ? html`<ol class="events">${shown.map(row)}</ol>` : html`<${Empty} title=${t("noEvents")} />`}
    ${state.missing && html`<div class="pad"><p class="note" role="note">${t("eventsMissing", { from: dateTime(state.missing.from), to: dateTime(state.missing.to) })}</p></div>`}
    ${all.length > 0 && state.more && html`<div class="row center pad"><button onClick=${() => loadOlder().catch(() => {})}>${t("older")}</button></div>`}`;
}

export function Events() {
  const filter = term("q");
  return html`<div class="view-head"><h1>${t("events")}</h1><input id="filter" type="search" placeholder=${`${t("filterEvents")}  /`} aria-label=${t("filterEvents")} value=${filter} onInput=${(event) => typeTerms({ q: event.target.value })} /></div>
    <section class="card flush"><${EventList} word=${filter.toLowerCase()} /></section>`;
}
