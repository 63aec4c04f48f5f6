// ---- Exceptions ------------------------------------------------------------------------------------------------------------------------

/** Longest message and stack that are sent. */
const LONGEST_MESSAGE = 2000;
const LONGEST_STACK = 8000;

/** Reports exceptions and rejections that nobody has caught. Node goes on with them as ever: what it prints and how it ends is its own matter. */
function reportExceptions(send) {
  process.on(
    'uncaughtExceptionMonitor',
    quietly((error) => {
      if (process.connected && !reportsItself()) send.call(process, { type: 'process:exception', data: described(error) }, () => {});
    }),
  );
}

/** True where `@pm2/io` does the same. */
function reportsItself() {
  const isHere = Object.getOwnPropertySymbols(global).some((symbol) => String(symbol) === 'Symbol(@pm2/io)');
  return isHere && process.listenerCount('uncaughtException') > 0;
}

function described(error) {
  if (!(error instanceof Error)) {
    const isText = ['string', 'number', 'boolean'].includes(typeof error);
    return { name: 'Error', message: (isText ? String(error) : Object.prototype.toString.call(error)).slice(0, LONGEST_MESSAGE) };
  }
  const stack = String(error.stack).slice(0, LONGEST_STACK);
  const name = String(error.name);
  const own = error.constructor && String(error.constructor.name);
  // As Node prints it: a class of the app's own is named, also where it has not set its name.
  return { name: name === 'Error' && own ? own : name, message: String(error.message).slice(0, LONGEST_MESSAGE), stack };
}
