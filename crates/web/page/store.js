// What the page knows: one state, changed by the server's news and by this browser.
import { useEffect, useState } from "./vendor/preact.js";
import { dateTime } from "./format.js";
import { t } from "./i18n.js";
import { lost } from "./missing.js";
import { api } from "./api.js";

const SAMPLES = 600;
const EVENTS = 500;

export const state = {
  session: null, // null = not known yet, false = nobody is logged in
  logins: {},
  table: null,
  events: [],
  more: false,
  missing: null, // { from, to }: times between which events happened that nobody has any more
  connection: "connecting",
  samples: new Map(),
  host: [],
  toasts: [],
  dialog: null,
};

const listeners = new Set();
let planned = false;

// Draws once for all changes of a frame: each message is a task of its own, and a burst of them is one picture. Where there are no frames, soon all the same.
const NO_FRAME_MS = 100;
export function changed() {
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

function takeTable(table) {
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

function takeEvent(event) {
  if (state.events.some((known) => known.sequence === event.sequence && known.epoch === event.epoch)) return;
  state.events.unshift(event);
  if (state.events.length > EVENTS) state.events.length = EVENTS;
}

export async function loadEvents(older) {
  const known = state.events[0];
  const last = state.events[state.events.length - 1];
  const answer = await api(`events?limit=100${older && last ? `&before=${last.sequence}` : ""}`);
  if (older) state.events.push(...answer.events);
  else {
    // What came by the stream while the answer was under way.
    const newest = answer.events[0];
    const came = newest ? state.events.filter((event) => event.epoch === newest.epoch && event.sequence > newest.sequence) : [];
    state.events = [...came, ...answer.events];
    const missing = lost(known, answer.begins, Date.now());
    if (missing) {
      state.missing = missing;
      toast(t("eventsMissing", { from: dateTime(missing.from), to: dateTime(missing.to) }), "bad");
    }
  }
  state.more = answer.more && state.events.length < EVENTS;
  changed();
}

let source = null;
let heard = 0;
// A table comes each second. Where none does, the way is broken and the browser does not know: after a machine's sleep nobody tells it.
const SILENT_MS = 20000;
setInterval(() => {
  if (!source || document.hidden || Date.now() - heard < SILENT_MS) return;
  disconnect();
  state.connection = "reconnecting";
  changed();
  connect();
  loadEvents(false).catch(() => {});
}, 2000);

export function connect() {
  if (source) return;
  heard = Date.now();
  source = new EventSource("api/live");
  source.onopen = () => {
    state.connection = "live";
    changed();
  };
  source.onerror = () => {
    state.connection = "reconnecting";
    changed();
    // Closed for good, e.g. because the login has ended: find out, and begin again.
    if (source && source.readyState === EventSource.CLOSED) {
      disconnect();
      setTimeout(() => begin(), 1000);
    }
  };
  source.addEventListener("table", (message) => {
    heard = Date.now();
    takeTable(JSON.parse(message.data));
    changed();
  });
  source.addEventListener("event", (message) => {
    takeEvent(JSON.parse(message.data));
    changed();
  });
  source.addEventListener("gone", () => loadEvents(false).catch(() => {}));
}

export function disconnect() {
  if (source) source.close();
  source = null;
}

// A page that nobody sees gets no news: a browser opens six connections to a server, however many pages of it there are.
const UNSEEN_MS = 10000;
let unseen = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(unseen);
  if (document.hidden) unseen = setTimeout(disconnect, UNSEEN_MS);
  else if (state.session && !source) {
    connect();
    loadEvents(false).catch(() => {});
  }
});

// Finds out who we are; then follows.
export async function begin() {
  const link = location.hash.match(/^#link=([0-9a-f]+)$/);
  if (link) history.replaceState(null, "", location.pathname + location.search);
  try {
    state.session = link ? await api("session", { method: "POST", body: { link: link[1] } }) : await api("session");
    connect();
    loadEvents(false).catch(() => {});
  } catch (error) {
    if (error.status === 401 || error.status === 429) {
      state.session = false;
      state.logins = error.body.logins || {};
      state.loginError = link ? error.message : null;
    } else {
      state.connection = "reconnecting";
      setTimeout(() => begin(), 2000);
    }
  }
  changed();
}

let toastId = 0;

export function toast(text, kind, ms) {
  const id = (toastId += 1);
  state.toasts = [...state.toasts.slice(-3), { id, text, kind }];
  changed();
  if (ms !== 0) setTimeout(() => untoast(id), ms || (kind === "bad" ? 10000 : 4000));
  return id;
}

export function untoast(id) {
  state.toasts = state.toasts.filter((one) => one.id !== id);
  changed();
}

export function ask(dialog) {
  state.dialog = dialog;
  changed();
}
