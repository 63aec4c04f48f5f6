// Traces that are kept: a list, and the waterfall of one.
import { useEffect, useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { dateTime, millis, safe } from "../format.js";
import { listHref, setTerms, term, typeTerms } from "../address.js";
import { state } from "../store.js";
import { api, segment } from "../api.js";
import { Ago, Chips, Copy, Empty, Skeleton } from "../parts.js";
import { usePolled } from "./errors.js";

const AT_LEAST = [0, 100, 500, 1000, 5000];
const KEPT_TONES = { failed: "bad", slow: "warn", sample: "idle" };
const KEPT_WORDS = { failed: "traceFailed", slow: "traceSlow", sample: "traceSample" };
// Time before and after a trace that its charts show.
const AROUND_MS = 300000;
const SEARCHED_LINES = 50000;

const senderName = (one) => (one.app === null ? `${safe(one.service) || "?"} (${t("foreign")})` : safe(one.app));

function Kept({ one }) {
  const word = one.kept || "sample";
  return html`<span class="badge ${KEPT_TONES[word]}"><span class="dot" aria-hidden="true"></span>${t(KEPT_WORDS[word])}</span>`;
}

// Bar that compares a duration with the longest duration shown.
function Length({ ms, most, tone }) {
  return html`<span class="length"><span>${millis(ms)}</span><svg aria-hidden="true"><rect class=${tone} height="100%" width=${`${Math.max(1, (ms / most) * 100).toFixed(1)}%`} /></svg></span>`;
}

function NoTraces({ receiver }) {
  if (receiver.port === null) return html`<${Empty} title=${t("tracesOff")}><p>${t("tracesOffHint")}</p><${Copy} text="ostler web enable --otlp-port 4318" /></${Empty}>`;
  return html`<${Empty} title=${t("noTraces")}><p>${t("noTracesHint")}</p><${Copy} text=${"ostler install-otel\nostler restart <app> --trace"} /><p class="sub">${t("noTracesOther", { port: receiver.port })}</p></${Empty}>`;
}

export function TraceList({ app, route, failed, atLeast }) {
  const query = [["app", app], ["route", route], ["failed", failed ? "true" : ""], ["min_ms", atLeast || ""]].filter(([, value]) => value).map(([key, value]) => `${key}=${encodeURIComponent(value)}`);
  const [answer] = usePolled(`traces?${query.join("&")}`);
  if (!answer) return html`<${Skeleton} rows=${4} />`;
  const problem = answer.receiver.problem && html`<div class="banner" role="alert">${safe(answer.receiver.problem)}</div>`;
  if (!answer.traces.length) return html`${problem}${route || failed || atLeast ? html`<${Empty} title=${t("noTraceMatches")} />` : html`<${NoTraces} receiver=${answer.receiver} />`}`;
  const most = Math.max(...answer.traces.map((one) => one.took_ms), 1);
  return html`${problem}<table class="apps errors"><thead><tr><th scope="col">${t("route")}</th><th scope="col">${t("apps")}</th><th scope="col">${t("duration")}</th><th scope="col">${t("state")}</th><th scope="col" class="num">${t("when")}</th></tr></thead>
    <tbody>${answer.traces.map((one) => html`<tr key=${one.id}><th scope="row"><a href=${`#/traces/${one.id}`}>${safe(one.route) || "–"}</a>${one.message && html`<span class="sub">${safe(one.message)}</span>`}</th><td data-label=${t("apps")}>${one.from.map(senderName).join(" → ")}<span class="sub"> · ${t("nSpans", { n: one.spans })}</span></td><td data-label=${t("duration")}><${Length} ms=${one.took_ms} most=${most} tone=${KEPT_TONES[one.kept] || "idle"} /></td><td data-label=${t("state")}><${Kept} one=${one} /></td><td data-label=${t("when")} class="num"><${Ago} at=${one.at} /></td></tr>`)}</tbody></table>
    ${answer.more && html`<p class="pad sub">${t("moreTraces")}</p>`}`;
}

function Pairs({ list }) {
  return html`<dl class="pairs">${list.map(([key, value], at) => html`<div key=${at}><dt>${safe(key)}</dt><dd class="wrap">${safe(value)}</dd></div>`)}</dl>`;
}

function SpanRow({ span, sender, from, length }) {
  const [open, setOpen] = useState(false);
  const x = ((span.at_ms - from) / length) * 100;
  const width = Math.max(0.4, Math.min(100 - x, (span.took_ms / length) * 100));
  return html`<li class="span ${span.failed ? "failed" : ""}">
    <button class="plain span-row" aria-expanded=${open} onClick=${() => setOpen(!open)}>
      <span class="span-name depth-${Math.min(span.depth, 12)}">${open ? "▾" : "▸"} <strong>${safe(span.name) || "–"}</strong> <span class="sub">${senderName(sender)}</span></span>
      <span class="span-bar"><svg aria-hidden="true"><rect class=${span.failed ? "bad" : `from-${span.from % 6}`} x=${`${x.toFixed(2)}%`} width=${`${width.toFixed(2)}%`} height="100%" rx="2" /></svg><span class="sub">${millis(span.took_ms)}</span></span>
    </button>
    ${open && html`<div class="span-more">
      ${span.message && html`<p class="bad wrap">${safe(span.message)}</p>`}
      <p class="sub">${span.kind} · +${millis(Math.max(0, span.at_ms))} · ${span.id}${sender.instance !== null ? ` · ${t("instance")} ${sender.instance}` : ""}${span.skewed ? ` · ${t("clockDiffers")}` : ""}${span.left_out ? ` · ${t("leftOut", { n: span.left_out })}` : ""}</p>
      ${span.attributes.length > 0 && html`<${Pairs} list=${span.attributes} />`}
      ${span.events.map(([at, name, pairs], n) => html`<div key=${n}><h3>${safe(name)} <span class="sub">+${millis(Math.max(0, at))}</span></h3><${Pairs} list=${pairs} /></div>`)}
    </div>`}
  </li>`;
}

// Log lines of the trace's apps that name the trace.
function TraceLines({ one }) {
  const [lines, setLines] = useState(null);
  const apps = [...new Set(one.from.map((sender) => sender.app).filter((app) => app !== null))];
  useEffect(() => {
    const stop = new AbortController();
    const fetchLines = (app) => api(`logs?app=${encodeURIComponent(app)}&lines=${SEARCHED_LINES}&contains=${one.id}`, { signal: stop.signal }).then((answer) => answer.lines).catch(() => []);
    Promise.all(apps.map(fetchLines)).then((lists) => !stop.signal.aborted && setLines(lists.flat()));
    return () => stop.abort();
  }, [one.id]);
  if (!lines) return html`<${Skeleton} rows=${2} />`;
  if (!lines.length) return html`<p class="sub">${t("noLinesOfTrace")}</p>`;
  return html`<div class="lines of-trace" tabindex="0" role="log" aria-label=${t("linesOfTrace")}>${lines.map((line, at) => html`<div class="line ${line.stream}" key=${at}><span class="of">${safe(line.app || "")}${line.instance === null ? "" : ` ${line.instance}`}</span><span class="text">${safe(line.text)}</span></div>`)}</div>`;
}

function TraceDetail({ id }) {
  const [one] = usePolled(`traces/${segment(id)}`);
  if (one === false) return html`<section class="card"><${Empty} isPage title=${t("noSuchTrace")}><a class="button" href="#/traces">${t("back")}</a></${Empty}></section>`;
  if (!one) return html`<${Skeleton} rows=${6} />`;
  const timed = one.tree.filter((span) => !span.skewed);
  const from = Math.min(0, ...timed.map((span) => span.at_ms));
  const length = Math.max(0.001, ...timed.map((span) => span.at_ms + span.took_ms - from));
  const ours = one.from.filter((sender) => sender.app !== null);
  const charts = (sender) => `#/app/${encodeURIComponent(sender.namespace)}/${encodeURIComponent(sender.app)}/charts/${one.at - AROUND_MS}-${one.at + AROUND_MS}`;
  const unique = ours.filter((sender, at) => ours.findIndex((other) => other.app === sender.app && other.namespace === sender.namespace) === at);
  return html`
    <div class="app-head"><a class="button quiet-button" href=${listHref("traces")} aria-label=${t("back")}>←</a>
      <div class="grow"><h1>${safe(one.route) || "–"}</h1><span class="sub wrap">${dateTime(one.at)} · ${millis(one.took_ms)} · ${t("nSpans", { n: one.spans })} · ${one.id}</span></div><${Kept} one=${one} /></div>
    ${one.message && html`<div class="banner bad-banner wrap">${safe(one.message)}</div>`}
    <section class="card flush"><div class="row pad"><h2 class="grow">${t("waterfall")}</h2>${unique.map((sender) => html`<a class="button" key=${sender.app} href=${charts(sender)}>${t("chartsThen", { name: safe(sender.app) })}</a>`)}</div>
      <div class="span-scale sub" aria-hidden="true"><span></span><span class="row"><span class="grow">0</span><span class="grow center-text">${millis(length / 2)}</span><span>${millis(length)}</span></span></div>
      <ol class="waterfall">${one.tree.map((span) => html`<${SpanRow} key=${span.id} span=${span} sender=${one.from[span.from] || one.from[0]} from=${from} length=${length} />`)}</ol>
      ${one.left_out > 0 && html`<p class="pad sub">${t("leftOut", { n: one.left_out })}</p>`}</section>
    <section class="card"><h2>${t("linesOfTrace")}</h2><${TraceLines} one=${one} /></section>`;
}

export function Traces({ id }) {
  const [route, app, failed] = [term("q"), term("app"), term("failed") === "1"];
  const atLeast = Number(term("min", "0", AT_LEAST.map(String)));
  if (id) return html`<${TraceDetail} key=${id} id=${id} />`;
  const all = state.table ? state.table.apps : [];
  return html`<div class="view-head"><h1>${t("traces")}</h1><input id="filter" type="search" placeholder=${`${t("filterTraces")}  /`} aria-label=${t("filterTraces")} value=${route} onInput=${(event) => typeTerms({ q: event.target.value })} /></div>
    <section class="card flush"><div class="toolbar">
        <${Chips} label=${t("state")} options=${[[false, t("all")], [true, t("traceFailed")]]} now=${failed} pick=${(is) => setTerms({ failed: is ? "1" : "" })} />
        <select aria-label=${t("duration")} value=${atLeast} onChange=${(event) => setTerms({ min: event.target.value === "0" ? "" : event.target.value })}>${AT_LEAST.map((ms) => html`<option key=${ms} value=${ms}>${ms ? `≥ ${millis(ms)}` : t("anyDuration")}</option>`)}</select>
        <select aria-label=${t("apps")} value=${app} onChange=${(event) => setTerms({ app: event.target.value })}><option value="">${t("allApps")}</option>${all.map((one) => html`<option key=${`${one.namespace} ${one.name}`} value=${one.name}>${safe(one.name)}</option>`)}</select></div>
      <${TraceList} app=${app} route=${route} failed=${failed} atLeast=${atLeast} /></section>`;
}
