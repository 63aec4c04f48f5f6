// Markup in templates (htm) for Preact. Elements without a variable part are created again each
// time. Otherwise htm would keep the first of each, and Preact stores its position in the tree in
// it. The whole first tree, with its log lines, would then stay in memory.
import htm from "./vendor/htm.js";
import { h } from "./vendor/preact.js";

export const html = htm.bind(function element(...words) {
  this[0] = 3; // htm's own word for "do not keep it"
  return h(...words);
});
