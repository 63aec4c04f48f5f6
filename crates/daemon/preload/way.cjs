// What the preload loads when somebody wants to read a page of this very worker, and not before. See docs/node-preload.md.
//
// Workers share their port, so a connection to it reaches any of them. This opens a private unix socket of this process, and what connects to it is given to the
// app's own server as if it had come over its port. Each way is for one connection: nothing of the app is patched, and nothing stays, also when it is killed.
'use strict';
const fs = require('fs');
const net = require('net');
const { join } = require('path');
const { tmpdir } = require('os');

/** Time in which somebody has to come. */
const WAIT_MS = 5000;
/** Most ways at the same time. */
const WAYS = 8;

let open = 0;

/** The server of this process that listens on a port with a handle of its own: one that is shared without round robin, or is no worker's. */
function serverOn(port) {
  for (const handle of process._getActiveHandles()) {
    if (!(handle instanceof net.Server)) continue;
    const address = handle.address();
    if (address && typeof address === 'object' && address.port === port) return handle;
  }
  return undefined;
}

/** Gives a connection to the server on this port. `keys`: names under which workers get connections from their primary, which is ostler. */
function give(socket, port, keys) {
  const server = serverOn(port);
  if (server) {
    server.emit('connection', socket);
    socket.resume();
    return;
  }
  const key = keys(port);
  if (key === undefined) {
    socket.destroy();
    return;
  }
  // As the primary hands over a connection that it has accepted: by its handle.
  const handle = socket._handle;
  handle.onread = () => {};
  socket._handle = null;
  process.emit('internalMessage', { cmd: 'NODE_CLUSTER', act: 'newconn', key }, handle);
}

/** Opens a way to the server on a port, for one connection: `done(error, path)`. */
module.exports = function reach(port, keys, done) {
  if (!serverOn(port) && keys(port) === undefined) return done(new Error(`has no server on port ${port}`));
  if (open >= WAYS) return done(new Error('has too many metrics connections already'));
  // Its folder is its user's alone.
  const folder = fs.mkdtempSync(join(tmpdir(), 'ostler-way-'));
  const path = join(folder, 'socket');
  open += 1;
  let timer;
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    close();
    socket.on('error', () => {});
    try {
      give(socket, port, keys);
    } catch {
      socket.destroy();
    }
  });
  const close = () => {
    if (timer === null) return;
    clearTimeout(timer);
    timer = null;
    open -= 1;
    server.close();
    try {
      fs.rmSync(folder, { recursive: true, force: true });
    } catch {
      // It is in a folder for such things.
    }
  };
  timer = setTimeout(close, WAIT_MS).unref();
  server.maxConnections = 1;
  server.on('error', (error) => {
    close();
    done(error);
  });
  // `exclusive`: of this worker, not of all.
  server.listen({ path, exclusive: true }, () => done(null, path));
  server.unref();
};
