// Tells what an app can see of the preload.
'use strict';
const { fork } = require('node:child_process');
const { once } = require('node:events');
const { Worker } = require('node:worker_threads');

if (process.argv[2] === 'child') {
  process.send(process.execArgv);
  process.disconnect();
} else {
  tell();
}

async function tell() {
  const [inFork] = await once(fork(__filename, ['child']), 'message');
  const thread = new Worker('require("worker_threads").parentPort.postMessage(process.env.OSTLER_PRELOAD ?? null)', { eval: true });
  const [inThread] = await once(thread, 'message');
  process.send({
    execArgv: process.execArgv,
    argv: process.argv.length,
    isMain: require.main === module,
    variable: process.env.OSTLER_PRELOAD ?? null,
    fork: inFork,
    thread: inThread,
    listeners: process.listenerCount('message') + process.listenerCount('disconnect'),
  });
}
