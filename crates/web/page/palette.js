// Search over apps, instances, views, errors, log lines and commands (Ctrl-K).
import { useEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { safe } from "./format.js";
import { formatAddress } from "./address.js";
import { appKey, openDialog, state } from "./store.js";
import { api } from "./api.js";
import { availableCommands, runCommand } from "./act.js";
import { foldCase, rank } from "./ranking.js";

const PALETTE_VIEWS = ["overview", "logs", "errors", "traces", "events", "alerts", "settings"];
const PALETTE_TABS = ["logs", "events", "errors", "traces", "exits", "metrics", "profiles", "releases", "config"];
const PALETTE_COMMANDS = ["restart", "reload", "stop", "start", "scale"];
const SHOWN = 50;
const ERRORS_SHOWN = 10;
// Apps whose commands are listed though no command was typed, and their distance from the words.
const APPS_WITH_COMMANDS = 3;
const NEAR = 3;

// Order of kinds whose names are equally near.
const KIND_SCORES = { app: 0, view: 0.2, tab: 0.3, command: 0.5, instance: 0.6, error: 3, line: 1000 };
const item = (kind, score, key, text, sub, action) => ({ kind, score: score + KIND_SCORES[kind], key: `${kind} ${key}`, text, sub, ...action });
const link = (parts, terms) => ({ href: formatAddress(parts, terms) });
const ofNamespace = (app) => (app.namespace === "default" ? "" : safe(app.namespace));
const appNames = (app) => [foldCase(app.name), foldCase(app.namespace)];

// Returns the names that a word begins, in English or in the language of the page.
function namesBegunBy(word, names) {
  if (word.length < 2 && word.charCodeAt(0) < 128) return [];
  return names.filter((name) => name.startsWith(word) || foldCase(t(name)).startsWith(word));
}

// Splits words into a name of `names` and the others: [[name, others]]. Chinese words need no space.
function splitName(words, names) {
  const spaced = words.flatMap((word, at) => namesBegunBy(word, names).map((name) => [name, words.toSpliced(at, 1)]));
  const [first = "", ...rest] = words;
  const joined = names.filter((name) => first.length > foldCase(t(name)).length && first.charCodeAt(0) > 127 && first.startsWith(foldCase(t(name))));
  return [...spaced, ...joined.map((name) => [name, [first.slice(foldCase(t(name)).length), ...rest]])];
}

const commandItem = (score, app, verb) => item("command", score, `${verb} ${appKey(app)}`, `${t(verb)} ${safe(app.name)}`, ofNamespace(app), { run: () => runCommand(app, verb) });
const commandsOf = (app) => {
  const { first, more } = availableCommands(app);
  return PALETTE_COMMANDS.filter((verb) => first.includes(verb) || more.includes(verb));
};

// Returns everything that matches the words, nearest first.
export function paletteItems(query, apps, errors) {
  const words = foldCase(query).split(/\s+/).filter(Boolean);
  const near = rank(words, apps, appNames);
  const found = near.slice(0, SHOWN).map(({ entry: app, score }) => item("app", score + (words.length || !app.reasons ? 0 : -0.1), appKey(app), safe(app.name), ofNamespace(app), link(["app", app.namespace, app.name])));
  const views = rank(words, PALETTE_VIEWS, (view) => [foldCase(t(view)), view]);
  found.push(...views.map(({ entry: view, score }) => item("view", words.length ? score : -1, view, t(view), "", link([view === "overview" ? "" : view]))));
  if (words.length) {
    for (const [verb, others] of splitName(words, PALETTE_COMMANDS)) {
      for (const { entry: app, score } of rank(others, apps, appNames).slice(0, SHOWN)) if (commandsOf(app).includes(verb)) found.push(commandItem(score + (others.length ? 0 : 1), app, verb));
    }
    for (const { entry: app, score } of near.slice(0, APPS_WITH_COMMANDS)) if (score <= NEAR) found.push(...commandsOf(app).map((verb) => commandItem(score + NEAR, app, verb)));
    for (const [tab, others] of splitName(words, PALETTE_TABS)) {
      if (!others.length) continue;
      for (const { entry: app, score } of rank(others, apps, appNames).slice(0, SHOWN)) found.push(item("tab", score, `${tab} ${appKey(app)}`, `${safe(app.name)} – ${t(tab)}`, ofNamespace(app), link(["app", app.namespace, app.name, tab])));
    }
    words.forEach((word, at) => {
      if (!/^\d+$/.test(word)) return;
      const others = words.toSpliced(at, 1);
      const holders = apps.filter((app) => app.instances.some((one) => String(one.id) === word));
      for (const { entry: app, score } of rank(others, holders, appNames)) found.push(item("instance", score, word, `${safe(app.name)} · ${word}`, ofNamespace(app), link(["app", app.namespace, app.name, "charts"], { instance: app.instances.length > 1 ? word : "" })));
    });
    const said = errors.filter((one) => words.every((word) => foldCase(`${one.type} ${one.message} ${one.app}`).includes(word)));
    found.push(...said.slice(0, ERRORS_SHOWN).map((one) => item("error", 0, one.id, `${safe(one.type)}${one.message ? `: ${safe(one.message)}` : ""}`, safe(one.app), link(["errors", one.id]))));
    found.push(item("line", 0, "", t("searchLinesFor", { words: safe(query.trim()) }), "", link(["logs"], { in: "files", q: query.trim() })));
  }
  const unique = new Map();
  for (const one of found.sort((a, b) => a.score - b.score)) if (!unique.has(one.key)) unique.set(one.key, one);
  const all = [...unique.values()];
  // The search in the logs is always reachable.
  return all.length > SHOWN ? [...all.slice(0, SHOWN - 1), all[all.length - 1]] : all;
}

const KIND_WORDS = { app: "app", view: "view", tab: "view", command: "command", instance: "instance", error: "error", line: "logs" };

function Palette({ close }) {
  const [query, setQuery] = useState("");
  const [chosen, setChosen] = useState(null);
  const [errors, setErrors] = useState([]);
  const list = useRef(null);
  useEffect(() => {
    const stop = new AbortController();
    api("errors", { signal: stop.signal }).then((answer) => setErrors(answer.errors), () => {});
    return () => stop.abort();
  }, []);
  const items = useMemo(() => (state.table ? paletteItems(query, [...state.table.apps, ...state.table.modules], errors) : []), [query, state.table, errors]);
  const at = Math.max(0, items.findIndex((one) => one.key === chosen));
  useEffect(() => {
    const option = list.current && list.current.children[at];
    if (option) option.scrollIntoView({ block: "nearest" });
  }, [at, query]);
  const pick = (one) => {
    close();
    if (one.run) one.run();
    else location.hash = one.href;
  };
  const step = (event) => {
    // Enter and arrows also belong to an input method, for example of Chinese.
    if (event.isComposing || event.keyCode === 229 || !items.length) return;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: Math.min(items.length - 1, at + 10), PageUp: Math.max(0, at - 10) }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      setChosen(items[(to + items.length) % items.length].key);
    } else if (event.key === "Enter") {
      event.preventDefault();
      pick(items[at]);
    }
  };
  const type = (event) => {
    setQuery(event.target.value);
    setChosen(null);
  };
  return html`<div class="palette-head"><input type="text" role="combobox" aria-expanded="true" aria-controls="palette-list" aria-autocomplete="list" aria-activedescendant=${items.length ? `palette-${at}` : undefined} aria-label=${t("searchAll")} placeholder=${t("searchAll")} autocomplete="off" spellcheck=${false} data-focus value=${query} onInput=${type} onKeyDown=${step} /><button type="button" class="plain" aria-label=${t("close")} onClick=${close}>×</button></div>
    <ul id="palette-list" role="listbox" aria-label=${t("search")} ref=${list}>${items.map((one, index) => html`<li key=${one.key} id=${`palette-${index}`} role="option" aria-selected=${index === at} onClick=${() => pick(one)}><span class="grow">${one.text}${one.sub && html` <span class="sub">${one.sub}</span>`}</span><span class="sub">${t(KIND_WORDS[one.kind])}</span></li>`)}</ul>
    <p class="hidden" role="status">${t("nResults", { n: items.length })}</p>`;
}

export function togglePalette() {
  if (state.dialog && state.dialog.kind === "palette") openDialog(null);
  else if (state.session && !state.dialog) openDialog({ kind: "palette", title: t("search"), view: (close) => html`<${Palette} close=${close} />` });
}
