// A server that collects its own figures while it is told to, as the dashboard has it do: `node collected.js PORT COLLECTOR`.
//
//   /on, /off    begins and ends
//   /spent       "<microseconds of CPU> <requests>" so far; these three are not counted
const http = require('http');

const [port, collector] = process.argv.slice(2);
const collect = require(collector);
const LONG_MS = 120000;
let requests = 0;

http.createServer((request, response) => {
  switch (request.url) {
    case '/on':
      collect(LONG_MS, () => {});
      return response.end();
    case '/off':
      collect(0);
      return response.end();
    case '/spent': {
      const { user, system } = process.cpuUsage();
      return response.end(`${user + system} ${requests}`);
    }
    default:
      requests += 1;
      return response.end('ok');
  }
}).listen(Number(port), '127.0.0.1');
