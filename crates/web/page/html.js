// Markup in templates (htm), for Preact. Elements without a variable part are made anew each time: htm would keep the first of each, Preact writes into it where it
// is in the tree, and so the whole tree that was drawn first, with its log lines, would stay in memory.
import htm from "./vendor/htm.js";
import { h } from "./vendor/preact.js";

export const html = htm.bind(function element(...words) {
  this[0] = 3; // htm's own word for "do not keep it"
  return h(...words);
});
