// Frame of the page: navigation and the current view.
import { render, useEffect, useState } from "./vendor/preact.js";
import { html } from "./html.js";
import { code, language, setLanguage, setTheme, t, themeNow } from "./i18n.js";
import { safe } from "./format.js";
import { address, followAddress, listHref } from "./address.js";
import { openDialog, startSession, state, useStore } from "./store.js";
import { Dialog, Empty, Skeleton, Toasts } from "./parts.js";
import { HostSwitch } from "./hosts.js";
import { togglePalette } from "./palette.js";
import { Overview } from "./views/overview.js";
import { AppView } from "./views/app.js";
import { Logs } from "./views/logs.js";
import { Errors } from "./views/errors.js";
import { Traces } from "./views/traces.js";
import { Events } from "./views/events.js";
import { Alerts } from "./views/alerts.js";
import { Settings } from "./views/settings.js";
import { Login } from "./views/login.js";

const PLACES = [["", "overview"], ["logs", "logs"], ["errors", "errors"], ["traces", "traces"], ["events", "events"], ["alerts", "alerts"], ["settings", "settings"]];
const GO = { o: "#/", l: "#/logs", x: "#/errors", t: "#/traces", e: "#/events", a: "#/alerts", s: "#/settings" };

function showHelp() {
  const keys = [["Ctrl K", t("searchAll")], ["/", t("keyFilter")], ["j k", t("keyMove")], ["Enter", t("keyOpen")], ["g o l x t e a s", t("keyGo")], ["Esc", t("keyBack")], ["?", t("keyHelp")]];
  openDialog({ title: t("shortcuts"), text: "", body: html`<dl class="pairs keys">${keys.map(([key, text]) => html`<div key=${key}><dt>${code(key)}</dt><dd>${text}</dd></div>`)}</dl>` });
}

let isGoing = false;

function onKeyDown(event) {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    togglePalette();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || state.dialog) return;
  const inField = event.target.matches("input, select, textarea");
  if (event.key === "Escape") {
    if (inField) event.target.blur();
    else if (address.parts[0] === "app") location.hash = listHref("");
    else if (address.parts.length > 1 && ["errors", "traces"].includes(address.parts[0])) location.hash = listHref(address.parts[0]);
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

// Name of the view of an address, without the state of the view such as a time range.
const viewOf = (parts) => parts.slice(0, parts[0] === "app" ? 4 : 2).join("/");

function Page() {
  useStore();
  const [, redraw] = useState(0);
  const { parts } = address;
  useEffect(() => {
    let shown = viewOf(address.parts);
    const unfollow = followAddress((isMove) => {
      if (isMove) {
        // The open question belongs to the previous page, and so does an open menu.
        if (state.dialog) openDialog(null);
        for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
      }
      const view = viewOf(address.parts);
      if (view !== shown) scrollTo(0, 0);
      shown = view;
      redraw((n) => n + 1);
    });
    addEventListener("keydown", onKeyDown);
    const tick = setInterval(() => redraw((n) => n + 1), 30000);
    return () => {
      unfollow();
      removeEventListener("keydown", onKeyDown);
      clearInterval(tick);
    };
  }, []);
  // Name of the view in the history of the browser.
  const title = parts[0] === "app" ? safe(parts[2] || "") : t((PLACES.find(([key]) => key === parts[0]) || PLACES[0])[1]);
  useEffect(() => {
    document.title = `${title} – ostler`;
  }, [title]);
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
    return html`<section class="card"><${Empty} isPage title=${t("noSuchPage")}><a class="button" href="#/">${t("overview")}</a></${Empty}></section>`;
  };
  const isLive = state.connection === "live";
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>${t("skip")}</a>
    <header><div class="bar-inner">
      <a class="brand" href="#/" aria-label="ostler"><img src="icon.svg" alt="" width="24" height="24" /><span>ostler</span></a>
      <nav aria-label=${t("menu")}>${PLACES.map(([key, word]) => html`<a key=${key} href=${`#/${key}`} aria-current=${place === key || (key === "" && place === "app") ? "page" : undefined}>${t(word)}</a>`)}</nav>
      <span class="connection ${isLive ? "good" : "warn"}" role="status"><span class="dot" aria-hidden="true"></span><span class="wide-only">${isLive ? (state.session ? safe(state.session.host) : t("live")) : t("reconnecting")}</span></span>
      <${HostSwitch} />
      <button class="plain search-open" aria-keyshortcuts="Control+K" onClick=${togglePalette}><svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="7" cy="7" r="4.5" /><path d="M10.5 10.5L14 14" /></svg><span class="hidden">${t("search")}</span> <kbd class="wide-only">Ctrl K</kbd></button>
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
