/** Of a clock that nobody sets. */
function milliseconds() {
  return process.uptime() * 1000;
}

/** Node's own list of the HTTP/1 connections of a server. */
function connectionsOf(server) {
  const name = Object.getOwnPropertySymbols(server).find(({ description }) => description === 'http.server.connections');
  return server[name];
}

/** Ends a connection with this response, whose head is not sent yet. */
function endWith(response) {
  response.shouldKeepAlive = false;
  // That alone would give way to a `Connection: keep-alive` of the app's own.
  editHead(response, (head) => {
    response._last = true;
    return withLine(withoutLines(head, 'connection|keep-alive'), 'Connection: close');
  });
}

function speaksHttp(server) {
  return connectionsOf(server) !== undefined || speaksHttp2(server);
}

function speaksHttp2(server) {
  return typeof server.updateSettings === 'function';
}

/** Closing such a server removes its socket file, and by now that may be the file of our successor. In a cluster it is not the worker's. */
function ownsPath(server) {
  return typeof server._pipeName === 'string' && !require('cluster').isWorker;
}
