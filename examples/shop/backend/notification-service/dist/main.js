// Pushes messages to browsers over connections that stay open (server-sent events): they live in this process, so it is one.
'use strict';

const { serve, readJson, log, BadRequest } = require('../../shared/service');

const listeners = new Set();
let sent = 0;

function listen(req, res) {
  res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  res.write(': welcome\n\n');
  listeners.add(res);
  log(`listener ${listeners.size} joined`);
  res.on('close', () => listeners.delete(res));
  return undefined;
}

const server = serve({
  name: 'notification-service',
  port: Number(process.env.PORT || 30005),
  health: () => ({ listeners: listeners.size, sent }),
  routes: {
    'GET /events': listen,
    'POST /notify': async (req) => {
      const { text } = await readJson(req);
      if (typeof text !== 'string' || text === '') throw new BadRequest('text is missing');
      sent += 1;
      for (const res of listeners) res.write(`data: ${JSON.stringify({ text })}\n\n`);
      return { delivered: listeners.size };
    },
  },
});

// Open streams never end by themselves: say goodbye, so that the server can close.
const goodbye = () => listeners.forEach((res) => res.end('event: goodbye\ndata: {}\n\n'));
process.on('SIGINT', goodbye);
process.on('SIGTERM', goodbye);
server.on('close', goodbye);
