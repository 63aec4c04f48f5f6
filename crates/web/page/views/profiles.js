// Profiles of an app: starting one, the list, and one as flame graph and table.
import { useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { bytes, dateTime, percent, safe, span } from "../format.js";
import { openDialog, toast } from "../store.js";
import { api, segment } from "../api.js";
import { Ago, Empty, Skeleton } from "../parts.js";
import { isAdmin, mayAct } from "../act.js";
import { Flame, amountText, placeText } from "../flame.js";
import { readProfile } from "../profile.js";

// Polling intervals: while a profile is running, and otherwise.
const LOOK_BUSY_MS = 1000;
const LOOK_IDLE_MS = 10000;
// Larger profiles are for other tools.
const MOST_DRAWN_BYTES = 64 << 20;
const KINDS = { cpu: "profileCpu", memory: "profileMemory", heap: "profileHeap" };
const OWNERS = { own: "ownerOwn", package: "ownerPackage", internal: "ownerInternal", native: "ownerNative", engine: "ownerEngine" };

const fileUrl = (one) => `api/profiles/${segment(one.id)}`;

function TakeProfiles({ app, busy, again }) {
  const [instance, setInstance] = useState("");
  const [seconds, setSeconds] = useState(10);
  const running = app.instances.filter((one) => one.pid);
  const startProfile = async (kind) => {
    const body = { kind, seconds: kind === "heap" ? undefined : seconds, instance: instance === "" ? undefined : Number(instance) };
    try {
      await api(`apps/${segment(app.name)}/profile`, { method: "POST", body });
    } catch (error) {
      toast(error.status === 0 ? t("offline") : error.message, "bad");
    }
    again();
  };
  // The app is blocked while its heap is written.
  const heap = () => openDialog({ title: t("profileHeap"), text: t("confirmHeap", { name: app.name }), danger: true, action: () => startProfile("heap") });
  return html`<div class="row take">
    <label class="check">${t("instance")} <select value=${instance} onChange=${(event) => setInstance(event.target.value)}><option value="">${t("all")}</option>${running.map((one) => html`<option key=${one.id} value=${one.id}>${one.id}</option>`)}</select></label>
    <div class="chips" role="group" aria-label=${t("duration")}>${[10, 30].map((n) => html`<button key=${n} class="chip ${seconds === n ? "on" : ""}" aria-pressed=${seconds === n} onClick=${() => setSeconds(n)}>${span(n * 1000)}</button>`)}</div>
    <button class="primary" disabled=${busy || !running.length} onClick=${() => startProfile("cpu")}>${t("profileCpu")}</button>
    <button disabled=${busy || !running.length} onClick=${() => startProfile("memory")}>${t("profileMemory")}</button>
    ${isAdmin() && html`<button disabled=${busy || !running.length} onClick=${heap}>${t("profileHeap")}</button>`}
  </div>`;
}

function RunningProfiles({ one }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, []);
  const share = one.ms ? Math.min(1, Math.max(0, (now - one.at) / one.ms)) : undefined;
  return html`<li class="row"><span class="grow">${t(KINDS[one.kind])} · ${t("instance")} ${one.instance} <span class="sub">${safe(one.by)}</span></span><progress value=${share} max="1" aria-label=${t("underWay")}></progress><span class="sub">${share === 1 ? t("isWritten") : t("underWay")}</span></li>`;
}

function ProfileTable({ tree, word }) {
  const shown = tree.functions.filter((one) => !word || `${one.name} ${one.file}`.toLowerCase().includes(word));
  const share = (value) => (tree.total > 0 ? percent((value / tree.total) * 100) : "–");
  return html`<table class="apps functions"><thead><tr><th scope="col">${t("function")}</th><th scope="col">${t("code")}</th><th scope="col" class="num">${t("self")}</th><th scope="col" class="num">${t("total")}</th></tr></thead>
    <tbody>${shown.map((one) => html`<tr key=${`${one.name} ${one.file} ${one.line}`}><th scope="row"><code>${safe(one.name)}</code>${one.file && html`<span class="sub wrap">${safe(placeText(one))}</span>`}</th><td data-label=${t("code")}><span class="owner ${one.owner}">${t(OWNERS[one.owner])}</span></td><td data-label=${t("self")} class="num">${share(one.self)}<span class="sub">${amountText(one.self, tree.unit)}</span></td><td data-label=${t("total")} class="num">${share(one.total)}<span class="sub">${amountText(one.total, tree.unit)}</span></td></tr>`)}</tbody></table>`;
}

