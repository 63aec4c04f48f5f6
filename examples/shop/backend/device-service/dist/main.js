// Leases ports to devices. The leases are in memory: two copies of this service would lease the same port twice, so it is one.
'use strict';

const { serve, readJson, reply, log, BadRequest } = require('../../shared/service');

const FIRST = 5555;
const LAST = 5655;
const leases = new Map();

function freePort() {
  const taken = new Set(leases.values());
  for (let port = FIRST; port <= LAST; port += 1) if (!taken.has(port)) return port;
  return undefined;
}

serve({
  name: 'device-service',
  port: Number(process.env.PORT || 30002),
  health: () => ({ leases: leases.size }),
  routes: {
    'GET /devices': () => Object.fromEntries(leases),
    'POST /devices': async (req, res) => {
      const { id } = await readJson(req);
      if (typeof id !== 'string' || id === '') throw new BadRequest('id is missing');
      const port = leases.get(id) ?? freePort();
      if (port === undefined) return reply(res, 503, { error: 'no free port' });
      leases.set(id, port);
      log(`device ${id} has port ${port}`);
      return { id, port };
    },
    'DELETE /devices/*': (req, res, url) => {
      const id = decodeURIComponent(url.pathname.slice('/devices/'.length));
      return leases.delete(id) ? { released: id } : reply(res, 404, { error: `no such device: ${id}` });
    },
  },
});
