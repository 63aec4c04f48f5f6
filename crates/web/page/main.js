// Frame of the page: navigation and the current view.
import { render, useEffect, useState } from "./vendor/preact.js";
import { html } from "./html.js";
import { code, language, setLanguage, setTheme, t, themeNow } from "./i18n.js";
import { safe } from "./format.js";
import { openDialog, startSession, state, useStore } from "./store.js";
import { Dialog, Empty, Skeleton, Toasts } from "./parts.js";
import { Overview } from "./views/overview.js";
import { AppView } from "./views/app.js";
import { Logs } from "./views/logs.js";
import { Errors } from "./views/errors.js";
import { Traces } from "./views/traces.js";
import { Events } from "./views/events.js";
import { Alerts } from "./views/alerts.js";
import { Settings } from "./views/settings.js";
import { Login } from "./views/login.js";

function route() {
  // A login link is not a page; `startSession` removes it from the address.
  if (location.hash.startsWith("#link=")) return [""];
  const parts = location.hash.replace(/^#\/?/, "").split("/");
  try {
    return parts.map(decodeURIComponent);
  } catch {
    return [""];
  }
}

const PLACES = [["", "overview"], ["logs", "logs"], ["errors", "errors"], ["traces", "traces"], ["events", "events"], ["alerts", "alerts"], ["settings", "settings"]];
const GO = { o: "#/", l: "#/logs", x: "#/errors", t: "#/traces", e: "#/events", a: "#/alerts", s: "#/settings" };

function showHelp() {
  const keys = [["/", t("keyFilter")], ["j k", t("keyMove")], ["Enter", t("keyOpen")], ["g o l x t e a s", t("keyGo")], ["Esc", t("keyBack")], ["?", t("keyHelp")]];
  openDialog({ title: t("shortcuts"), text: "", body: html`<dl class="pairs keys">${keys.map(([key, text]) => html`<div key=${key}><dt>${code(key)}</dt><dd>${text}</dd></div>`)}</dl>` });
}

let isGoing = false;

function onKeyDown(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || state.dialog) return;
  const inField = event.target.matches("input, select, textarea");
  if (event.key === "Escape") {
    if (inField) event.target.blur();
    else if (location.hash.startsWith("#/app/")) location.hash = "#/";
    else if (location.hash.startsWith("#/errors/")) location.hash = "#/errors";
    else if (location.hash.startsWith("#/traces/")) location.hash = "#/traces";
    return;
  }
  if (inField) return;
  if (isGoing && GO[event.key]) location.hash = GO[event.key];
  else if (event.key === "/") {
    const filter = document.getElementById("filter");
    if (filter) {
      event.preventDefault();
      filter.focus();
    }
  } else if (event.key === "?") showHelp();
  isGoing = event.key === "g";
}

function Page() {
  useStore();
  const [parts, setParts] = useState(route());
  useEffect(() => {
    const moved = () => {
      // The open question belongs to the previous page.
      if (state.dialog) openDialog(null);
      setParts(route());
      scrollTo(0, 0);
    };
    addEventListener("hashchange", moved);
    addEventListener("keydown", onKeyDown);
    const tick = setInterval(() => setParts(route()), 30000);
    return () => {
      removeEventListener("hashchange", moved);
      removeEventListener("keydown", onKeyDown);
      clearInterval(tick);
    };
  }, []);
  if (state.session === false) return html`<${Login} /><${Toasts} />`;
  const place = parts[0];
  const view = () => {
    if (state.session === null) return html`<${Skeleton} rows=${6} />`;
    if (place === "app") return html`<${AppView} key=${`${parts[1]}/${parts[2]}`} namespace=${parts[1]} name=${parts[2]} tab=${parts[3] || "charts"} range=${parts[4]} />`;
    if (place === "logs") return html`<${Logs} />`;
    if (place === "errors") return html`<${Errors} id=${parts[1]} />`;
    if (place === "traces") return html`<${Traces} id=${parts[1]} />`;
    if (place === "events") return html`<${Events} />`;
    if (place === "alerts") return html`<${Alerts} />`;
    if (place === "settings") return html`<${Settings} />`;
    if (place === "") return html`<${Overview} />`;
    return html`<section class="card"><${Empty} title=${t("noSuchPage")}><a class="button" href="#/">${t("overview")}</a></${Empty}></section>`;
  };
  const isLive = state.connection === "live";
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>${t("skip")}</a>
    <header><div class="bar-inner">
      <a class="brand" href="#/"><img src="icon.svg" alt="" width="24" height="24" /><span>ostler</span></a>
      <nav aria-label=${t("menu")}>${PLACES.map(([key, word]) => html`<a key=${key} href=${`#/${key}`} aria-current=${place === key || (key === "" && place === "app") ? "page" : undefined}>${t(word)}</a>`)}</nav>
      <span class="connection ${isLive ? "good" : "warn"}" role="status"><span class="dot" aria-hidden="true"></span><span class="wide-only">${isLive ? (state.session ? safe(state.session.host) : t("live")) : t("reconnecting")}</span></span>
      <button class="plain wide-only" aria-label=${t("shortcuts")} onClick=${showHelp}>?</button>
    </div></header>
    <main id="main" tabindex="-1">
      ${state.table && !state.table.daemon && html`<div class="banner" role="alert">${t("daemonAway")}</div>`}
      ${view()}
    </main>
    <${Toasts} /><${Dialog} />`;
}

setTheme(themeNow());
setLanguage(language.now);
render(html`<${Page} />`, document.getElementById("root"));
startSession();
