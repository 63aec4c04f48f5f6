// Exceptions of apps, in groups.
import { useEffect, useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { dateTime, safe } from "../format.js";
import { toast } from "../store.js";
import { api, segment } from "../api.js";
import { Ago, Copy, Empty, Skeleton } from "../parts.js";
import { mayAct } from "../act.js";

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

export function ErrorList({ app, word, only }) {
  const [answer] = usePolled(`errors${app ? `?app=${encodeURIComponent(app)}` : ""}`);
  if (!answer) return html`<${Skeleton} rows=${4} />`;
  const matches = (one) => (!only || only === "all" || (only === "resolved") === (one.state === "resolved")) && (!word || `${one.app} ${one.type} ${one.message} ${one.culprit}`.toLowerCase().includes(word));
  const shown = answer.errors.filter(matches);
  if (!answer.errors.length) return html`<${Empty} title=${t("noErrors")}><p>${t("noErrorsHint")}</p></${Empty}>`;
  if (!shown.length) return html`<${Empty} title=${t("noErrorMatches")} />`;
  return html`<table class="apps errors"><thead><tr><th scope="col">${t("error")}</th>${!app && html`<th scope="col">${t("app")}</th>`}<th scope="col">${t("state")}</th><th scope="col" class="num">${t("times")}</th><th scope="col" class="num">${t("lastSeen")}</th></tr></thead>
    <tbody>${shown.map((one) => html`<tr key=${one.id}><th scope="row"><a href=${`#/errors/${one.id}`}>${safe(one.type)}</a><span class="sub">${safe(one.message) || "–"}</span>${one.culprit && html`<code class="sub">${safe(one.culprit)}</code>`}</th>${!app && html`<td data-label=${t("app")}>${safe(one.app)}</td>`}<td data-label=${t("state")}><${ErrorState} one=${one} /></td><td data-label=${t("times")} class="num">${one.count}</td><td data-label=${t("lastSeen")} class="num"><${Ago} at=${one.last} /></td></tr>`)}</tbody></table>`;
}

function ErrorFrames({ frames }) {
  const [all, setAll] = useState(false);
  const own = frames.filter((frame) => frame.own);
  const shown = all || !own.length ? frames : own;
  return html`<ol class="frames">${shown.map((frame, at) => html`<li key=${at} class=${frame.own ? "own" : ""}><strong>${safe(frame.function) || "–"}</strong> <span class="sub">${safe(frame.file)}${frame.line ? `:${frame.line}` : ""}</span></li>`)}</ol>
    ${own.length > 0 && own.length < frames.length && html`<button class="plain link" aria-expanded=${all} onClick=${() => setAll(!all)}>${all ? t("ownFrames") : t("allFrames", { n: frames.length })}</button>`}`;
}

function ErrorDetail({ id }) {
  const [one, again] = usePolled(`errors/${segment(id)}`);
  if (one === false) return html`<section class="card"><${Empty} title=${t("noSuchError")}><a class="button" href="#/errors">${t("back")}</a></${Empty}></section>`;
  if (!one) return html`<${Skeleton} rows=${6} />`;
  const resolve = () => api(`errors/${segment(one.id)}/resolve`, { method: "POST", body: {} }).then(again).catch((error) => toast(error.status === 0 ? t("offline") : error.message, "bad"));
  const facts = [
    [t("app"), safe(one.app)],
    [t("times"), one.count],
    [t("firstSeen"), html`${dateTime(one.first)} · <${Ago} at=${one.first} />`],
    [t("lastSeen"), html`${dateTime(one.last)} · <${Ago} at=${one.last} />`],
    [t("instance"), one.sample.instance],
    ...(one.resolved ? [[t("errorResolved"), `${dateTime(one.resolved.at)} · ${safe(one.resolved.by)}`]] : []),
  ];
  return html`
    <div class="app-head"><a class="button quiet-button" href="#/errors" aria-label=${t("back")}>←</a>
      <div class="grow"><h1>${safe(one.type)}</h1><span class="sub wrap">${safe(one.message)}</span></div>
      <${ErrorState} one=${one} />${mayAct() && one.state !== "resolved" && html`<button class="primary" onClick=${resolve}>${t("resolve")}</button>`}</div>
    <div class="two"><section class="card"><h2>${t("frames")}</h2>${one.sample.frames.length ? html`<${ErrorFrames} frames=${one.sample.frames} />` : html`<p class="sub">${t("noFrames")}</p>`}</section>
      <section class="card"><h2>${t("overview")}</h2><dl class="pairs">${facts.map(([key, value]) => html`<div key=${key}><dt>${key}</dt><dd>${value}</dd></div>`)}</dl>
        <h2 class="next">${t("releases")}</h2><dl class="pairs">${one.releases.map((seen) => html`<div key=${`${seen.release}${seen.version}`}><dt>${releaseName(seen) || t("unknownRelease")}</dt><dd>${seen.count} · ${dateTime(seen.first)}</dd></div>`)}</dl></section></div>
    <section class="card"><h2>${t("linesBefore")}</h2>${one.sample.before.length ? html`<${Copy} text=${safe(one.sample.before.join("\n"))} />` : html`<p class="sub">${t("noLinesBefore")}</p>`}</section>`;
}

export function Errors({ id }) {
  const [filter, setFilter] = useState("");
  const [only, setOnly] = useState("unresolved");
  if (id) return html`<${ErrorDetail} key=${id} id=${id} />`;
  const chips = [["unresolved", t("unresolved")], ["resolved", t("errorResolved")], ["all", t("all")]];
  return html`<div class="view-head"><h1>${t("errors")}</h1><input id="filter" type="search" placeholder=${`${t("filterErrors")}  /`} aria-label=${t("filterErrors")} value=${filter} onInput=${(event) => setFilter(event.target.value)} /></div>
    <section class="card flush"><div class="toolbar"><div class="chips" role="group" aria-label=${t("state")}>${chips.map(([key, text]) => html`<button key=${key} class="chip ${only === key ? "on" : ""}" aria-pressed=${only === key} onClick=${() => setOnly(key)}>${text}</button>`)}</div></div>
      <${ErrorList} word=${filter.toLowerCase()} only=${only} /></section>`;
}
