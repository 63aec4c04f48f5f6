// The list of events of a page, the newest first: with an event of the stream, with an answer of `api/events`; and what is missing between the two. Pure.
const isSame = (one, other) => one.epoch === other.epoch && one.sequence === other.sequence;

// With an event of the stream, by its number; of an epoch that is new, on top. `more`: the server has older ones than the list. An event that is older than the
// whole list is one of those, and comes with them.
export function withEvent(list, event, more) {
  const before = list.findIndex((one) => one.epoch === event.epoch && one.sequence <= event.sequence);
  if (before >= 0) return isSame(list[before], event) ? list : list.toSpliced(before, 0, event);
  const after = list.findLastIndex((one) => one.epoch === event.epoch);
  return more && after >= 0 && after === list.length - 1 ? list : list.toSpliced(after + 1, 0, event);
}

// With an answer about the newest: what the stream brought meanwhile stays, and what is older, where the two meet. {list, more}.
export function withAnswer(list, more, answer) {
  const [newest] = answer.events;
  if (!newest) return { list, more };
  const oldest = answer.events[answer.events.length - 1];
  const meet = list.findIndex((one) => isSame(one, oldest));
  const came = list.filter((one) => one.epoch === newest.epoch && one.sequence > newest.sequence);
  const older = meet < 0 ? [] : list.slice(meet + 1);
  return { list: [...came, ...answer.events, ...older], more: older.length ? more : answer.more };
}

// What this page was not told, and the server does not know any more: where it was asleep for long, or the server began anew. `known`: up to where it was told
// everything; `begins`: the oldest that the server knows. None, or {from, to} in ms.
export function lost(known, begins) {
  const follows = begins.epoch === known.epoch && begins.sequence <= known.sequence + 1;
  return follows ? null : { from: known.at, to: begins.at };
}
