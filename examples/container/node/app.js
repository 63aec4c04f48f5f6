const http = require('http');

const server = http.createServer((request, response) => {
  if (request.url === '/health') return response.end('fine\n');
  response.end(`${process.pid}: ${request.url}\n`);
});
server.listen(process.env.PORT, () => console.log('listening on', process.env.PORT));
process.on('SIGINT', () => server.close(() => process.exit(0)));
