// Settings of this browser, access for others, and the audit log.
import { useEffect, useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { language, setLanguage, setTheme, t, themeNow } from "../i18n.js";
import { dateTime, safe } from "../format.js";
import { openDialog, startSession, scheduleRender, disconnect, state, toast } from "../store.js";
import { api, segment } from "../api.js";
import { Copy, Empty, Skeleton } from "../parts.js";
import { isAdmin } from "../act.js";

async function logout() {
  await api("session", { method: "DELETE" }).catch(() => {});
  disconnect();
  state.session = null;
  scheduleRender();
  startSession();
}

function Choice({ label, options, now, pick }) {
  return html`<div class="row setting"><span class="grow">${label}</span><div class="chips" role="group" aria-label=${label}>${options.map(([key, word]) => html`<button key=${key} class="chip ${now === key ? "on" : ""}" aria-pressed=${now === key} onClick=${() => { pick(key); scheduleRender(); }}>${word}</button>`)}</div></div>`;
}

function Access() {
  const [access, setAccess] = useState(null);
  const [made, setMade] = useState(null);
  const load = () => api("access").then(setAccess).catch((error) => toast(error.message, "bad"));
  useEffect(() => { load(); }, []);
  const make = async (event) => {
    event.preventDefault();
    const { name, role } = event.target.elements;
    try {
      const answer = await api("access/token", { method: "POST", body: { name: name.value, role: role.value } });
      setMade({ name: name.value, token: answer.token });
      event.target.reset();
      load();
    } catch (error) {
      toast(error.message, "bad");
    }
  };
  const revoke = (name) => openDialog({ title: t("revoke"), text: `${t("revoke")}: ${name}?`, danger: true, action: () => api(`access/token/${segment(name)}`, { method: "DELETE" }).then(load).catch((error) => toast(error.message, "bad")) });
  if (!access) return html`<section class="card"><${Skeleton} rows=${3} /></section>`;
  return html`<section class="card"><h2>${t("tokens")}</h2>
      ${access.tokens.length ? html`<ul class="plain-list">${access.tokens.map((token) => html`<li key=${token.name} class="row"><span class="grow"><strong>${safe(token.name)}</strong> <span class="sub">${t(token.role)}${token.namespaces.length ? ` · ${safe(token.namespaces.join(", "))}` : ""} · ${dateTime(token.created)}</span></span><button class="danger-text" onClick=${() => revoke(token.name)}>${t("revoke")}</button></li>`)}</ul>` : html`<p class="sub">${t("noTokens")}</p>`}
      ${made && html`<div class="note"><strong>${safe(made.name)}</strong>: ${t("shownOnce")}<${Copy} text=${made.token} /></div>`}
      <form class="row" onSubmit=${make}><input name="name" required maxlength="64" pattern="[A-Za-z0-9_.@\\-]+" placeholder=${t("name")} aria-label=${t("name")} class="grow" /><select name="role" aria-label=${t("role")}>${["viewer", "operator", "admin"].map((role) => html`<option key=${role} value=${role}>${t(role)}</option>`)}</select><button type="submit">${t("makeToken")}</button></form></section>
    <section class="card flush"><h2 class="pad">${t("audit")}</h2>${access.audit.length ? html`<ol class="events">${access.audit.map((entry, at) => html`<li key=${at} class=${entry.result === "done" ? "info" : "warning"}><span class="dot"></span><span class="when">${dateTime(entry.at)}</span><span class="what"><strong>${safe(entry.who)}</strong> ${safe(entry.what)} ${entry.app ? safe(entry.app) : ""} <span class="sub">${safe(entry.result)}${entry.from ? ` · ${safe(entry.from)}` : ""}</span></span></li>`)}</ol>` : html`<${Empty} title=${t("noAudit")} />`}</section>`;
}

export function Settings() {
  const { session } = state;
  return html`<h1>${t("settings")}</h1>
    <section class="card">
      <${Choice} label=${t("language")} now=${language.now} pick=${setLanguage} options=${[["en", "English"], ["zh", "中文"]]} />
      <${Choice} label=${t("theme")} now=${themeNow()} pick=${setTheme} options=${[["system", t("system")], ["light", t("light")], ["dark", t("dark")]]} />
    </section>
    ${isAdmin() && html`<${Access} />`}
    <section class="card"><h2>${t("about")}</h2><dl class="pairs">${[[t("version"), session.version], [t("host"), session.host], [t("home"), session.home], [t("who"), `${session.user} · ${t(session.role)}`]].map(([key, value]) => html`<div key=${key}><dt>${key}</dt><dd>${safe(value)}</dd></div>`)}</dl>
      <div class="row end"><button onClick=${logout}>${t("logout")}</button></div></section>`;
}
