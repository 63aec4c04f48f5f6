'use strict';
// Executes the program of this machine under the called name.
const { constants } = require('os');

module.exports = function launch(name) {
  let program;
  try {
    program = require.resolve(`@ostler/linux-${process.arch}/ostler`);
  } catch {
    console.error(`error: there is no ostler for ${process.platform} ${process.arch}, or npm was told to leave optional dependencies out: install ostler again without --omit=optional`);
    process.exit(1);
  }
  const words = process.argv.slice(2);
  if (typeof process.execve === 'function') {
    // This does not return if it succeeds.
    try {
      return process.execve(program, [name, ...words], process.env);
    } catch {}
  }
  const { status, signal, error } = require('child_process').spawnSync(program, words, { argv0: name, stdio: 'inherit' });
  if (error) {
    console.error(`error: cannot run ${program}: ${error.message}`);
    process.exit(1);
  }
  process.exit(signal ? 128 + constants.signals[signal] : status);
};
