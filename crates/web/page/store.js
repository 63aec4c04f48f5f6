// State of the page: one object, changed by the server's messages and by this browser.
import { useEffect, useState } from "./vendor/preact.js";
import { dateTime } from "./format.js";
import { t } from "./i18n.js";
import { missedRange, mergeAnswer, addEvent } from "./eventlist.js";
import { api } from "./api.js";

const SAMPLES = 600;
const EVENTS = 500;

export const state = {
  session: null, // null = not known yet, false = not signed in
  logins: {},
  table: null,
  events: [],
  more: true, // true if the server may have older events
  missing: null, // { from, to }: time range whose events are lost
  connection: "connecting",
  samples: new Map(),
  host: [],
  toasts: [],
  dialog: null,
  dialogTurn: 0, // counts the dialogs
};

const listeners = new Set();
let planned = false;

// Draws once for all changes of a frame: each message is a task of its own, and a burst of them
// needs one drawing. Without frames, a timer draws soon afterwards.
const NO_FRAME_MS = 100;
export function scheduleRender() {
  if (planned) return;
  planned = true;
  let timer = 0;
  const draw = () => {
    if (!timer) return;
    clearTimeout(timer);
    timer = 0;
    planned = false;
    for (const listener of listeners) listener();
  };
  timer = setTimeout(draw, NO_FRAME_MS);
  requestAnimationFrame(draw);
}

export function useStore() {
  const [, redraw] = useState(0);
  useEffect(() => {
    const listener = () => redraw((n) => n + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return state;
}

export const appKey = (app) => `${app.namespace}\n${app.name}`;

function applyTable(table) {
  state.table = table;
  const seen = new Set();
  for (const app of [...table.apps, ...table.modules]) {
    const key = appKey(app);
    seen.add(key);
    let list = state.samples.get(key);
    if (!list) state.samples.set(key, (list = []));
    if (!list.length || table.at - list[list.length - 1].at >= 900) list.push({ at: table.at, cpu: app.cpu, memory: app.memory });
    if (list.length > SAMPLES) list.shift();
  }
  for (const key of state.samples.keys()) if (!seen.has(key)) state.samples.delete(key);
  if (table.host.cpu !== null) {
    state.host.push({ at: table.at, cpu: table.host.cpu * 100, memory: table.host.memory.used });
    if (state.host.length > SAMPLES) state.host.shift();
  }
}

function keepEvents(list, more) {
  state.events = list.slice(0, EVENTS);
  state.more = more && list.length < EVENTS;
}

// Last position that the stream has reported completely: {epoch, sequence, at}. The server sends it
// as the id of each message.
let lastPosition = null;
// True if the event list must be read: after a stream starts, because it has no earlier events, and
// after a gap in the stream. `gapStart` is the value of `lastPosition` before the oldest gap that
// no list has been compared with yet.
let needsList = true;
let gapStart = null;

function requestList() {
  needsList = true;
  gapStart ??= lastPosition;
}

function updatePosition(message, at) {
  const [epoch, sequence] = message.lastEventId.split("-").map(Number);
  if (sequence >= 0) lastPosition = { epoch, sequence, at };
}

// Reads the list after the stream has started, so the stream delivers all events that are too new
// for the answer. A failure is retried with the next table, a second later.
async function readList() {
  const known = gapStart;
  needsList = false;
  gapStart = null;
  try {
    const answer = await api("events?limit=100", { signal: AbortSignal.timeout(SILENT_MS) });
    const { list, more } = mergeAnswer(state.events, state.more, answer);
    keepEvents(list, more);
    scheduleRender();
    // A server that has just started has no events yet.
    if (known && !answer.begins) throw new Error("nothing is known");
    const missing = known && missedRange(known, answer.begins);
    if (missing) {
      state.missing = missing;
      toast(t("eventsMissing", { from: dateTime(missing.from), to: dateTime(missing.to) }), "bad");
    }
  } catch {
    needsList = true;
    gapStart = known ?? gapStart;
  }
}

export async function loadOlder() {
  const last = state.events[state.events.length - 1];
  const answer = await api(`events?limit=100&before=${last.epoch}-${last.sequence}`);
  // Another list has replaced it.
  if (state.events[state.events.length - 1] !== last) return;
  keepEvents([...state.events, ...answer.events], answer.more);
  scheduleRender();
}

// The next user may have fewer rights.
function clearUserData() {
  keepEvents([], true);
  Object.assign(state, { table: null, samples: new Map(), host: [], missing: null, dialog: null });
  lastPosition = gapStart = null;
}

let source = null;
let heard = 0;
// The server sends a table each second. If none arrives, the connection is broken and the browser
// has not noticed, for example after a sleep of the machine.
const SILENT_MS = 20000;
setInterval(() => {
  if (!source || document.hidden || Date.now() - heard < SILENT_MS) return;
  disconnect();
  state.connection = "reconnecting";
  scheduleRender();
  connect();
}, 2000);

export function connect() {
  if (source) return;
  heard = Date.now();
  source = new EventSource("api/live");
  source.onopen = () => {
    state.connection = "live";
    requestList();
    scheduleRender();
  };
  source.onerror = () => {
    state.connection = "reconnecting";
    scheduleRender();
    // Closed for good, for example because the login has expired: checks the session and starts
    // again.
    if (source && source.readyState === EventSource.CLOSED) {
      disconnect();
      setTimeout(() => startSession(), 1000);
    }
  };
  source.addEventListener("table", (message) => {
    heard = Date.now();
    const table = JSON.parse(message.data);
    applyTable(table);
    updatePosition(message, table.at);
    if (needsList) readList();
    scheduleRender();
  });
  source.addEventListener("event", (message) => {
    const event = JSON.parse(message.data);
    keepEvents(addEvent(state.events, event, state.more), state.more);
    updatePosition(message, event.at);
    scheduleRender();
  });
  source.addEventListener("gone", requestList);
}

export function disconnect() {
  if (source) source.close();
  source = null;
}

// A hidden page disconnects. A browser opens at most six connections to a server, for all pages
// together.
const UNSEEN_MS = 10000;
let unseen = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(unseen);
  if (document.hidden) unseen = setTimeout(disconnect, UNSEEN_MS);
  else if (state.session && !source) connect();
});

// Checks the session, then follows the server.
export async function startSession() {
  const link = location.hash.match(/^#link=([0-9a-f]+)$/);
  if (link) history.replaceState(null, "", location.pathname + location.search);
  try {
    state.session = link ? await api("session", { method: "POST", body: { link: link[1] } }) : await api("session");
    connect();
  } catch (error) {
    if (error.status === 401 || error.status === 429) {
      state.session = false;
      clearUserData();
      state.logins = error.body.logins || {};
      state.loginError = link ? error.message : null;
    } else {
      state.connection = "reconnecting";
      setTimeout(() => startSession(), 2000);
    }
  }
  scheduleRender();
}

let toastId = 0;

export function toast(text, kind, ms) {
  const id = (toastId += 1);
  state.toasts = [...state.toasts.slice(-3), { id, text, kind }];
  scheduleRender();
  if (ms !== 0) setTimeout(() => dismissToast(id), ms || (kind === "bad" ? 10000 : 4000));
  return id;
}

export function dismissToast(id) {
  state.toasts = state.toasts.filter((one) => one.id !== id);
  scheduleRender();
}

export function openDialog(dialog) {
  state.dialog = dialog;
  state.dialogTurn += 1;
  scheduleRender();
}
