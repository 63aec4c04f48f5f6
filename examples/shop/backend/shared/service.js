// What the six services have in common: a small HTTP server that says when it is ready, answers /health,
// can be crashed on purpose, and ends cleanly when it is asked to. No dependency but Node itself.
'use strict';

const http = require('http');

const INSTANCE = process.env.NODE_APP_INSTANCE || '0';
const LOG_LEVEL = process.env.LOG_LEVEL || 'info';

/** Writes one line to stdout. */
function log(...words) {
  console.log(...words);
}

/** Writes one line to stdout when LOG_LEVEL is `debug`. */
function debug(...words) {
  if (LOG_LEVEL === 'debug') console.log(...words);
}

/** Sends `body` as JSON. */
function reply(res, status, body) {
  const text = JSON.stringify(body);
  res.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  res.end(text);
}

/** Reads a JSON body of at most 64 KiB; rejects with a message for the client. */
async function readJson(req) {
  const chunks = [];
  let size = 0;
  for await (const chunk of req) {
    size += chunk.length;
    if (size > 65536) throw new BadRequest('the body is larger than 64 KiB');
    chunks.push(chunk);
  }
  if (size === 0) return {};
  try {
    const value = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Error();
    return value;
  } catch {
    throw new BadRequest('the body is not a JSON object');
  }
}

/** An error that is the client's fault. */
class BadRequest extends Error {}

/**
 * Starts a service.
 *
 * `routes` maps `"GET /path"` to `async (req, res, url) => body`; a path ending in `/*` matches everything below it. What a route
 * returns is sent as JSON, unless it answered by itself. `close` is called once on the way out.
 */
function serve({ name, port, routes, health = () => ({}), close = async () => {} }) {
  const find = (method, path) => {
    const exact = routes[`${method} ${path}`];
    if (exact) return exact;
    const key = Object.keys(routes).find((k) => k.endsWith('/*') && `${method} ${path}`.startsWith(k.slice(0, -1)));
    return key && routes[key];
  };

  const server = http.createServer(async (req, res) => {
    const url = new URL(req.url, 'http://localhost');
    debug(req.method, url.pathname);
    try {
      if (req.method === 'GET' && url.pathname === '/health') {
        return reply(res, 200, { status: 'ok', service: name, instance: INSTANCE, pid: process.pid, uptime: process.uptime(), ...health() });
      }
      if (req.method === 'POST' && url.pathname === '/crash') {
        reply(res, 202, { crashing: process.pid });
        // Thrown outside of any handler: the process ends with a stack trace and exit code 1, as a real bug would end it.
        setImmediate(() => {
          throw new Error(`${name} was asked to crash`);
        });
        return undefined;
      }
      const route = find(req.method, url.pathname);
      if (!route) return reply(res, 404, { error: `no such endpoint: ${req.method} ${url.pathname}` });
      const body = await route(req, res, url);
      if (body !== undefined && !res.headersSent) reply(res, 200, body);
    } catch (error) {
      if (!(error instanceof BadRequest)) console.error(error);
      if (res.headersSent) res.destroy();
      else reply(res, error instanceof BadRequest ? 400 : 500, { error: error.message });
    }
    return undefined;
  });

  server.on('error', (error) => {
    console.error(`${name} cannot listen on port ${port}: ${error.message}`);
    process.exit(1);
  });

  server.listen(port, () => {
    log(`${name} instance ${INSTANCE} listens on port ${port}, pid ${process.pid}, ${process.env.NODE_ENV || 'no NODE_ENV'}`);
    // Tells the process manager (wait_ready) that requests may come.
    if (process.send) process.send('ready');
  });

  let leaving = false;
  const leave = (signal) => {
    if (leaving) return;
    leaving = true;
    log(`${name} got ${signal}: finishing open requests`);
    server.close(async () => {
      await close();
      log(`${name} ended`);
      process.exit(0);
    });
    // A keep-alive connection without a request would hold the server open for ever.
    server.closeIdleConnections();
  };
  process.on('SIGINT', () => leave('SIGINT'));
  process.on('SIGTERM', () => leave('SIGTERM'));

  return server;
}

module.exports = { serve, reply, readJson, log, debug, BadRequest };
