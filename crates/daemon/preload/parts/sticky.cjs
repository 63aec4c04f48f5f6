// ---- Sticky sessions -------------------------------------------------------------------------------------------------------------------

/** Time of the last request, if clients stay with their worker. */
let lastRequest = -Infinity;

/** Both parts go into a header as they are. */
function isCookie(cookie) {
  const isPart = (part) => ['string', 'number'].includes(typeof part) && /^[\w.-]+$/.test(part);
  return Boolean(cookie) && isPart(cookie.name) && isPart(cookie.worker);
}

/** Tells each client that does not know it yet which worker it talks to. */
function stickBy({ name, worker }) {
  const pair = `${name}=${worker}`;
  subscribe('http.server.request.start', ({ request, response }) => {
    lastRequest = milliseconds();
    if (!carries(request.headers.cookie, pair)) {
      editHead(response, (head) => withLine(head, `Set-Cookie: ${pair}; Path=/; HttpOnly; SameSite=Lax`));
    }
  });
}

function carries(cookies, pair) {
  return cookies !== undefined && cookies.split(';').some((cookie) => cookie.trim() === pair);
}

/**
 * Edits the head of a response in the moment it is complete and not yet sent: whatever way the app took to its headers, they are all there.
 * `writeHead` is what Node calls too when the app does not.
 */
function editHead(response, edit) {
  const { writeHead } = response;
  response.writeHead = function (...words) {
    const result = Reflect.apply(writeHead, this, words);
    if (typeof this._header === 'string' && this.statusCode >= 200) this._header = edit(this._header);
    return result;
  };
}

/** A head ends with an empty line. */
function withLine(head, line) {
  return `${head.slice(0, -2)}${line}\r\n\r\n`;
}

function withoutLines(head, names) {
  return head.replace(new RegExp(`\\r\\n(?:${names}):[^\\r\\n]*`, 'gi'), '');
}
