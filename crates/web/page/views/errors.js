// Exceptions of apps, in groups.
import { useEffect, useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { clock, dateTime, safe } from "../format.js";
import { listHref, setTerms, term, typeTerms } from "../address.js";
import { state, toast } from "../store.js";
import { api, segment } from "../api.js";
import { Ago, Chips, Copy, Empty, Skeleton } from "../parts.js";
import { mayAct } from "../act.js";
import { appBase } from "./base.js";

// Time around an exception whose log lines are shown.
const LINES_BEFORE_MS = 30000;
const LINES_AFTER_MS = 5000;
// Polling interval while the list is open.
const LOOK_MS = 5000;
const ERROR_TONES = { open: "bad", returned: "warn", resolved: "good" };
const ERROR_WORDS = { open: "errorOpen", returned: "errorReturned", resolved: "errorResolved" };

const releaseName = (one) => (one && one.release ? `${t("release", { n: one.release })}${one.version && one.version !== "N/A" ? ` (${safe(one.version)})` : ""}` : "");

// Polls a path while its component is shown.
export function usePolled(path) {
  const [answer, setAnswer] = useState(null);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let isHere = true;
    const load = () => document.hidden || api(path).then((value) => isHere && setAnswer(value)).catch((error) => isHere && error.status === 404 && setAnswer(false));
    load();
    const timer = setInterval(load, LOOK_MS);
    return () => {
      isHere = false;
      clearInterval(timer);
    };
  }, [path, turn]);
  return [answer, () => setTurn((n) => n + 1)];
}

function ErrorState({ one }) {
  return html`<span class="badge ${ERROR_TONES[one.state]}"><span class="dot" aria-hidden="true"></span>${one.returned ? t("cameBackIn", { release: releaseName(one.returned) || "?" }) : t(ERROR_WORDS[one.state])}</span>`;
}

const errorTitle = (one) => `${safe(one.type)}${one.message ? `: ${safe(one.message)}` : ""}`;

// Exceptions in each of the last 24 hours.
function HourBars({ counts, isLarge }) {
  const most = Math.max(...counts, 1);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const [step, height] = isLarge ? [20, 80] : [4, 20];
  const hour = (ago) => clock(Date.now() - ago * 3600000).slice(0, 2);
  return html`<svg class=${isLarge ? "hours large" : "hours"} viewBox="0 0 ${step * counts.length} ${height}" preserveAspectRatio="none" role="img" aria-label=${t("inLastDay", { n: total })}>${counts.map((count, at) => {
    const size = count ? Math.max(2, (count / most) * height) : 1;
    return html`<rect key=${at} class=${count ? "" : "none"} x=${at * step} y=${height - size} width=${step * 0.75} height=${size}><title>${hour(counts.length - 1 - at)}:00 · ${count}</title></rect>`;
  })}</svg>`;
}

export function ErrorList({ app, word, only }) {
  const [answer] = usePolled(`errors${app ? `?app=${encodeURIComponent(app)}` : ""}`);
  if (!answer) return html`<${Skeleton} rows=${4} />`;
  const matches = (one) => (!only || only === "all" || (only === "resolved") === (one.state === "resolved")) && (!word || `${one.app} ${one.type} ${one.message} ${one.culprit}`.toLowerCase().includes(word));
  const shown = answer.errors.filter(matches);
  if (!answer.errors.length) return html`<${Empty} title=${t("noErrors")}><p>${t("noErrorsHint")}</p></${Empty}>`;
  if (!shown.length) return html`<${Empty} title=${t("noErrorMatches")} />`;
  return html`<table class="apps errors"><thead><tr><th scope="col">${t("error")}</th>${!app && html`<th scope="col">${t("app")}</th>`}<th scope="col">${t("state")}</th><th scope="col">${t("trend24")}</th><th scope="col" class="num">${t("times")}</th><th scope="col" class="num">${t("firstSeen")}</th><th scope="col" class="num">${t("lastSeen")}</th></tr></thead>
    <tbody>${shown.map((one) => html`<tr key=${one.id}><th scope="row"><a href=${`#/errors/${one.id}`}>${errorTitle(one)}</a>${one.culprit && html`<code class="sub">${safe(one.culprit)}</code>`}</th>${!app && html`<td data-label=${t("app")}>${safe(one.app)}</td>`}<td data-label=${t("state")}><${ErrorState} one=${one} />${one.release && releaseName(one.release) && html`<span class="sub below">${releaseName(one.release)}</span>`}</td><td data-label=${t("trend24")}><${HourBars} counts=${one.trend} /></td><td data-label=${t("times")} class="num">${one.count}</td><td data-label=${t("firstSeen")} class="num"><${Ago} at=${one.first} /></td><td data-label=${t("lastSeen")} class="num"><${Ago} at=${one.last} /></td></tr>`)}</tbody></table>`;
}

function ErrorFrames({ frames }) {
  const [all, setAll] = useState(false);
  const own = frames.filter((frame) => frame.own);
  const shown = all || !own.length ? frames : own;
  return html`<ol class="frames">${shown.map((frame, at) => html`<li key=${at} class=${frame.own ? "own" : ""}><strong>${safe(frame.function) || "–"}</strong> <span class="sub">${safe(frame.file)}${frame.line ? `:${frame.line}` : ""}</span></li>`)}</ol>
    ${own.length > 0 && own.length < frames.length && html`<button class="plain link" aria-expanded=${all} onClick=${() => setAll(!all)}>${all ? t("ownFrames") : t("allFrames", { n: frames.length })}</button>`}`;
}

