// ---- Figures ---------------------------------------------------------------------------------------------------------------------------

/** Modules of ours beside this file, which are read when they are first needed. */
const beside = new Map();

function loadBeside(name) {
  if (!beside.has(name)) {
    const { basename, join } = require('path');
    const file = join(__dirname, basename(__filename).replace('preload', name));
    beside.set(name, require(file));
    delete require.cache[file];
  }
  return beside.get(name);
}

/** Measures what the app does, for a time. The code for it is another file, which is read when it is first needed. */
function collect({ for_ms: forMs }, send) {
  loadBeside('collector')(forMs, (figures) => process.connected && send.call(process, { cmd: COMMAND, act: 'figures', figures }, () => {}));
}

// ---- A way to this very worker ---------------------------------------------------------------------------------------------------------

/** Names under which this worker gets connections by round robin, by port. Few: each is a server of the app. */
const keys = new Map();
const MOST_KEYS = 64;

/** Learns them from the answers of the primary. */
function learnKey({ ack, key, sockname }) {
  const port = ack !== undefined && typeof key === 'string' && sockname && sockname.port;
  if (port > 0 && (keys.has(port) || keys.size < MOST_KEYS)) keys.set(port, key);
}

/** Opens a way to the app's server on a port, in this process. The code for it is another file, as above. */
function reach({ port, call }, send) {
  const say = (said) => process.connected && send.call(process, Object.assign({ cmd: COMMAND, act: 'reached', call }, said), () => {});
  const done = (error, path) => say(error ? { error: String(error.message || error) } : { path });
  try {
    loadBeside('way')(port, (of) => keys.get(of), done);
  } catch (error) {
    done(error);
  }
}
