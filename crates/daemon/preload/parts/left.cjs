/** What is still open during a drain. */
class Left {
  drain;
  /** Since when nothing was read from a connection, nor written to it. */
  rest = new WeakMap();
  /** Since when a connection over TLS speaks neither HTTP/1 nor HTTP/2. */
  unspoken = new WeakMap();

  constructor(drain) {
    this.drain = drain;
  }

  /**
   * Tells requests, which end by themselves, from what lasts until the app ends it: WebSockets and whatever else was upgraded, streams of
   * events, and connections of no HTTP server that are quiet. What is neither is a connection whose next request may be on its way.
   */
  count(left) {
    const { Server } = require('net');
    const overTls = new Map();
    for (const server of this.drain.servers) {
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
    this.drain.http2.count(left);
  }

  /** An upgraded connection over TLS looks as one whose handshake is under way, but not for long. */
  isUnspoken(socket, server) {
    // A session cannot be found by its connection: where there are some, nobody knows which is which. Nor where there is no list of HTTP/1.
    if (!connectionsOf(server) || (speaksHttp2(server) && this.drain.http2.sessions.size > 0)) return false;
    const now = milliseconds();
    if (!this.unspoken.has(socket)) this.unspoken.set(socket, now);
    return now - this.unspoken.get(socket) >= 2 * this.drain.idleMs;
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
    return now - rest.since >= this.drain.idleMs;
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
