/** The HTTP/2 sessions of all servers. Node has no list of them, and over TLS none can be found later by its socket. */
class Http2Sessions {
  servers = new WeakSet();
  /** With the moment in which each was told to go away. */
  sessions = new Map();
  /** Age at which a session is told to go away (`max_connection_age`); 0: none. */
  ageMs = 0;

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
    if (this.ageMs > 0) this.retireAfter(session, spread(this.ageMs));
  }

  /** Closes a session at a certain age. Open streams are finished. */
  retireAfter(session, ms) {
    for (const delay of [ms, ms + 500]) {
      const timer = setTimeout(quietly(() => this.retire(session, 0)), delay);
      timer.unref();
      session.once('close', () => clearTimeout(timer));
    }
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

  goAway(graceMs) {
    for (const session of this.sessions.keys()) this.retire(session, graceMs);
  }

  /** First asks to open no more streams, yet takes those that are on their way; some time later says which was the last one. */
  retire(session, graceMs) {
    const now = milliseconds();
    const since = this.sessions.get(session);
    if (since === undefined) {
      this.sessions.set(session, now);
      session.goaway(0, 2 ** 31 - 1);
    } else if (now - since >= graceMs && !session.closed) {
      session.close();
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