// Address of a view of the app; empty if the app is gone.
function appView(name, instance) {
  const apps = state.table ? [...state.table.apps, ...state.table.modules] : [];
  const of = apps.filter((app) => app.name === name);
  const app = of.find((one) => one.instances.some(({ id }) => id === instance)) || of[0];
  return app ? appBase(app) : "";
}

function SourceLines({ source, at }) {
  return html`<pre class="source">${source.map(({ number, text }) => html`<span key=${number} class=${number === at ? "here" : ""}><span class="sub">${String(number).padStart(5)} │ </span>${safe(text)}${"\n"}</span>`)}</pre>`;
}

function ErrorDetail({ id }) {
  const [one, again] = usePolled(`errors/${segment(id)}`);
  if (one === false) return html`<section class="card"><${Empty} isPage title=${t("noSuchError")}><a class="button" href="#/errors">${t("back")}</a></${Empty}></section>`;
  if (!one) return html`<${Skeleton} rows=${6} />`;
  const resolve = () => api(`errors/${segment(one.id)}/resolve`, { method: "POST", body: {} }).then(again).catch((error) => toast(error.status === 0 ? t("offline") : error.message, "bad"));
  const { sample } = one;
  const base = appView(one.app, sample.instance);
  const thrown = sample.frames.find((frame) => frame.own) || sample.frames[0];
  const facts = [
    [t("app"), base ? html`<a class="link" href=${base}>${safe(one.app)}</a>` : safe(one.app)],
    ...(one.route ? [[t("route"), html`${safe(one.route)}${one.trace && html` · <a class="link" href=${`#/traces/${one.trace}`}>${t("openTrace")}</a>`}`]] : []),
    [t("times"), one.count],
    [t("firstSeen"), html`${dateTime(one.first)} · <${Ago} at=${one.first} />`],
    [t("lastSeen"), html`${dateTime(one.last)} · <${Ago} at=${one.last} />`],
    [t("instance"), sample.instance],
    ...(one.resolved ? [[t("errorResolved"), `${dateTime(one.resolved.at)} · ${safe(one.resolved.by)}`]] : []),
  ];
  const lines = base && `${base}/logs/${sample.at - LINES_BEFORE_MS}-${sample.at + LINES_AFTER_MS}`;
  return html`
    <div class="app-head"><a class="button quiet-button" href=${listHref("errors")} aria-label=${t("back")}>←</a>
      <div class="grow"><h1>${errorTitle(one)}</h1><span class="sub wrap">${safe(one.culprit)}</span></div>
      <${ErrorState} one=${one} />${mayAct() && one.state !== "resolved" && html`<button class="primary" onClick=${resolve}>${t("resolve")}</button>`}</div>
    <div class="two"><section class="card">
        ${one.source.length > 0 && html`<h2>${t("sourceLines")} <span class="sub">${safe(thrown.file)} · ${t("asNow")}</span></h2><${SourceLines} source=${one.source} at=${thrown.line} />`}
        <h2 class=${one.source.length ? "next" : ""}>${t("frames")}</h2>${sample.frames.length ? html`<${ErrorFrames} frames=${sample.frames} />` : html`<p class="sub">${t("noFrames")}</p>`}</section>
      <section class="card"><h2>${t("trend24")}</h2><${HourBars} counts=${one.trend} isLarge />
        <dl class="pairs next">${facts.map(([key, value]) => html`<div key=${key}><dt>${key}</dt><dd class="wrap">${value}</dd></div>`)}</dl>
        <h2 class="next">${t("releases")}</h2><dl class="pairs">${one.releases.map((seen) => html`<div key=${`${seen.release}${seen.version}`}><dt>${releaseName(seen) || t("unknownRelease")}</dt><dd>${seen.count} · ${dateTime(seen.first)}</dd></div>`)}</dl></section></div>
    <section class="card"><div class="row"><h2 class="grow">${t("linesBefore")}</h2>${lines && html`<a class="button" href=${lines}>${t("openLines")}</a>`}</div>${sample.before.length ? html`<${Copy} text=${safe(sample.before.join("\n"))} />` : html`<p class="sub">${t("noLinesBefore")}</p>`}</section>`;
}

export function Errors({ id }) {
  const filter = term("q");
  const only = term("state", "unresolved", ["unresolved", "resolved", "all"]);
  if (id) return html`<${ErrorDetail} key=${id} id=${id} />`;
  const chips = [["unresolved", t("unresolved")], ["resolved", t("errorResolved")], ["all", t("all")]];
  return html`<div class="view-head"><h1>${t("errors")}</h1><input id="filter" type="search" placeholder=${`${t("filterErrors")}  /`} aria-label=${t("filterErrors")} value=${filter} onInput=${(event) => typeTerms({ q: event.target.value })} /></div>
    <section class="card flush"><div class="toolbar"><${Chips} label=${t("state")} options=${chips} now=${only} pick=${(key) => setTerms({ state: key === "unresolved" ? "" : key })} /></div>
      <${ErrorList} word=${filter.toLowerCase()} only=${only} /></section>`;
}
