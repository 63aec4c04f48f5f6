// ---- Output ----------------------------------------------------------------------------------------------------------------------------

/**
 * Lets the app's writes to a pipe wait until the pipe has room. Node's own writes to it are asynchronous: what waits for room at `process.exit`
 * is lost. Only these writes: a pipe that blocks would hold up everybody who writes to it (a logger's thread, children), for each few
 * kilobytes that are read. Nothing is opened before the app uses the stream.
 */
function writeBlocking(name) {
  const original = Object.getOwnPropertyDescriptor(process, name);
  if (!original || !original.configurable || !original.get) return;
  const get = () => {
    Object.defineProperty(process, name, original);
    const stream = process[name];
    if (stream && stream._type === 'pipe' && typeof stream.fd === 'number') quietly(writeAtOnce)(stream);
    return stream;
  };
  Object.defineProperty(process, name, { ...original, get });
}

function writeAtOnce(stream) {
  const { writeSync } = require('fs');
  const clock = new Int32Array(new SharedArrayBuffer(4));
  const writeAll = (bytes) => {
    let wait_ms = 1;
    for (let at = 0; at < bytes.length; ) {
      try {
        at += writeSync(stream.fd, bytes, at, bytes.length - at);
        wait_ms = 1;
      } catch (error) {
        if (error.code !== 'EAGAIN') throw error;
        // The reader has as much to do as the pipe holds.
        Atomics.wait(clock, 0, 0, wait_ms);
        wait_ms = Math.min(wait_ms * 2, 16);
      }
    }
  };
  const bytesOf = (chunk, encoding) => (typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk);
  const write = (chunks, done) => {
    let failure = null;
    try {
      chunks.forEach(({ chunk, encoding }) => writeAll(bytesOf(chunk, encoding)));
    } catch (error) {
      failure = error;
    }
    done(failure);
  };
  const own = (name, value) => Object.defineProperty(stream, name, { value, writable: true, configurable: true, enumerable: false });
  own('_write', (chunk, encoding, done) => write([{ chunk, encoding }], done));
  own('_writev', write);
}
