// Node's own cluster, managed as its documentation shows. A worker that dies is replaced. On SIGHUP,
// each worker is replaced: fork a new one, wait until it listens, `disconnect` the old one, and kill
// it if it does not exit in time.
//
//   node primary.js N SCRIPT
//
// Prints `reloaded` when a reload is complete. The old worker stays until its replacement listens.
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
