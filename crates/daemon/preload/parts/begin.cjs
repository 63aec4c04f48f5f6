// What ostler adds to a Node app that it starts: `node --require <this file> app.js`. See docs/node-preload.md.
//
// Rules of this file: it costs next to nothing while the app runs; it keeps no process alive; it prints nothing and throws nothing into the
// app, so whatever it finds missing in some version of Node it goes without; it patches nothing until the drain begins, and then only
// responses and listening servers, one by one. It works in Node 18 and later, for CommonJS and ES modules, and depends on Node alone.
// Its syntax is that of Node 12: it does little in an older Node, yet the app must start there.
//
// It is told by the environment, and on the IPC channel in messages that Node itself keeps from the app because their `cmd` begins with NODE_:
//
//   OSTLER_PRELOAD={"sync":true,"cookie":{"name":"x","worker":"3.1"},"beat_ms":10000,"age_ms":60000,"module":true,"debug_port":9230,"debug":true}      at least {}
//   ostler → app   {"cmd":"NODE_OSTLER","act":"drain","stop_listening":false,"idle_ms":500,"signal":"SIGINT","lasting_ms":1600}
//   app → ostler   {"cmd":"NODE_OSTLER","act":"open","requests":2,"lasting":1}      during the drain, at first and when it has changed
//   app → ostler   {"cmd":"NODE_OSTLER","act":"drained","lasting":1}      once for each `drain`, when nobody is connected any more but by
//                  connections that only the app itself can end: at once if it hears `signal`
//                  (without one: messages), else when they had `lasting_ms`
//   app → ostler   {"cmd":"NODE_OSTLER","act":"runs"}        once, when the app's script has been run
//   app → ostler   {"type":"process:exception","data":{"name":…,"message":…,"stack":…}}      what PM2's `@pm2/io` sends, too: an exception, or a
//                  rejection, that nobody has caught
//   ostler → app   {"cmd":"NODE_OSTLER","act":"profile","kind":"cpu","ms":10000,"call":7}      or memory, or heap
//   app → ostler   {"cmd":"NODE_OSTLER","act":"profiled","call":7,"file":"/tmp/…"}      or an error
//   ostler → app   {"cmd":"NODE_OSTLER","act":"collect","for_ms":90000}
//   app → ostler   {"cmd":"NODE_OSTLER","act":"figures","figures":{…}}      every two seconds for that time: collector.cjs
//   ostler → app   {"cmd":"NODE_OSTLER","act":"reach","port":3000,"call":8}
//   app → ostler   {"cmd":"NODE_OSTLER","act":"reached","call":8,"path":"/tmp/…"}      or an error: way.cjs
//   app → ostler   {"cmd":"NODE_OSTLER","act":"turns"}        each `beat_ms`, for a health check that wants to know whether the event loop turns
'use strict';

const COMMAND = 'NODE_OSTLER';
const LONGEST_TIMER = 2 ** 31 - 1;
/** Connections that are ended in one turn of the event loop. */
const FEW = 4;

/** Channels that we listen to. Node 18 collects a channel that nobody refers to, with its subscribers. */
const channels = [];

function start({ sync, cookie, beat_ms, module, debug_port, age_ms }) {
  // SIGUSR1 opens the inspector there: in a cluster each worker has a port of its own.
  if (debug_port > 0) process.debugPort = debug_port;
  if (sync) ['stdout', 'stderr'].forEach(quietly(writeBlocking));
  if (isCookie(cookie)) quietly(stickBy)(cookie);
  const ageMs = age_ms > 0 ? Math.min(age_ms, LONGEST_TIMER / 2) : 0;
  if (ageMs > 0) quietly(limitAge)(ageMs);
  if (typeof process.send === 'function') drainOnCommand(ageMs);
  if (typeof process.send === 'function') tellWhenRun(process.send);
  if (typeof process.send === 'function') quietly(reportExceptions)(process.send);
  if (module) quietly(beginProbe)();
  if (typeof process.send === 'function' && beat_ms > 0) beat(process.send, Math.min(beat_ms, LONGEST_TIMER));
}

/** Says once that the script has been run: whoever started it may send it signals from then on. */
function tellWhenRun(send) {
  const say = quietly(() => process.connected && send.call(process, { cmd: COMMAND, act: 'runs' }, () => {}));
  let looks = 0;
  // A CommonJS script was run before the first turn of the event loop. ES modules are read and run in its first turns.
  const look = quietly(() => {
    looks += 1;
    if (process.mainModule || looks > 50 || (looks > 2 && !readsFiles())) return say();
    setTimeout(look, 10).unref();
  });
  setTimeout(look, 0).unref();
}

function readsFiles() {
  const active = process.getActiveResourcesInfo ? process.getActiveResourcesInfo() : [];
  return active.some((name) => name.startsWith('FSReq'));
}

/** Begins the probe of a module of PM2: its `@pm2/io` of version 2 sends no metric before `init`, which PM2's wrapper calls. */
function beginProbe() {
  require('module').createRequire(process.argv[1])('@pm2/io').init();
}

/** Says from time to time that the event loop turns, from its first turn on. */
function beat(send, ms) {
  // A channel that is closed, by the app or by us, is none of its concern.
  const say = quietly(() => process.connected && send.call(process, { cmd: COMMAND, act: 'turns' }, () => {}));
  setTimeout(say, 0).unref();
  setInterval(say, ms).unref();
}

function drainOnCommand(ageMs) {
  const drain = new Drain(process.send);
  drain.http2.ageMs = ageMs;
  subscribe('net.server.socket', ({ socket }) => drain.connected(socket));
  // Unlike 'message', this event does not make the channel keep the process alive.
  process.on('internalMessage', quietly((message) => obey(message, drain)));
}

function obey(message, drain) {
  if (message.cmd === COMMAND && message.act === 'profile') profile(message, drain.send);
  if (message.cmd === COMMAND && message.act === 'drain') drain.begin(message);
  if (message.cmd === COMMAND && message.act === 'collect') collect(message, drain.send);
  if (message.cmd === COMMAND && message.act === 'reach') reach(message, drain.send);
  if (message.cmd === 'NODE_CLUSTER') learnKey(message);
  // After this Node expects the worker to end by itself as soon as nothing is left to do.
  if (message.cmd === 'NODE_CLUSTER' && message.act === 'disconnect') drain.release();
}
