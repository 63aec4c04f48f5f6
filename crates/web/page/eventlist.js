// Event list of a page, the newest first. It merges stream events and answers of `api/events`, and
// detects missing events. Pure.
const isSame = (one, other) => one.epoch === other.epoch && one.sequence === other.sequence;

// Inserts a stream event by its number; an event of a new epoch goes to the top. `more`: the server
// has older events than the list. An event older than the whole list is one of those and arrives
// with them.
export function addEvent(list, event, more) {
  const before = list.findIndex((one) => one.epoch === event.epoch && one.sequence <= event.sequence);
  if (before >= 0) return isSame(list[before], event) ? list : list.toSpliced(before, 0, event);
  const after = list.findLastIndex((one) => one.epoch === event.epoch);
  return more && after >= 0 && after === list.length - 1 ? list : list.toSpliced(after + 1, 0, event);
}

// Merges an answer about the newest events. Events that the stream delivered in the meantime stay,
// and so do older events if the two lists overlap. Returns {list, more}.
export function mergeAnswer(list, more, answer) {
  const [newest] = answer.events;
  if (!newest) return { list, more };
  const oldest = answer.events[answer.events.length - 1];
  const meet = list.findIndex((one) => isSame(one, oldest));
  const came = list.filter((one) => one.epoch === newest.epoch && one.sequence > newest.sequence);
  const older = meet < 0 ? [] : list.slice(meet + 1);
  return { list: [...came, ...answer.events, ...older], more: older.length ? more : answer.more };
}

// Returns the time range whose events this page missed and the server no longer has. That happens
// after a long sleep of the machine or a restart of the server. `known` is the last event received,
// `begins` the oldest event of the server. Returns null or {from, to} in ms.
export function missedRange(known, begins) {
  const follows = begins.epoch === known.epoch && begins.sequence <= known.sequence + 1;
  return follows ? null : { from: known.at, to: begins.at };
}
