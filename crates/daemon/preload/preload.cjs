// What ostler adds to a Node app that it starts: `node --require <this file> app.js`. See docs/node-preload.md.
//
// Rules of this file: it costs next to nothing while the app runs; it keeps no process alive; it prints nothing and throws nothing into the
// app, so whatever it finds missing in some version of Node it goes without; it patches nothing until the drain begins, and then only
// responses and listening servers, one by one. It works in Node 18 and later, for CommonJS and ES modules, and depends on Node alone.
// Its syntax is that of Node 12: it does little in an older Node, yet the app must start there.
//
// It is told by the environment, and on the IPC channel in messages that Node itself keeps from the app because their `cmd` begins with NODE_:
//
//   OSTLER_PRELOAD={"sync":true,"cookie":{"name":"x","worker":3},"beat_ms":10000,"module":true,"debug":true}      at least {}
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

function start({ sync, cookie, beat_ms, module }) {
  if (sync) ['stdout', 'stderr'].forEach(quietly(writeBlocking));
  if (isCookie(cookie)) quietly(stickBy)(cookie);
  if (typeof process.send === 'function') drainOnCommand();
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

function drainOnCommand() {
  const drain = new Drain(process.send);
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

// ---- Exceptions ------------------------------------------------------------------------------------------------------------------------

/** Longest message and stack that are sent. */
const LONGEST_MESSAGE = 2000;
const LONGEST_STACK = 8000;

/** Reports exceptions and rejections that nobody has caught. Node goes on with them as ever: what it prints and how it ends is its own matter. */
function reportExceptions(send) {
  process.on(
    'uncaughtExceptionMonitor',
    quietly((error) => {
      if (process.connected && !reportsItself()) send.call(process, { type: 'process:exception', data: described(error) }, () => {});
    }),
  );
}

/** True where `@pm2/io` does the same. */
function reportsItself() {
  const isHere = Object.getOwnPropertySymbols(global).some((symbol) => String(symbol) === 'Symbol(@pm2/io)');
  return isHere && process.listenerCount('uncaughtException') > 0;
}

function described(error) {
  if (!(error instanceof Error)) {
    const isText = ['string', 'number', 'boolean'].includes(typeof error);
    return { name: 'Error', message: (isText ? String(error) : Object.prototype.toString.call(error)).slice(0, LONGEST_MESSAGE) };
  }
  const stack = String(error.stack).slice(0, LONGEST_STACK);
  const name = String(error.name);
  const own = error.constructor && String(error.constructor.name);
  // As Node prints it: a class of the app's own is named, also where it has not set its name.
  return { name: name === 'Error' && own ? own : name, message: String(error.message).slice(0, LONGEST_MESSAGE), stack };
}

// ---- Profiles --------------------------------------------------------------------------------------------------------------------------

/** What each kind asks V8's inspector for, at first and in the end, and the ending of its file. */
const PROFILES = {
  cpu: { ending: 'cpuprofile', first: ['Profiler.enable', 'Profiler.start'], last: 'Profiler.stop' },
  memory: { ending: 'heapprofile', first: ['HeapProfiler.startSampling'], last: 'HeapProfiler.stopSampling' },
  heap: { ending: 'heapsnapshot', first: [], last: 'HeapProfiler.takeHeapSnapshot' },
};
let isProfiling = false;

/** Takes a profile of this process, into a file that is the app's own, and says which. No port is opened. */
function profile({ kind, ms, call }, send) {
  const say = (said) => process.connected && send.call(process, Object.assign({ cmd: COMMAND, act: 'profiled', call }, said), () => {});
  if (isProfiling) return say({ error: 'is being profiled already' });
  isProfiling = true;
  const end = (said) => {
    isProfiling = false;
    say(said);
  };
  try {
    takeProfile(PROFILES[kind], ms, (file) => end({ file }), (error) => end({ error: String((error && error.message) || error) }));
  } catch (error) {
    end({ error: String((error && error.message) || error) });
  }
}

function takeProfile({ ending, first, last }, ms, done, failed) {
  const fs = require('fs');
  const session = new (require('inspector').Session)();
  session.connect();
  const name = `ostler-${process.pid}-${Date.now()}.${ending}`;
  const file = require('path').join(require('os').tmpdir(), name);
  // Nobody else's file, and nobody else reads it.
  const fd = fs.openSync(file, 'wx', 0o600);
  const close = (error) => {
    session.disconnect();
    fs.closeSync(fd);
    if (error) fs.unlinkSync(file);
    return error ? failed(error) : done(file);
  };
  session.on('HeapProfiler.addHeapSnapshotChunk', ({ params }) => fs.writeSync(fd, params.chunk));
  const finish = () =>
    session.post(last, (error, result) => {
      try {
        if (!error && result && result.profile) fs.writeSync(fd, JSON.stringify(result.profile));
        close(error);
      } catch (problem) {
        close(problem);
      }
    });
  for (const step of first) session.post(step, (error) => error && close(error));
  if (ms > 0) setTimeout(quietly(finish), ms).unref();
  else finish();
}

// ---- Figures ---------------------------------------------------------------------------------------------------------------------------

/** Modules of ours beside this file, which are read when they are first needed. */
const beside = new Map();

function loadBeside(name) {
  if (!beside.has(name)) {
    const { basename, join } = require('path');
    const file = join(__dirname, basename(__filename).replace('preload', name));
    beside.set(name, require(file));
    delete require.cache[file];
  }
  return beside.get(name);
}

/** Measures what the app does, for a time. The code for it is another file, which is read when it is first needed. */
function collect({ for_ms: forMs }, send) {
  loadBeside('collector')(forMs, (figures) => process.connected && send.call(process, { cmd: COMMAND, act: 'figures', figures }, () => {}));
}

// ---- A way to this very worker ---------------------------------------------------------------------------------------------------------

/** Names under which this worker gets connections by round robin, by port. Few: each is a server of the app. */
const keys = new Map();
const MOST_KEYS = 64;

/** Learns them from the answers of the primary. */
function learnKey({ ack, key, sockname }) {
  const port = ack !== undefined && typeof key === 'string' && sockname && sockname.port;
  if (port > 0 && (keys.has(port) || keys.size < MOST_KEYS)) keys.set(port, key);
}

/** Opens a way to the app's server on a port, in this process. The code for it is another file, as above. */
function reach({ port, call }, send) {
  const say = (said) => process.connected && send.call(process, Object.assign({ cmd: COMMAND, act: 'reached', call }, said), () => {});
  const done = (error, path) => say(error ? { error: String(error.message || error) } : { path });
  try {
    loadBeside('way')(port, (of) => keys.get(of), done);
  } catch (error) {
    done(error);
  }
}

// ---- Start -----------------------------------------------------------------------------------------------------------------------------

/** Removes the option that loaded this file, so that neither the app nor the children it forks see it. */
function hideFrom(options) {
  const at = options.findIndex((word, index) => /^(-r|--require)$/.test(word) && isThisFile(options[index + 1]));
  if (at >= 0) options.splice(at, 2);
}

function isThisFile(path) {
  try {
    return path === __filename || require.resolve(path) === __filename;
  } catch {
    return false;
  }
}

/** Reads the settings and removes them from the environment, which threads and children inherit. */
function takeSettings() {
  const text = process.env.OSTLER_PRELOAD;
  if (text === undefined) return undefined;
  delete process.env.OSTLER_PRELOAD;
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

/** Makes a function that throws nothing. */
function quietly(action) {
  return (...words) => {
    try {
      return action(...words);
    } catch (error) {
      // The app goes on as if we were not there.
      if (settings.debug) process._rawDebug(error);
    }
  };
}

function subscribe(name, listener) {
  const channel = require('diagnostics_channel').channel(name);
  channel.subscribe(quietly(listener));
  channels.push(channel);
}

// ---- Output ----------------------------------------------------------------------------------------------------------------------------

/**
 * Lets the app's writes to a pipe wait until the pipe has room. Node's own writes to it are asynchronous: what waits for room at `process.exit`
 * is lost. Only these writes: a pipe that blocks would hold up everybody who writes to it (a logger's thread, children), for each few
 * kilobytes that are read. Nothing is opened before the app uses the stream.
 */
function writeBlocking(name) {
  const original = Object.getOwnPropertyDescriptor(process, name);
  if (!original || !original.configurable || !original.get) return;
  const get = () => {
    Object.defineProperty(process, name, original);
    const stream = process[name];
    if (stream && stream._type === 'pipe' && typeof stream.fd === 'number') quietly(writeAtOnce)(stream);
    return stream;
  };
  Object.defineProperty(process, name, { ...original, get });
}

function writeAtOnce(stream) {
  const { writeSync } = require('fs');
  const clock = new Int32Array(new SharedArrayBuffer(4));
  const writeAll = (bytes) => {
    let wait_ms = 1;
    for (let at = 0; at < bytes.length; ) {
      try {
        at += writeSync(stream.fd, bytes, at, bytes.length - at);
        wait_ms = 1;
      } catch (error) {
        if (error.code !== 'EAGAIN') throw error;
        // The reader has as much to do as the pipe holds.
        Atomics.wait(clock, 0, 0, wait_ms);
        wait_ms = Math.min(wait_ms * 2, 16);
      }
    }
  };
  const bytesOf = (chunk, encoding) => (typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk);
  const write = (chunks, done) => {
    let failure = null;
    try {
      chunks.forEach(({ chunk, encoding }) => writeAll(bytesOf(chunk, encoding)));
    } catch (error) {
      failure = error;
    }
    done(failure);
  };
  const own = (name, value) => Object.defineProperty(stream, name, { value, writable: true, configurable: true, enumerable: false });
  own('_write', (chunk, encoding, done) => write([{ chunk, encoding }], done));
  own('_writev', write);
}

// ---- Sticky sessions -------------------------------------------------------------------------------------------------------------------

/** Both parts go into a header as they are. */
function isCookie(cookie) {
  const isPart = (part) => ['string', 'number'].includes(typeof part) && /^[\w.-]+$/.test(part);
  return Boolean(cookie) && isPart(cookie.name) && isPart(cookie.worker);
}

/** Tells each client that does not know it yet which worker it talks to. */
function stickBy({ name, worker }) {
  const pair = `${name}=${worker}`;
  subscribe('http.server.request.start', ({ request, response }) => {
    if (!carries(request.headers.cookie, pair)) {
      editHead(response, (head) => withLine(head, `Set-Cookie: ${pair}; Path=/; HttpOnly; SameSite=Lax`));
    }
  });
}

function carries(cookies, pair) {
  return cookies !== undefined && cookies.split(';').some((cookie) => cookie.trim() === pair);
}

/**
 * Edits the head of a response in the moment it is complete and not yet sent: whatever way the app took to its headers, they are all there.
 * `writeHead` is what Node calls too when the app does not.
 */
function editHead(response, edit) {
  const { writeHead } = response;
  response.writeHead = function (...words) {
    const result = Reflect.apply(writeHead, this, words);
    if (typeof this._header === 'string' && this.statusCode >= 200) this._header = edit(this._header);
    return result;
  };
}

/** A head ends with an empty line. */
function withLine(head, line) {
  return `${head.slice(0, -2)}${line}\r\n\r\n`;
}

function withoutLines(head, names) {
  return head.replace(new RegExp(`\\r\\n(?:${names}):[^\\r\\n]*`, 'gi'), '');
}

// ---- Drain -----------------------------------------------------------------------------------------------------------------------------

/** From the command to drain on no client gets a reason to stay, and none is cut off. */
class Drain {
  send;
  begun = false;
  told = true;
  stopListening = false;
  idleMs = 500;
  /** Servers that are found, kept while the drain lasts. */
  servers = new Set();
  /** Sockets and responses that are taken care of already. */
  seen = new WeakSet();
  /** Since when a connection rests. */
  rest = new WeakMap();
  /** Those that have rested long enough. */
  ending = [];
  standIns = new Set();
  http2 = new Http2Sessions();
  /** Since when a connection over TLS speaks neither HTTP/1 nor HTTP/2. */
  unspoken = new WeakMap();
  /** What was last said of the open connections. */
  said = '';
  /** What the app is asked to end by; none: a message. */
  signal = undefined;
  lastingMs = 0;
  /** Since when nothing is left but what only the app can end. */
  lastingSince = undefined;

  constructor(send) {
    this.send = send;
  }

  begin({ stop_listening: stopListening, idle_ms: idleMs, signal, lasting_ms: lastingMs }) {
    if (stopListening === true) this.stopListening = true;
    this.signal = signal;
    if (lastingMs >= 0 && lastingMs <= LONGEST_TIMER) this.lastingMs = lastingMs;
    if (idleMs >= 0 && idleMs <= LONGEST_TIMER) this.idleMs = idleMs;
    this.told = false;
    this.said = '';
    if (!this.begun) {
      this.begun = true;
      subscribe('http.server.request.start', ({ response, server }) => {
        this.meet(server);
        this.sayClose(response);
      });
      this.watch();
    }
    this.lookSoon();
  }

  /** A client has connected. The only thing here that also runs before the drain. */
  connected(socket) {
    this.http2.learn(socket.server);
    if (!this.begun) return;
    this.meet(socket.server);
    this.follow(socket);
  }

  /** From now on the process may end when nothing but us is left. */
  release() {
    for (const standIn of this.standIns) standIn.unref();
  }

  /** What ends tells so by itself; this timer finds what rests, and is the net below. */
  watch() {
    const every = Math.min(Math.max(this.idleMs / 4, 20), 250);
    setInterval(() => this.lookSoon(), every).unref();
  }

  /** Looks when the event loop has read all that has arrived: a connection whose next request is here does not rest. */
  lookSoon() {
    setImmediate(() => this.look());
  }

  look() {
    quietly(() => this.find())();
    for (const server of this.servers) quietly(() => this.care(server))();
    quietly(() => this.http2.goAway(this.idleMs))();
    this.reportOpen();
  }

  /** Finds servers, and clients who are connected since before the drain. */
  find() {
    const { Server } = require('net');
    for (const handle of process._getActiveHandles()) {
      if (handle instanceof Server) {
        this.meet(handle);
      } else if (handle.server instanceof Server) {
        this.meet(handle.server);
        // Another one when the app passes connections from server to server.
        if (handle._server) this.meet(handle._server);
        this.follow(handle);
        // Not a byte yet, not even of a TLS handshake.
        if (handle.bytesRead === 0 && speaksHttp(handle.server)) this.closeIdle(handle);
      }
    }
  }

  meet(server) {
    this.servers.add(server);
    if (this.stopListening) this.stop(server);
  }

  follow(socket) {
    if (this.seen.has(socket)) return;
    this.seen.add(socket);
    // One listener more must not be the one at which Node warns of a leak.
    if (socket.listenerCount('close') + 1 < socket.getMaxListeners()) socket.once('close', () => this.report());
  }

  /** HTTP/1 connections of a server: those at work end with their response, those at rest end after a while. */
  care(server) {
    const connections = connectionsOf(server);
    if (!connections) return;
    const quiet = new Set(connections.idle());
    for (const parser of connections.all()) {
      const { socket } = parser;
      if (!socket) continue;
      if (socket._httpMessage) {
        this.sayClose(socket._httpMessage);
      } else if (quiet.has(parser) || socket.bytesRead === 0) {
        this.closeIdle(socket);
      }
    }
  }

  closeIdle(socket) {
    const { bytesRead } = socket;
    const now = milliseconds();
    const rest = this.rest.get(socket);
    if (!rest || rest.bytesRead !== bytesRead) {
      this.rest.set(socket, { bytesRead, since: now });
    } else if (now - rest.since >= this.idleMs && !rest.ends) {
      rest.ends = true;
      if (this.ending.push(socket) === 1) setImmediate(() => this.endSome());
    }
  }

  /**
   * Ends a few of those that rested long enough. With thousands at once, a request that arrives while the first are closed would find the
   * last closed; so the event loop reads what has arrived before each few.
   */
  endSome() {
    for (const socket of this.ending.splice(0, FEW)) {
      const rest = this.rest.get(socket);
      rest.ends = false;
      if (rest.bytesRead === socket.bytesRead && !socket._httpMessage) quietly(() => socket.destroySoon())();
    }
    if (this.ending.length > 0) setImmediate(() => this.endSome());
  }

  sayClose(response) {
    if (this.seen.has(response) || response.headersSent) return;
    this.seen.add(response);
    response.shouldKeepAlive = false;
    // That alone would give way to a `Connection: keep-alive` of the app's own.
    editHead(response, (head) => {
      response._last = true;
      return withLine(withoutLines(head, 'connection|keep-alive'), 'Connection: close');
    });
  }

  stop(server) {
    const handle = server._handle;
    if (!handle || handle instanceof StandIn || ownsPath(server)) return;
    const standIn = new StandIn(handle, this.standIns);
    server._handle = standIn;
    handle.close();
  }

  report() {
    if (this.told) return;
    if (this.open() === 0) this.drained(0);
  }

  /** What is open is counted from time to time only: with thousands of connections that takes a while. */
  reportOpen() {
    this.report();
    if (this.told) return;
    const left = { requests: 0, lasting: 0 };
    quietly(() => this.count(left))();
    if (this.open() > left.lasting) this.lastingSince = undefined;
    else if (this.mayEnd()) return this.drained(left.lasting);
    const said = `${left.requests} ${left.lasting}`;
    if (this.said === said) return;
    this.said = said;
    this.say({ act: 'open', requests: left.requests, lasting: left.lasting });
  }

  /**
   * Only what lasts is left. An app that hears what it is asked by ends it as it thinks best; one that does not would be gone at once, and
   * what its clients do meanwhile with it: they have some time to come to an end.
   */
  mayEnd() {
    if (process.listenerCount(typeof this.signal === 'string' ? this.signal : 'message') > 0) return true;
    const now = milliseconds();
    if (this.lastingSince === undefined) this.lastingSince = now;
    return now - this.lastingSince >= this.lastingMs;
  }

  drained(lasting) {
    this.told = true;
    this.say({ act: 'drained', lasting });
  }

  open() {
    let open = 0;
    for (const server of this.servers) open += server._connections > 0 ? server._connections : 0;
    return open;
  }

  say(words) {
    // With a callback, a channel that is closed is no error of the process.
    Reflect.apply(this.send, process, [{ cmd: COMMAND, ...words }, undefined, undefined, () => {}]);
  }

  /**
   * Tells requests, which end by themselves, from what lasts until the app ends it: WebSockets and whatever else was upgraded, streams of
   * events, and connections of no HTTP server that are quiet. What is neither is a connection whose next request may be on its way.
   */
  count(left) {
    const { Server } = require('net');
    const overTls = new Map();
    for (const server of this.servers) {
      for (const { socket } of Array.from((connectionsOf(server) || { all: () => [] }).all())) {
        const under = socket && socket._handle && socket._handle._parentWrap;
        if (under) overTls.set(under, socket);
      }
    }
    for (const socket of process._getActiveHandles()) {
      const { server } = socket;
      if (!(server instanceof Server)) continue;
      const http1 = socket.parser ? socket : overTls.get(socket);
      if (http1) {
        countResponse(http1, left);
      } else if (!speaksHttp(server)) {
        if (this.isQuiet(socket)) left.lasting += 1;
      } else if (isTls(server) ? this.isUnspoken(socket, server) : !speaksHttp2(server)) {
        left.lasting += 1;
      }
    }
    this.http2.count(left);
  }

  /** An upgraded connection over TLS looks as one whose handshake is under way, but not for long. */
  isUnspoken(socket, server) {
    // A session cannot be found by its connection: where there are some, nobody knows which is which. Nor where there is no list of HTTP/1.
    if (!connectionsOf(server) || (speaksHttp2(server) && this.http2.sessions.size > 0)) return false;
    const now = milliseconds();
    if (!this.unspoken.has(socket)) this.unspoken.set(socket, now);
    return now - this.unspoken.get(socket) >= 2 * this.idleMs;
  }

  /** Nothing was read or written for a while: no exchange is under way. */
  isQuiet(socket) {
    const bytes = socket.bytesRead + socket.bytesWritten;
    const rest = this.rest.get(socket);
    const now = milliseconds();
    if (!rest || rest.bytes !== bytes) {
      this.rest.set(socket, { bytes, since: now });
      return false;
    }
    return now - rest.since >= this.idleMs;
  }
}

/** One connection of HTTP/1. */
function countResponse(socket, left) {
  const response = socket._httpMessage;
  if (!response) {
    const { parser } = socket;
    if (parser && parser.incoming) left.requests += 1;
  } else if (response.headersSent && isEventStream(response.getHeader('content-type') || headOf(response))) {
    left.lasting += 1;
  } else {
    left.requests += 1;
  }
}

/** What `writeHead` was given goes into the head only. */
function headOf(response) {
  const found = /\r\ncontent-type: *([^\r\n]*)/i.exec(String(response._header));
  return found ? found[1] : '';
}

function isEventStream(type) {
  return /^\s*text\/event-stream\b/i.test(String(type));
}

function isTls(server) {
  return server instanceof require('tls').Server;
}

/** Of a clock that nobody sets. */
function milliseconds() {
  return process.uptime() * 1000;
}

/** Node's own list of the HTTP/1 connections of a server. */
function connectionsOf(server) {
  const name = Object.getOwnPropertySymbols(server).find(({ description }) => description === 'http.server.connections');
  return server[name];
}

function speaksHttp(server) {
  return connectionsOf(server) !== undefined || speaksHttp2(server);
}

function speaksHttp2(server) {
  return typeof server.updateSettings === 'function';
}

/** Closing such a server removes its socket file, and by now that may be the file of our successor. In a cluster it is not the worker's. */
function ownsPath(server) {
  return typeof server._pipeName === 'string' && !require('cluster').isWorker;
}

/**
 * What a server that has stopped to listen holds instead of its handle. To the app it listens as before: `server.close(callback)` works, gives
 * no error, and until then the process stays. A worker of Node's own cluster holds much the same.
 */
class StandIn {
  hold = setInterval(() => {}, LONGEST_TIMER);
  all;

  constructor(handle, all) {
    this.all = all.add(this);
    if (typeof handle.hasRef === 'function' && !handle.hasRef()) this.unref();
    if (typeof handle.getsockname !== 'function') return;
    const address = {};
    const result = handle.getsockname(address);
    this.getsockname = (out) => (Object.assign(out, address), result);
  }

  close(done) {
    clearInterval(this.hold);
    this.all.delete(this);
    if (typeof done === 'function') process.nextTick(done);
  }

  ref() {
    this.hold.ref();
  }

  unref() {
    this.hold.unref();
  }

  hasRef() {
    return this.hold.hasRef();
  }
}

/** The HTTP/2 sessions of all servers. Node has no list of them, and over TLS none can be found later by its socket. */
class Http2Sessions {
  servers = new WeakSet();
  /** With the moment in which each was told to go away. */
  sessions = new Map();

  /** Called for each connection, so the first question has to be a cheap one. */
  learn(server) {
    if (!speaksHttp2(server) || this.servers.has(server)) return;
    this.servers.add(server);
    server.on('session', (session) => this.add(session));
    // Without TLS the first session is older than our listener.
    server.on('stream', (stream) => this.add(stream.session));
  }

  add(session) {
    if (!session || this.sessions.has(session)) return;
    this.sessions.set(session, undefined);
    session.once('close', () => this.sessions.delete(session));
  }

  /** Streams under way. A session whose streams all last does so, too; one without streams goes away by itself. */
  count(left) {
    for (const session of this.sessions.keys()) {
      const streams = streamsOf(session);
      const lasting = streams.filter((stream) => stream.headersSent && isEventStream((stream.sentHeaders || {})['content-type'])).length;
      left.requests += streams.length - lasting;
      if (lasting > 0 && lasting === streams.length) left.lasting += 1;
    }
  }

  /** First asks to open no more streams, yet takes those that are on their way; some time later says which was the last one. */
  goAway(graceMs) {
    const now = milliseconds();
    for (const [session, since] of this.sessions) {
      if (since === undefined) {
        this.sessions.set(session, now);
        session.goaway(0, 2 ** 31 - 1);
      } else if (now - since >= graceMs && !session.closed) {
        session.close();
      }
    }
  }
}

/** Node's own list of the streams of a session. */
function streamsOf(session) {
  const name = Object.getOwnPropertySymbols(session).find(({ description }) => description === 'state');
  const { streams } = session[name] || {};
  // A map of Node's own kind, which is no `Map`.
  return streams ? Array.from(streams.values()) : [];
}

hideFrom(process.execArgv);
const settings = takeSettings();
// Without settings this is not the process that ostler started, but a thread or a child of it: nothing to do here.
if (settings) quietly(start)(settings);
