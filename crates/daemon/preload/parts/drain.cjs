// ---- Drain -----------------------------------------------------------------------------------------------------------------------------

/** From the command to drain on no client gets a reason to stay, and none is cut off. */
class Drain {
  send;
  begun = false;
  begunAt = 0;
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
  left = new Left(this);
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
      this.begunAt = milliseconds();
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
    endWith(response);
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
    if (this.open() === 0 && this.isQuiet()) this.drained(0);
  }

  /**
   * A session of socket.io begins with several requests, each perhaps on its own connection, and no other process knows it. So clients that
   * stay with their worker get some time for the next request, but not without end.
   */
  isQuiet() {
    const now = milliseconds();
    return now - lastRequest >= this.idleMs || now - this.begunAt >= 2 * this.idleMs;
  }

  /** What is open is counted from time to time only: with thousands of connections that takes a while. */
  reportOpen() {
    this.report();
    if (this.told) return;
    const left = { requests: 0, lasting: 0 };
    quietly(() => this.left.count(left))();
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
    if (!this.isQuiet()) return false;
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
}
