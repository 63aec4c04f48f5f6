// Answers immediately; /slow takes a second. The server answers a running request before it exits.
const http = require('http');
const fs = require('fs');
const begun = Date.now();
const bad = fs.existsSync('bad');
const server = http.createServer((request, response) => {
  const healthy = !bad && Date.now() - begun >= Number(process.env.SLOW_START || 0);
  if (request.url === '/health') return response.writeHead(healthy ? 200 : 503).end(healthy ? 'ok\n' : 'not yet\n');
  setTimeout(() => response.end(`${process.env.RELEASE || 'one'}\n`), request.url === '/slow' ? 1000 : 5);
});
server.listen(process.env.PORT, () => console.log(`listens on ${process.env.PORT}`));
for (const signal of ['SIGINT', 'SIGTERM'])
  process.on(signal, () => {
    console.log(`asked to end by ${signal}`);
    server.close(() => { console.log('has ended in order'); process.exit(0); });
  });
