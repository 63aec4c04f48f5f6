// Ends in one of the ways in which a Node app does.
'use strict';
class DbError extends Error {}
const fail = () => {
  throw new DbError('no row 7');
};
const ways = {
  error: fail,
  rejection: () => Promise.reject(new RangeError('no row 7')),
  text: () => {
    throw 'no row 7';
  },
  // What looks at it fails.
  hostile: () => {
    throw Object.defineProperty(new Error('x'), 'name', {
      get() {
        process.exit(9);
      },
    });
  },
  caught: () => {
    process.on('uncaughtException', (error) => {
      console.error('caught', error.message);
      process.exitCode = 3;
    });
    fail();
  },
  handled: () => {
    process.on('unhandledRejection', () => console.error('handled'));
    Promise.reject(new Error('x'));
  },
  disconnected: () => {
    process.disconnect();
    fail();
  },
  // It reports by itself.
  pm2: () => {
    global[Symbol.for('@pm2/io')] = {};
    process.on('uncaughtException', () => process.exit(4));
    fail();
  },
};
setTimeout(ways[process.argv[2]], 10);
