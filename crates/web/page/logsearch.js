// Search over all log files, including rotated and compressed ones. Hits appear as they are found,
// the last first.
import { useEffect, useRef, useState } from "./vendor/preact.js";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { bytes, dateTime, percent, safe } from "./format.js";
import { address, goTo, term } from "./address.js";
import { Empty } from "./parts.js";
import { Line, timeOf } from "./logview.js";

const AN_HOUR = 3600000;
const SEARCH_SPANS = [["", null], ["15m", AN_HOUR / 4], ["1h", AN_HOUR], ["6h", 6 * AN_HOUR], ["1d", 24 * AN_HOUR], ["7d", 168 * AN_HOUR]];
const HITS_KEPT = 2000;
const NO_SEARCH = { hits: [], progress: null, end: null, fault: null, busy: false };

// Passes on the records of a search as they arrive; `signal` aborts it.
async function searchLogs(words, signal, each) {
  const response = await fetch(`api/logs/search?${new URLSearchParams(words)}`, { signal, credentials: "same-origin" });
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw new Error((body && body.error) || `HTTP ${response.status}`);
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    each(lines.filter(Boolean).map((line) => JSON.parse(line)));
  }
}

function LinesAround({ hit }) {
  const [found, setFound] = useState(null);
  useEffect(() => {
    const stop = new AbortController();
    searchLogs({ app: hit.app, at: hit.place, context: 25 }, stop.signal, (records) => records.forEach((record) => record.hit && setFound(record.hit))).catch(() => setFound((now) => now || hit));
    return () => stop.abort();
  }, [hit.place]);
  const shown = found || hit;
  const line = (text) => ({ text, at: null, app: hit.app, instance: hit.instance, stream: "" });
  return html`${shown.before.map((text) => html`<${Line} line=${line(text)} />`)}<${Line} line=${{ ...hit, stream: `${hit.stream} found` }} />${shown.after.map((text) => html`<${Line} line=${line(text)} />`)}`;
}

function Hit({ hit, showApp }) {
  const [isOpen, setOpen] = useState(false);
  const [at, hint] = timeOf(hit, (iso) => dateTime(Date.parse(iso)));
  return html`<div class="hit"><div class="hit-head"><span title=${hint}>${at}</span>${showApp && html`<span class="of">${safe(hit.app)} ${hit.instance}</span>`}<span class="sub">${safe(hit.file || "")}</span><span class="grow"></span>
      <button class="plain link" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>${isOpen ? t("closeAround") : t("showAround")}</button></div>
    ${isOpen ? html`<${LinesAround} hit=${hit} />` : html`<${Line} line=${{ ...hit, at: null }} />`}</div>`;
}

// Returns two instants of the address in the format of the time fields. Either may be missing.
function timesOf(moment) {
  const ends = /^(\d{10,14})?-(\d{10,14})?$/.exec(moment || "");
  const local = (ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60000).toISOString().slice(0, 19);
  return ends && (ends[1] || ends[2]) && { from: ends[1] ? local(Number(ends[1])) : "", to: ends[2] ? local(Number(ends[2]) + 999) : "" };
}

// Returns the path of the logs without a moment.
const logsPath = () => address.parts.slice(0, address.parts[0] === "app" ? 4 : 1);

// Search in the address: the words of its form.
function searchOf(moment) {
  const times = timesOf(moment || term("time"));
  const span = times ? "own" : term("time", "", SEARCH_SPANS.map(([key]) => key));
  return { q: term("q"), regex: term("regex") === "1", span, from: "", to: "", stream: term("stream", "", ["", "out", "err"]), ...times };
}

// Address of a search.
function searchTerms(words) {
  const instant = (text) => (text ? new Date(text).getTime() : "");
  const time = words.span === "own" ? `${instant(words.from)}-${instant(words.to)}` : words.span;
  return { ...(address.terms.app && { app: address.terms.app }), in: "files", q: words.q, regex: words.regex && "1", time: time === "-" ? "" : time, stream: words.stream };
}

