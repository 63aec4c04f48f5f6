// Channels of alerts: list, add, change, test, remove. Saved secrets are never shown again.
import { useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { safe } from "../format.js";
import { dismissToast, openDialog, state, toast } from "../store.js";
import { api, segment } from "../api.js";
import { isAdmin } from "../act.js";

// Names of services, the same in each language.
const SERVICES = { webhook: "Webhook", slack: "Slack, Mattermost", discord: "Discord", telegram: "Telegram", ntfy: "ntfy", alertmanager: "Alertmanager", dingtalk: "DingTalk 钉钉", feishu: "Feishu 飞书, Lark", wecom: "WeCom 企业微信", email: "E-mail" };
// Settings of each service, as in docs/alerts.md; * = required.
const SERVICE_FIELDS = { webhook: "url* secret template", slack: "url*", discord: "url*", telegram: "token* chat* api", ntfy: "topic* server token", alertmanager: "url*", dingtalk: "url* secret", feishu: "url* secret", wecom: "url*", email: "host* port tls user password from* to*", command: "" };
const FIELD_WORDS = { url: "channelUrl", secret: "channelSecret", template: "channelTemplate", token: "token", chat: "channelChat", api: "channelApi", topic: "channelTopic", server: "channelServer", host: "channelHost", port: "channelPort", tls: "channelTls", user: "channelUser", password: "password", from: "channelFrom", to: "channelTo" };
const SECRET_FIELDS = ["url", "api", "server", "secret", "token", "topic", "password", "template"];
// Fields that show dots. They are no password fields, because a browser would offer to save them.
const MASKED_FIELDS = ["secret", "token", "password"];
const FIELD_EXAMPLES = { api: "api.telegram.org", server: "ntfy.sh", from: "ostler@example.com", to: "ops@example.com, …", port: "587" };
const TLS_WORDS = { starttls: "STARTTLS", tls: "TLS", none: "–" };

// Channels receive the alerts of all apps, so a user of some namespaces cannot set them up.
export const managesChannels = () => isAdmin() && state.session.namespaces.length === 0;

export const refused = (error) => toast(error.status === 0 ? t("offline") : error.message, "bad");

function Field({ name, isRequired, saved }) {
  const isSaved = saved && saved.secrets.includes(name);
  const value = saved && saved.settings[name] !== undefined ? String(saved.settings[name]) : "";
  if (name === "tls") return html`<label>${t(FIELD_WORDS.tls)}<select name="tls">${Object.entries(TLS_WORDS).map(([key, word]) => html`<option key=${key} value=${key} selected=${key === (value || "starttls")}>${word}</option>`)}</select></label>`;
  return html`<label>${t(FIELD_WORDS[name])}<input name=${name} class=${MASKED_FIELDS.includes(name) ? "masked" : ""} required=${isRequired && !isSaved} inputmode=${name === "port" ? "numeric" : undefined} autocomplete="off" spellcheck=${false} defaultValue=${value} placeholder=${isSaved ? t("savedKeep") : FIELD_EXAMPLES[name] || ""} /></label>`;
}

// Returns the settings of the form. A saved secret whose field is empty is not part of them.
function readForm(form, fields, saved) {
  const text = (name) => form.elements[name].value.trim();
  const [from, to] = [text("quiet_from"), text("quiet_to")];
  const zone = text("quiet_zone");
  const settings = { severity: text("severity"), resolved: form.elements.resolved.checked, quiet: from || to ? { from, to, ...(zone && { zone }) } : null };
  for (const name of fields) {
    const value = text(name);
    if (value) settings[name] = name === "to" ? value.split(/[,，\s]+/).filter(Boolean) : name === "port" ? Number(value) : value;
    else if (saved && !SECRET_FIELDS.includes(name)) settings[name] = null;
  }
  // Without a user, there is no login.
  if (settings.user === null) settings.password = null;
  return settings;
}

function ChannelForm({ saved, names, close, reload }) {
  const [service, setService] = useState(saved ? saved.type : "webhook");
  const [problem, setProblem] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const fields = SERVICE_FIELDS[service].split(" ").filter(Boolean);
  const keys = fields.map((field) => field.replace("*", ""));
  const quiet = (saved && saved.quiet) || {};
  const submit = async (event) => {
    event.preventDefault();
    const form = event.target;
    const name = saved ? saved.name : form.elements.name.value.trim() || service;
    if (!saved && names.includes(name)) {
      setProblem(t("channelTaken", { name }));
      return;
    }
    setBusy(true);
    try {
      const settings = readForm(form, keys, saved);
      if (saved) await api(`alerts/channels/${segment(name)}`, { method: "POST", body: settings });
      else await api("alerts/channels", { method: "POST", body: { type: service, name, ...settings } });
      close();
      toast(t("channelSaved", { name: safe(name) }), "good");
      reload();
    } catch (error) {
      setProblem(error.status === 0 ? t("offline") : error.message);
      setBusy(false);
    }
  };
  return html`<form class="fields" onSubmit=${submit}>
    <h2>${saved ? `${t("changeChannel")}: ${safe(saved.name)}` : t("addChannel")}</h2>
    ${saved
      ? html`<p class="sub">${SERVICES[service] || safe(service)} · ${t(service === "command" ? "channelProgram" : "channelKept")}</p>`
      : html`<label>${t("service")}<select name="type" data-focus value=${service} onChange=${(event) => setService(event.target.value)}>${Object.entries(SERVICES).map(([key, word]) => html`<option key=${key} value=${key}>${word}</option>`)}</select></label>
        <label>${t("name")}<input name="name" maxlength="60" pattern="\\S+" autocomplete="off" placeholder=${service} /></label>`}
    ${fields.map((field, at) => html`<${Field} key=${`${service} ${field}`} name=${keys[at]} isRequired=${field.endsWith("*")} saved=${saved} />`)}
    <label>${t("channelSeverity")}<select name="severity">${["info", "warning", "critical"].map((word) => html`<option key=${word} value=${word} selected=${word === (saved ? saved.severity : "info")}>${t(word)}</option>`)}</select></label>
    <fieldset><legend>${t("channelQuiet")}</legend><input name="quiet_from" type="time" aria-label=${t("from")} defaultValue=${quiet.from || ""} /><input name="quiet_to" type="time" aria-label=${t("to")} defaultValue=${quiet.to || ""} /><input name="quiet_zone" aria-label=${t("channelZone")} placeholder=${t("channelZone")} autocomplete="off" defaultValue=${quiet.zone || ""} /></fieldset>
    <label class="check"><input name="resolved" type="checkbox" defaultChecked=${saved ? saved.resolved : true} />${t("channelResolved")}</label>
    <p class="bad wrap" role="alert">${problem ? safe(problem) : "\u00a0"}</p>
    <div class="row end"><button type="button" onClick=${close}>${t("cancel")}</button><button type="submit" class="primary" disabled=${isBusy}>${t("save")}</button></div>
  </form>`;
}

const openForm = (title, saved, names, reload) => openDialog({ kind: "tall", title, view: (close) => html`<${ChannelForm} saved=${saved} names=${names} close=${close} reload=${reload} />` });

async function testChannel(name) {
  const id = toast(t("testing", { name: safe(name) }), "info", 0);
  try {
    const answer = await api("alerts/test", { method: "POST", body: { channel: name } });
    answer.results.forEach((one) => toast(`${safe(one.channel)}: ${one.sent ? t("testSent") : safe(one.error)}`, one.sent ? "good" : "bad"));
  } catch (error) {
    refused(error);
  }
  dismissToast(id);
}

export function AddChannel({ all, reload }) {
  return html`<button onClick=${() => openForm(t("addChannel"), null, all.channels.map((one) => one.name), reload)}>${t("addChannel")}</button>`;
}

export function Channels({ all, reload }) {
  const change = (name) => api("alerts/channels").then(({ channels }) => {
    const saved = channels.find((one) => one.name === name);
    if (saved) openForm(t("changeChannel"), saved, [], reload);
    else reload();
  }, refused);
  const remove = (name) => openDialog({ title: t("removeChannel"), text: `${t("removeChannel")}: ${safe(name)}?`, danger: true, action: () => api(`alerts/channels/${segment(name)}`, { method: "DELETE" }).then(reload, refused) });
  if (!all.channels.length && !managesChannels()) return null;
  return html`<section class="card" id="channels"><div class="row"><h2 class="grow">${t("channels")}</h2>${managesChannels() && html`<${AddChannel} all=${all} reload=${reload} />`}</div>
    ${all.channels.length ? html`<ul class="plain-list">${all.channels.map((one) => html`<li key=${one.name} class="row channel"><span class="grow wrap"><strong>${safe(one.name)}</strong> <span class="sub">${safe(one.type)} · ${safe(one.place)} · ≥ ${t(one.severity)}${one.waiting ? ` · ${one.waiting} ${t("waiting")}` : ""}${one.fault ? ` · ${safe(one.fault)}` : ""}</span></span>
      ${managesChannels() && html`<button aria-label=${`${t("test")}: ${one.name}`} onClick=${() => testChannel(one.name)}>${t("test")}</button><button aria-label=${`${t("change")}: ${one.name}`} onClick=${() => change(one.name)}>${t("change")}</button><button class="danger-text" aria-label=${`${t("remove")}: ${one.name}`} onClick=${() => remove(one.name)}>${t("remove")}</button>`}</li>`)}</ul>` : html`<p class="sub">${t("noChannels")}</p>`}</section>`;
}
