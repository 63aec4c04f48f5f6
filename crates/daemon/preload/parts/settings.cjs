// ---- Start -----------------------------------------------------------------------------------------------------------------------------

/** Removes the option that loaded this file, so that neither the app nor the children it forks see it. */
function hideFrom(options) {
  const at = options.findIndex((word, index) => /^(-r|--require)$/.test(word) && isThisFile(options[index + 1]));
  if (at >= 0) options.splice(at, 2);
}

/** Removes the same option from the environment: another program started this process, and the options travelled there. */
function hideFromChildren(env) {
  if (!env.NODE_OPTIONS) return;
  const unquoted = (text) => text.replace(/\\(.)/g, '$1');
  const without = (option, path) => (isThisFile(unquoted(path)) ? '' : option);
  const rest = env.NODE_OPTIONS.replace(/--require "((?:[^"\\]|\\.)*)"/g, without).trim();
  if (rest) env.NODE_OPTIONS = rest;
  else delete env.NODE_OPTIONS;
}

function isThisFile(path) {
  try {
    return path === __filename || require.resolve(path) === __filename;
  } catch {
    return false;
  }
}

/** Reads the settings and removes them from the environment, which threads and children inherit. */
function takeSettings() {
  const text = process.env.OSTLER_PRELOAD;
  if (text === undefined) return undefined;
  delete process.env.OSTLER_PRELOAD;
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

/** Makes a function that throws nothing. */
function quietly(action) {
  return (...words) => {
    try {
      return action(...words);
    } catch (error) {
      // The app goes on as if we were not there.
      if (settings.debug) process._rawDebug(error);
    }
  };
}

function subscribe(name, listener) {
  const channel = require('diagnostics_channel').channel(name);
  channel.subscribe(quietly(listener));
  channels.push(channel);
}