export function LogSearch({ app, moment }) {
  const linked = searchOf(moment);
  const linkedKey = JSON.stringify(linked);
  // Words of the form. Another address has other words, and drops those that were not submitted.
  const form = useRef(null);
  const [, redraw] = useState(0);
  if (!form.current || form.current.key !== linkedKey) form.current = { key: linkedKey, words: linked };
  const { words } = form.current;
  const [submitted, setSubmitted] = useState(null);
  const [state, setState] = useState(NO_SEARCH);
  const stop = useRef(null);
  useEffect(() => () => stop.current && stop.current.abort(), []);
  const set = (key) => (event) => {
    form.current = { key: linkedKey, words: { ...form.current.words, [key]: event.target.type === "checkbox" ? event.target.checked : event.target.value } };
    redraw((n) => n + 1);
  };
  const question = (asked) => {
    const span = SEARCH_SPANS.find(([key]) => key === asked.span);
    const from = asked.span === "own" ? asked.from && new Date(asked.from).getTime() : span && span[1] && Date.now() - span[1];
    const to = asked.span === "own" && asked.to && new Date(asked.to).getTime();
    return { q: asked.q, ignore_case: 1, ...(app && { app }), ...(asked.regex && { regex: 1 }), ...(asked.stream && { stream: asked.stream }), ...(from && { from }), ...(to && { to }), ...((from || to) && { timed: 1 }) };
  };
  const run = (what, kept) => {
    if (stop.current) stop.current.abort();
    const own = (stop.current = new AbortController());
    setSubmitted(what);
    setState({ ...NO_SEARCH, hits: kept, busy: true });
    const { place, ...terms } = what;
    const change = (to) => own === stop.current && setState(to);
    searchLogs(place ? { ...terms, before: place } : terms, own.signal, (records) =>
      change((now) => {
        const next = { ...now, hits: [...now.hits, ...records.filter((one) => one.hit).map((one) => one.hit)] };
        for (const one of records) {
          if (one.progress) next.progress = one.progress;
          if (one.end) next.end = one.end;
          if (one.error) next.fault = one.error;
        }
        return next;
      }),
    )
      .catch((error) => error.name !== "AbortError" && change((now) => ({ ...now, fault: error.message })))
      .finally(() => change((now) => ({ ...now, busy: false })));
  };
  useEffect(() => {
    if (linked.q || linked.span || linked.stream) run(question(linked), []);
    else {
      if (stop.current) stop.current.abort();
      stop.current = null;
      setState(NO_SEARCH);
    }
  }, [linkedKey]);
  const submit = (event) => {
    event.preventDefault();
    if (JSON.stringify(words) === linkedKey) run(question(words), []);
    else goTo(logsPath(), searchTerms(words));
  };
  const { hits, progress, end, fault, busy } = state;
  const isCut = hits.length >= HITS_KEPT;
  const how = () => {
    if (fault) return safe(fault);
    if (busy) return progress ? t("searching", { part: percent((100 * progress.looked) / Math.max(1, progress.of)), of: bytes(progress.of) }) : t("loading");
    if (end) return t(end.more ? "foundSoFar" : "foundAll", { n: hits.length, bytes: bytes(end.looked) });
    return "";
  };
  return html`<section class="logs">
    <form class="toolbar" onSubmit=${submit} role="search">
      <input id="search" type="search" placeholder=${t("searchLogs")} aria-label=${t("searchLogs")} value=${words.q} onInput=${set("q")} />
      <label class="check"><input type="checkbox" checked=${words.regex} onChange=${set("regex")} />${t("regex")}</label>
      <select aria-label=${t("range")} value=${words.span} onChange=${set("span")}>${SEARCH_SPANS.map(([key]) => html`<option key=${key} value=${key}>${key ? t("lastSpan", { span: key }) : t("anyTime")}</option>`)}<option value="own">${t("ownRange")}</option></select>
      ${words.span === "own" && html`<input type="datetime-local" step="1" aria-label=${t("from")} value=${words.from} onInput=${set("from")} /><input type="datetime-local" step="1" aria-label=${t("to")} value=${words.to} onInput=${set("to")} />`}
      <select aria-label=${t("stream")} value=${words.stream} onChange=${set("stream")}><option value="">${t("bothStreams")}</option><option value="out">stdout</option><option value="err">stderr</option></select>
      ${busy ? html`<button type="button" onClick=${() => stop.current.abort()}>${t("stop")}</button>` : html`<button class="primary" type="submit">${t("search")}</button>`}
      <span class="grow"></span>
      ${submitted && hits.length > 0 && html`<a class="button" href=${`api/logs/search?${new URLSearchParams({ ...submitted, place: "", format: "text" })}`} download="found.txt">${t("download")}</a>`}
    </form>
    <p class="found ${fault ? "bad" : ""}" role="status" aria-live="polite">${how()}</p>
    ${end && end.untimed > 0 && html`<p class="found warn" id="untimed">${t("linesUntimed", { n: end.untimed })} <button class="plain link" type="button" onClick=${() => run({ ...submitted, timed: "" }, [])}>${t("showUntimed")}</button></p>`}
    ${busy && progress && html`<progress max=${progress.of} value=${progress.looked} aria-label=${t("loading")}></progress>`}
    <div class="lines" tabindex="0" role="region" aria-label=${t("searchFiles")}>
      ${hits.map((hit) => html`<${Hit} key=${hit.place} hit=${hit} showApp=${!app} />`)}
      ${!hits.length && !busy && html`<${Empty} title=${fault ? t("badSearch") : end ? t(end.untimed ? "nothingOfThatTime" : "nothingFound") : t("searchHint")} />`}
      ${end && end.trouble.map((one) => html`<p class="found bad">${t("notSearched", { what: safe(one) })}</p>`)}
      ${end && end.more && !busy && html`<div class="more">${isCut ? t("tooManyHits") : html`<button onClick=${() => run({ ...submitted, place: end.more }, hits)}>${t("searchOn")}</button>`}</div>`}
    </div>
  </section>`;
}

// Live lines, or a search.
export function LogTabs({ live, app, moment }) {
  const isSearch = Boolean(timesOf(moment)) || term("in") === "files";
  const go = (on) => goTo(logsPath(), { ...address.terms, in: on ? "files" : "", time: "", stream: "" });
  const tab = (on, word) => html`<button role="tab" aria-selected=${isSearch === on} class=${isSearch === on ? "on" : ""} onClick=${() => isSearch !== on && go(on)}>${word}</button>`;
  return html`<div class="tabs inner" role="tablist" aria-label=${t("logs")}>${tab(false, t("liveLines"))}${tab(true, t("searchFiles"))}</div>${isSearch ? html`<${LogSearch} app=${app} moment=${moment} />` : live}`;
}
