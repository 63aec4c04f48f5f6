// The app of the tests: `app.cjs <http|https|h2c|h2|tcp> [port or path]`. It knows nothing of draining. It answers by path and tells where it listens.
'use strict';
const fs = require('node:fs');
const pem = fs.readFileSync(`${__dirname}/localhost.pem`);
const tls = { key: pem, cert: pem };

const answers = {
  '/': (request, response) => response.end('ok'),
  '/pid': (request, response) => response.end(String(process.pid)),
  '/slow': (request, response, query) => setTimeout(() => response.end('slow'), query.get('ms')),
  '/stream': (request, response, query) => {
    response.write('begin ');
    setTimeout(() => response.end('end'), query.get('ms'));
  },
  // Two ways to a stream of events, which the server never ends.
  '/events': (request, response) => response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8' }).write('data: one\n\n'),
  '/events/set': (request, response) => {
    response.setHeader('content-type', 'text/event-stream');
    response.write('data: one\n\n');
  },
  // All the ways to one's own headers.
  '/set': (request, response) => {
    response.setHeader('Set-Cookie', ['a=1', 'b=2']);
    response.setHeader('Connection', 'keep-alive');
    response.end('ok');
  },
  '/object': (request, response) => response.writeHead(200, { 'set-cookie': ['a=1', 'b=2'], connection: 'Keep-Alive' }).end('ok'),
  '/reason': (request, response) => response.writeHead(200, 'Fine', { 'Set-Cookie': ['a=1', 'b=2'] }).end('ok'),
  '/array': (request, response) => {
    response.writeHead(200, ['Set-Cookie', 'a=1', 'X-Same', '1', 'X-Same', '2', 'Set-Cookie', 'b=2', 'Connection', 'keep-alive']).end('ok');
  },
  '/both': (request, response) => {
    response.setHeader('Set-Cookie', 'lost=1');
    response.writeHead(200, { 'Set-Cookie': ['a=1', 'b=2'] }).end('ok');
  },
  '/append': (request, response) => {
    response.appendHeader('Set-Cookie', 'a=1');
    response.appendHeader('Set-Cookie', 'b=2');
    response.flushHeaders();
    response.end('ok');
  },
};

function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  answers[pathname](request, response, searchParams);
}

function echo(request, socket) {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
  socket.pipe(socket);
}

const kinds = {
  http: () => require('node:http').createServer(answer),
  https: () => require('node:https').createServer(tls, answer),
  h2c: () => require('node:http2').createServer(answer),
  h2: () => require('node:http2').createSecureServer({ ...tls, allowHTTP1: true }, answer),
  tcp: () => require('node:net').createServer((socket) => socket.pipe(socket)),
};

function listen(server, where) {
  server.on('upgrade', echo);
  server.listen(where, () => process.send({ listening: server.address().port ?? server.address() }));
}

module.exports = { answer, echo, listen };

if (require.main === module) {
  const [kind, where = '0'] = process.argv.slice(2);
  const server = kinds[kind]();
  listen(server, where.startsWith('/') ? where : { port: Number(where), host: '127.0.0.1' });
  process.on('message', (word) => {
    if (word === 'address') process.send({ listening: server.listening, address: server.address() });
    if (word === 'close') server.close((error) => process.exit(error ? 9 : 0));
    if (word === 'quiet close') server.close();
  });
}
