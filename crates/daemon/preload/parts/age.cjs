// ---- Age of connections ----------------------------------------------------------------------------------------------------------------

/**
 * Closes HTTP/1 connections that are older than this after their next response. Their clients connect again, perhaps to another worker.
 * The age counts from the first request.
 */
function limitAge(ms) {
  const ends = new WeakMap();
  subscribe('http.server.request.start', ({ request, response }) => {
    const { socket } = request;
    const now = milliseconds();
    if (!ends.has(socket)) ends.set(socket, now + spread(ms));
    else if (now >= ends.get(socket) && !response.headersSent) endWith(response);
  });
}

/** Adds up to a tenth, so that clients that connected together do not all come back at once. */
function spread(ms) {
  return ms * (1 + Math.random() / 10);
}
