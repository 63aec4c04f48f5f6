// Search over all log files, including rotated and compressed ones. Hits appear as they are found,
// the last first.
import { useEffect, useRef, useState } from "./vendor/preact.js";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { bytes, dateTime, percent, safe } from "./format.js";
import { Empty } from "./parts.js";
import { Line } from "./logview.js";

const AN_HOUR = 3600000;
const SEARCH_SPANS = [["", null], ["15m", AN_HOUR / 4], ["1h", AN_HOUR], ["6h", 6 * AN_HOUR], ["1d", 24 * AN_HOUR], ["7d", 168 * AN_HOUR]];
const HITS_KEPT = 2000;

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
  const at = hit.at ? dateTime(Date.parse(hit.at)) : "";
  return html`<div class="hit"><div class="hit-head"><span>${at}</span>${showApp && html`<span class="of">${safe(hit.app)} ${hit.instance}</span>`}<span class="sub">${safe(hit.file || "")}</span><span class="grow"></span>
      <button class="plain link" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>${isOpen ? t("closeAround") : t("showAround")}</button></div>
    ${isOpen ? html`<${LinesAround} hit=${hit} />` : html`<${Line} line=${{ ...hit, at: null }} />`}</div>`;
}

// Returns two instants of the address in the format of the time fields.
function timesOf(moment) {
  const ends = /^(\d{10,14})-(\d{10,14})$/.exec(moment || "");
  const local = (ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60000).toISOString().slice(0, 19);
  return ends && { from: local(Number(ends[1])), to: local(Number(ends[2]) + 999) };
}

export function LogSearch({ app, moment }) {
  const times = timesOf(moment);
  const [words, setWords] = useState({ q: "", regex: false, span: times ? "own" : "", from: "", to: "", stream: "", ...times });
  const [submitted, setSubmitted] = useState(null);
  const [state, setState] = useState({ hits: [], progress: null, end: null, fault: null, busy: false });
  const stop = useRef(null);
  useEffect(() => () => stop.current && stop.current.abort(), []);
  const set = (key) => (event) => setWords({ ...words, [key]: event.target.type === "checkbox" ? event.target.checked : event.target.value });
  const question = () => {
    const span = SEARCH_SPANS.find(([key]) => key === words.span);
    const from = words.span === "own" ? words.from && new Date(words.from).getTime() : span && span[1] && Date.now() - span[1];
    const to = words.span === "own" && words.to && new Date(words.to).getTime();
    return { q: words.q, ignore_case: 1, ...(app && { app }), ...(words.regex && { regex: 1 }), ...(words.stream && { stream: words.stream }), ...(from && { from }), ...(to && { to }), ...((from || to) && { timed: 1 }) };
  };
  const run = (what, kept) => {
    if (stop.current) stop.current.abort();
    const own = (stop.current = new AbortController());
    setSubmitted(what);
    setState({ hits: kept, progress: null, end: null, fault: null, busy: true });
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
    if (times) run(question(), []);
  }, []);
  const submit = (event) => {
    event.preventDefault();
    run(question(), []);
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
    <div class="lines" tabindex="0" aria-label=${t("search")}>
      ${hits.map((hit) => html`<${Hit} key=${hit.place} hit=${hit} showApp=${!app} />`)}
      ${!hits.length && !busy && html`<${Empty} title=${fault ? t("badSearch") : end ? t(end.untimed ? "nothingOfThatTime" : "nothingFound") : t("searchHint")} />`}
      ${end && end.trouble.map((one) => html`<p class="found bad">${t("notSearched", { what: safe(one) })}</p>`)}
      ${end && end.more && !busy && html`<div class="more">${isCut ? t("tooManyHits") : html`<button onClick=${() => run({ ...submitted, place: end.more }, hits)}>${t("searchOn")}</button>`}</div>`}
    </div>
  </section>`;
}

// Live lines, or a search.
export function LogTabs({ live, app, moment }) {
  const [isSearch, setSearch] = useState(Boolean(timesOf(moment)));
  const tab = (on, word) => html`<button role="tab" aria-selected=${isSearch === on} class=${isSearch === on ? "on" : ""} onClick=${() => setSearch(on)}>${word}</button>`;
  return html`<div class="tabs inner" role="tablist" aria-label=${t("logs")}>${tab(false, t("liveLines"))}${tab(true, t("searchFiles"))}</div>${isSearch ? html`<${LogSearch} app=${app} moment=${moment} />` : live}`;
}
