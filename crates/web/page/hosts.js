// Switch to the dashboards of other hosts, if a hosts file names them. This page does not connect
// to them.
import { useEffect, useState } from "./vendor/preact.js";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { safe } from "./format.js";
import { openDialog, state } from "./store.js";
import { api } from "./api.js";
import { Copy } from "./parts.js";

// Command that makes a host's dashboard reachable from the machine of the browser.
const tunnelOf = (one) => `ssh -L 9616:127.0.0.1:9616 ${one.port ? `-p ${one.port} ` : ""}${one.user ? `${safe(one.user)}@` : ""}${safe(one.host)}`;

function HostEntry({ one }) {
  const name = html`<strong>${safe(one.name)}</strong> <span class="sub">${safe(one.host)}</span>`;
  if (one.here) return html`<li>${name} <span class="badge good">${t("thisHost")}</span></li>`;
  if (one.dashboard) return html`<li><a class="link" href=${one.dashboard} rel="noreferrer">${name}</a></li>`;
  return html`<li>${name} <span class="sub">${t("noDashboardAddress")}</span><${Copy} text=${tunnelOf(one)} /></li>`;
}

const showHosts = (hosts) => openDialog({ title: t("hosts"), text: "", body: html`<ul class="plain-list host-list">${hosts.map((one) => html`<${HostEntry} key=${one.name} one=${one} />`)}</ul><p class="sub next">${t("hostsHint")} <code>ostler -H all list</code></p>` });

// Button that lists the hosts; without a hosts file, there is none.
export function HostSwitch() {
  const [hosts, setHosts] = useState([]);
  useEffect(() => {
    if (state.session) api("hosts").then((answer) => setHosts(answer.hosts), () => {});
  }, [state.session]);
  if (!hosts.length) return null;
  return html`<button class="plain hosts-open" onClick=${() => showHosts(hosts)}>${t("hosts")}<span aria-hidden="true">▾</span></button>`;
}
