// What this page has not seen, and the server does not know any more: where it was asleep for long, or the server began anew. `known`: the last event of the
// page; `begins`: the oldest that the server knows. None, or {from, to} in ms.
export function lost(known, begins, now) {
  if (!known) return null;
  if (!begins) return { from: known.at, to: now };
  const follows = begins.epoch === known.epoch && begins.sequence <= known.sequence + 1;
  return follows ? null : { from: known.at, to: begins.at };
}
