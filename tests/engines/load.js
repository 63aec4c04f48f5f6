// Sends requests, each on a new connection, until it is stopped. Then prints one line: the number
// of requests and of failures.
const http = require('http');
const [host, port] = process.argv.slice(2);
let done = 0, failed = 0, over = false;
const one = () => {
  const request = http.get({ host, port, path: '/', agent: false, timeout: 10000 }, (response) => {
    response.resume();
    response.on('end', () => { done += 1; if (response.statusCode !== 200) { failed += 1; console.log(response.statusCode); } again(); });
  });
  request.on('timeout', () => request.destroy(new Error('timed out')));
  request.on('error', (error) => { done += 1; failed += 1; console.log(String(error.code || error.message)); again(); });
};
const again = () => (over ? (console.log(`${done} requests, ${failed} failed`), process.exit(0)) : setTimeout(one, 10));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => { over = true; });
one();