function OneProfile({ one }) {
  const [value, setValue] = useState(null);
  const [word, setWord] = useState("");
  const [owner, setOwner] = useState("all");
  const isDrawn = one.kind !== "heap" && one.bytes <= MOST_DRAWN_BYTES;
  useEffect(() => {
    let isHere = true;
    if (isDrawn) api(`profiles/${segment(one.id)}`).then((answer) => isHere && setValue(answer === null ? false : answer)).catch(() => isHere && setValue(false));
    return () => {
      isHere = false;
    };
  }, [one.id]);
  const tree = useMemo(() => (value ? readProfile(value, one.kind) : null), [value]);
  if (one.kind === "heap") return html`<p class="pad sub">${t("heapHint")}</p>`;
  if (!isDrawn) return html`<p class="pad sub">${t("profileTooLarge")}</p>`;
  if (value === null) return html`<${Skeleton} rows=${4} />`;
  if (!tree) return html`<${Empty} title=${t("noProfile")} />`;
  if (!(tree.total > 0)) return html`<${Empty} title=${t("emptyProfile")} />`;
  const owners = [["all", t("all")], ...Object.entries(OWNERS).map(([key, name]) => [key, t(name)])].filter(([key]) => key === "all" || tree.functions.some((one) => one.owner === key));
  const listed = { ...tree, functions: tree.functions.filter((one) => owner === "all" || one.owner === owner) };
  const lower = word.trim().toLowerCase();
  return html`<div class="pad"><div class="row"><input id="filter" type="search" placeholder=${t("filterFunctions")} aria-label=${t("filterFunctions")} value=${word} onInput=${(event) => setWord(event.target.value)} /><span class="sub">${amountText(tree.total, tree.unit)}${tree.idle > 0 ? ` · ${t("idleTime", { time: amountText(tree.idle, tree.unit) })}` : ""}</span></div>
      <${Flame} key=${one.id} tree=${tree} word=${lower} /></div>
    <div class="toolbar"><h2>${t("topFunctions")}</h2><div class="chips" role="group" aria-label=${t("code")}>${owners.map(([key, name]) => html`<button key=${key} class="chip ${owner === key ? "on" : ""}" aria-pressed=${owner === key} onClick=${() => setOwner(key)}>${name}</button>`)}</div></div>
    <${ProfileTable} tree=${listed} word=${lower} />`;
}

function useProfiles(app) {
  const [answer, setAnswer] = useState(null);
  const [turn, setTurn] = useState(0);
  const busy = answer !== null && answer.running.length > 0;
  useEffect(() => {
    let isHere = true;
    const isOf = (one) => one.app === app.name && one.namespace === app.namespace;
    const take = (value) => isHere && setAnswer({ profiles: value.profiles.filter(isOf), running: value.running.filter(isOf), failed: value.failed.filter(isOf) });
    const load = () => document.hidden || api("profiles").then(take).catch(() => {});
    load();
    const timer = setInterval(load, busy ? LOOK_BUSY_MS : LOOK_IDLE_MS);
    return () => {
      isHere = false;
      clearInterval(timer);
    };
  }, [app.name, app.namespace, turn, busy]);
  return [answer, busy, () => setTurn((n) => n + 1)];
}

export function Profiles({ app, detail, open, go }) {
  const [answer, busy, again] = useProfiles(app);
  const newest = useRef(null);
  const first = answer && answer.profiles.length ? answer.profiles[0].id : "";
  // Opens a profile that has just finished.
  useEffect(() => {
    if (newest.current !== null && first && first !== newest.current) go(first);
    if (answer) newest.current = first;
  }, [first, answer === null]);
  if (!detail.profiles) {
    return html`<section class="card"><${Empty} title=${t("notNode")}><p>${t("notNodeHint")}</p><pre class="copy" tabindex="0">${`perf record -g -p ${app.instances[0].pid || "<pid>"}\npy-spy record -o profile.svg -p ${app.instances[0].pid || "<pid>"}`}</pre></${Empty}></section>`;
  }
  if (!answer) return html`<${Skeleton} rows=${4} />`;
  const remove = (one) => openDialog({ title: t("remove"), text: t("confirmRemoveProfile"), danger: true, action: () => api(`profiles/${segment(one.id)}`, { method: "DELETE" }).then(again).catch((error) => toast(error.status === 0 ? t("offline") : error.message, "bad")) });
  const shown = answer.profiles.find((one) => one.id === open);
  return html`<section class="card"><h2>${t("profiles")}</h2>${mayAct() && html`<${TakeProfiles} app=${app} busy=${busy} again=${again} />`}
      ${answer.running.length > 0 && html`<ul class="plain-list under-way">${answer.running.map((one) => html`<${RunningProfiles} key=${one.instance} one=${one} />`)}</ul>`}
      ${answer.failed.slice(0, 3).map((one) => html`<p key=${`${one.at} ${one.instance}`} class="bad">${t(KINDS[one.kind])} · ${t("instance")} ${one.instance} · <${Ago} at=${one.at} />: ${safe(one.reason)}</p>`)}</section>
    ${shown && html`<section class="card flush"><h2 class="pad">${t(KINDS[shown.kind])} · ${t("instance")} ${shown.instance} <span class="sub">${dateTime(shown.at)}</span></h2><${OneProfile} key=${shown.id} one=${shown} /></section>`}
    <section class="card flush">${answer.profiles.length ? html`<table class="apps"><thead><tr><th scope="col">${t("profile")}</th><th scope="col">${t("instance")}</th><th scope="col" class="num">${t("size")}</th><th scope="col" class="num">${t("when")}</th><th scope="col"><span class="hidden">${t("actions")}</span></th></tr></thead>
      <tbody>${answer.profiles.map((one) => html`<tr key=${one.id}><th scope="row"><button class="plain link" aria-current=${one.id === open ? "true" : undefined} onClick=${() => go(one.id)}>${t(KINDS[one.kind])}${one.ms ? ` · ${span(one.ms)}` : ""}</button><span class="sub">${safe(one.by)}</span></th><td data-label=${t("instance")}>${one.instance}</td><td data-label=${t("size")} class="num">${bytes(one.bytes)}</td><td data-label=${t("when")} class="num"><${Ago} at=${one.at} /></td>
        <td class="act">${(one.kind !== "heap" || isAdmin()) && html`<a class="button" download href=${fileUrl(one)}>${t("download")}</a>`}${mayAct() && html` <button onClick=${() => remove(one)}>${t("remove")}</button>`}</td></tr>`)}</tbody></table>` : html`<${Empty} title=${t("noProfiles")}><p>${t("noProfilesHint")}</p></${Empty}>`}</section>`;
}
