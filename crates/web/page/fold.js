// Folding of repeated events and exits. Pure.

// Kinds of events for the filter.
const GROUPS = { exit: "crashes", could_not_start: "crashes", errored: "crashes", not_ready: "crashes", kill_timeout: "crashes", hook_failed: "crashes", reload_begun: "releases", reload_done: "releases", reload_failed: "releases", reload_overruled: "releases", replaced: "releases", health: "healthEvents", limit_exceeded: "healthEvents", waiting: "starts", launched: "starts", online: "starts", draining: "starts", stopping: "starts", stopped: "starts", restarting: "starts", scaled: "starts", run_missed: "starts", deleted: "starts" };
export const EVENT_GROUPS = ["crashes", "starts", "releases", "healthEvents", "otherEvents"];

// A requested exit is a part of a stop.
export function eventGroup(event) {
  if (event.kind === "exit" && event.severity === "info") return "starts";
  return GROUPS[event.kind] || "otherEvents";
}

// An app that keeps crashing repeats a cycle: exit, restart, start, online. Events are the same if
// only their numbers differ (pid, duration), and if no more than this lies between them.
const FOLD_GROUPS = 8;
const FOLD_MS = 60000;

const foldKey = (event) => `${event.app}\n${event.instance}\n${event.kind}\n${event.text.replace(/[\d.]+ (ms|s|min|h|days?)/g, "#").replace(/\d+/g, "#")}\n${event.severity}`;

// Folds events (the newest first): {event, oldest, count, all}. `event` is the newest of them.
// Without `isFolded`, each has its own row.
export function foldEvents(events, isFolded) {
  if (!isFolded) return events.map((event) => ({ event, oldest: event, count: 1, all: [event] }));
  const rows = [];
  for (const event of events) {
    const key = foldKey(event);
    const same = rows.slice(-FOLD_GROUPS).find((row) => row.key === key && row.oldest.at - event.at <= FOLD_MS);
    if (same) {
      same.all.push(event);
      same.oldest = event;
      same.count += 1;
    } else rows.push({ key, event, oldest: event, count: 1, all: [event] });
  }
  return rows;
}

// Folds exits (the newest first) that follow each other and are the same.
export function foldExits(exits) {
  const rows = [];
  for (const exit of exits) {
    const last = rows[rows.length - 1];
    if (last && last.exit.text === exit.text && last.exit.kind === exit.kind) {
      last.all.push(exit);
      last.isSameOutput = last.isSameOutput && last.exit.last_words[0] === exit.last_words[0];
    } else rows.push({ exit, all: [exit], isSameOutput: exit.last_words.length > 0 });
  }
  return rows;
}

export function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)];
}
