// The public entrance: stateless, so it runs as several instances that share one port. Sends /api/<service>/… to the service behind.
'use strict';

const http = require('http');
const { serve, reply, log } = require('../../shared/service');

const port = Number(process.env.PORT || 30000);
const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

/** Where each service listens: the next five ports after the gateway's, or what the environment says. */
const services = Object.fromEntries(
  ['users', 'devices', 'apps', 'billing', 'notifications'].map((name, i) => {
    const url = process.env[`${name.toUpperCase()}_URL`] || `http://127.0.0.1:${Number(process.env.BASE_PORT || port) + 1 + i}`;
    return [name, new URL(url)];
  }),
);

let forwarded = 0;

/** Hands one request to the service named in the path, and its answer back. */
function forward(req, res, url) {
  const [, , name, ...rest] = url.pathname.split('/');
  const target = services[name];
  if (!target) return reply(res, 404, { error: `no such service: ${name}`, services: Object.keys(services) });
  forwarded += 1;
  const headers = { ...req.headers, host: target.host, 'x-forwarded-for': req.socket.remoteAddress };
  const options = { host: target.hostname, port: target.port, method: req.method, path: `/${rest.join('/')}${url.search}`, headers, agent };
  const upstream = http.request(options, (answer) => {
    res.writeHead(answer.statusCode, answer.headers);
    answer.pipe(res);
    answer.on('error', () => res.destroy());
  });
  upstream.on('error', (error) => {
    log(`${name} does not answer: ${error.code || error.message}`);
    if (res.headersSent) res.destroy();
    else reply(res, 502, { error: `${name} does not answer`, code: error.code });
  });
  res.on('close', () => upstream.destroy());
  req.pipe(upstream);
  return undefined;
}

const routes = { 'GET /': () => ({ services: Object.keys(services), hint: 'GET /api/<service>/health' }) };
for (const method of ['GET', 'POST', 'PUT', 'DELETE']) routes[`${method} /api/*`] = forward;

serve({ name: 'api-gateway', port, routes, health: () => ({ forwarded }), close: async () => agent.destroy() });
