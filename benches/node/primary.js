// Node's own cluster, managed in the way its documentation shows: a worker that dies is replaced; on SIGHUP each is replaced by a new
// one: fork, wait until it listens, `disconnect` the old one, kill it when it has not ended after a while.
//
//   node primary.js N SCRIPT
//
// Says `reloaded` when a reload is over. While a replacement does not listen, the old worker stays.
const cluster = require('cluster');

const [count, script] = process.argv.slice(2);
const KILL_AFTER_MS = 1600; // as long as PM2 waits
let reloading = Promise.resolve();

cluster.setupPrimary({ exec: script });
cluster.on('exit', (worker) => {
  if (!worker.exitedAfterDisconnect) cluster.fork();
});
for (let i = 0; i < Number(count); i++) cluster.fork();

const replace = async (old) => {
  await new Promise((listening) => cluster.fork().once('listening', listening));
  const gone = new Promise((exit) => old.once('exit', exit));
  old.disconnect();
  const timer = setTimeout(() => old.process.kill('SIGKILL'), KILL_AFTER_MS);
  await gone;
  clearTimeout(timer);
};

const reload = async () => {
  for (const worker of Object.values(cluster.workers)) await replace(worker);
  console.log('reloaded');
};

process.on('SIGHUP', () => { reloading = reloading.then(reload); });
