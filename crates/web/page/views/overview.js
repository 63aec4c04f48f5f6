// Overview of all apps.
import { useEffect, useRef, useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { stateText, t } from "../i18n.js";
import { bytes, millis, percent, rate, safe, span } from "../format.js";
import { setSortTerm, setTerms, sortTerm, term, typeTerms } from "../address.js";
import { appKey, state } from "../store.js";
import { Badge, Chips, Copy, Empty, Head, Skeleton, tone } from "../parts.js";
import { Meter, Sparkline } from "../chart.js";
import { runCommand, availableCommands } from "../act.js";
import { reasonTab, reasonText } from "../reasons.js";
import { appBase } from "./base.js";
import { HostCharts } from "./past.js";

const RANK = { errored: 0, "waiting restart": 1, stopping: 2, launching: 3, online: 4, stopped: 5 };

const COLUMNS = [
  ["name", (app) => app.name.toLowerCase()],
  ["state", (app) => RANK[app.state] ?? 9],
  ["health", (app) => app.health || "~"],
  ["cpu", (app) => -app.cpu],
  ["memory", (app) => -app.memory],
  ["requests", (app) => -(app.node ? app.node.rate : -1)],
  ["restarts", (app) => -app.restarts],
  ["uptime", (app) => app.uptime ?? Infinity],
];

function Tile({ title, value, sub, share, past, name }) {
  return html`<div class="tile"><span class="tile-title">${title}</span><span class="tile-value">${value}${past && html`<${Sparkline} list=${past} name=${name} label="" />`}</span>
    ${share === undefined ? null : html`<${Meter} share=${share} label=${title} />`}<span class="tile-sub">${sub || "\u00a0"}</span></div>`;
}

function Host({ table }) {
  const { host } = table;
  const all = [...table.apps];
  const up = all.filter((app) => app.state === "online").length;
  return html`<div class="tiles">
    <${Tile} title=${t("apps")} value=${`${up} / ${all.length}`} sub=${t("online")} />
    <${Tile} title=${t("cpu")} value=${host.cpu === null ? "–" : percent(host.cpu * 100)} share=${host.cpu ?? 0} past=${state.host} name="cpu" sub=${t("cores", { n: host.cores })} />
    <${Tile} title=${t("memory")} value=${bytes(host.memory.used)} share=${host.memory.used / (host.memory.total || 1)} past=${state.host} name="memory" sub=${t("ofTotal", { total: bytes(host.memory.total) })} />
    ${host.disk && html`<${Tile} title=${t("disk")} value=${bytes(host.disk.used)} share=${host.disk.used / (host.disk.total || 1)} sub=${t("ofTotal", { total: bytes(host.disk.total) })} />`}
    ${host.load && html`<${Tile} title=${t("load")} value=${host.load[0].toFixed(2)} sub=${`${host.load[1].toFixed(2)} · ${host.load[2].toFixed(2)}`} />`}
  </div>`;
}

function Attention({ apps }) {
  const all = apps.filter((app) => app.reasons);
  if (!all.length) return null;
  return html`<section class="card attention" aria-labelledby="attention"><h2 id="attention">${t("needsAttention")}</h2>
    <ul>${all.map((app) => html`<li key=${appKey(app)}><a href=${appBase(app)}>${safe(app.name)}</a> ${app.reasons.map((reason, at) => html`${at ? " · " : ""}<a class="reason" key=${reason.kind} href=${`${appBase(app)}/${reasonTab(reason)}`}>${reasonText(reason)}</a>`)}</li>`)}</ul></section>`;
}

export function Verbs({ app, small }) {
  const { first, more } = availableCommands(app);
  const details = useRef(null);
  if (!first.length) return null;
  const run = (verb) => {
    if (details.current) details.current.open = false;
    runCommand(app, verb);
  };
  return html`<div class="verbs">
    ${(small ? first.slice(0, 1) : first).map((verb) => html`<button key=${verb} class=${verb === "start" || verb === "reload" ? "" : ""} onClick=${() => runCommand(app, verb)}>${t(verb)}</button>`)}
    <details class="menu" ref=${details}><summary aria-label=${`${t("menu")}: ${app.name}`}>⋯</summary><div class="menu-list">
      ${[...(small ? first.slice(1) : []), ...more].map((verb) => html`<button key=${verb} class=${verb === "delete" ? "bad" : ""} onClick=${() => run(verb)}>${t(verb)}</button>`)}
    </div></details>
  </div>`;
}

// Requests, as measured by a Node app itself.
function Served({ node }) {
  if (!node) return html`<span class="quiet">–</span>`;
  const parts = [node.p95 !== null && `p95 ${millis(node.p95 * 1000)}`, node.failed_share !== null && `5xx ${percent(node.failed_share * 100)}`, `${t("loopUse")} ${percent(node.loop_use * 100)}`];
  return html`${rate(node.rate)}${t("perSecond")}<span class="sub below ${node.failed_share > 0.01 ? "bad" : ""}">${parts.filter(Boolean).join(" · ")}</span>`;
}

function Row({ app, selected, hasNode }) {
  const samples = state.samples.get(appKey(app));
  const ref = useRef(null);
  useEffect(() => {
    if (selected && ref.current) ref.current.scrollIntoView({ block: "nearest" });
  }, [selected]);
  return html`<tr ref=${ref} class=${selected ? "selected" : ""}>
    <th scope="row"><a href=${appBase(app)}>${safe(app.name)}</a><span class="sub">${app.namespace === "default" ? "" : `${safe(app.namespace)} · `}${app.mode}${app.instances.length > 1 ? ` × ${app.instances.length}` : ""}${app.version && app.version !== "N/A" ? ` · ${safe(app.version)}` : ""}</span></th>
    <td data-label=${t("state")}><${Badge} word=${app.state} />${app.instances.length > 1 && html`<span class="strip" aria-hidden="true">${app.instances.slice(0, 32).map((one) => html`<i key=${one.id} class=${tone(one.state)} title=${`${one.id}: ${one.state}`}></i>`)}</span>`}</td>
    <td data-label=${t("health")}>${app.health ? html`<${Badge} word=${app.health} />` : html`<span class="quiet">–</span>`}</td>
    <td data-label=${t("cpu")} class="num">${percent(app.cpu)}<${Sparkline} list=${samples} name="cpu" label="" /></td>
    <td data-label=${t("memory")} class="num">${bytes(app.memory)}<${Sparkline} list=${samples} name="memory" label="" /></td>
    ${hasNode && html`<td data-label=${t("requests")} class="num served"><${Served} node=${app.node} /></td>`}
    <td data-label=${t("restarts")} class="num ${app.restarts ? "" : "quiet"}" title=${t("restartsTotal")}>${app.restarts}</td>
    <td data-label=${t("uptime")} class="num">${span(app.uptime)}</td>
    <td class="act"><${Verbs} app=${app} small /></td>
  </tr>`;
}

export function Overview() {
  const { table } = state;
  const filter = term("q");
  const only = term("state", "all", ["all", "online", "stopped", "problems"]);
  const sort = sortTerm(COLUMNS.map(([key]) => key), "name");
  const setSort = (to) => setSortTerm(to, "name");
  const [selected, setSelected] = useState(-1);
  const value = COLUMNS.find(([key]) => key === sort[0])[1];
  const word = filter.toLowerCase();
  const matches = (app) => (!word || `${app.name} ${app.namespace}`.toLowerCase().includes(word)) && (only === "all" || (only === "online" ? app.state === "online" : only === "stopped" ? app.state === "stopped" : app.attention.length > 0));
  const compare = (one, other) => {
    const [a, b] = [value(one), value(other)];
    return (a < b ? -1 : a > b ? 1 : one.name.localeCompare(other.name)) * sort[1];
  };
  const shown = table ? table.apps.filter(matches).sort(compare) : [];
  const modules = table ? table.modules.filter(matches) : [];
  const keys = useRef(null);
  keys.current = { shown, selected };
  useEffect(() => {
    const onKeyDown = (event) => {
      if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey || state.dialog) return;
      const { shown: list, selected: at } = keys.current;
      if (event.key === "j" || event.key === "k") setSelected(Math.max(0, Math.min(list.length - 1, at + (event.key === "j" ? 1 : -1))));
      else if (event.key === "Enter" && list[at] && event.target === document.body) location.hash = appBase(list[at]);
    };
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, []);
  if (!table) return html`<${Skeleton} rows=${6} />`;
  const hasNode = [...table.apps, ...table.modules].some((app) => app.node);
  const moduleRows = modules.length > 0 && only === "all" && html`<tbody><tr class="group"><th scope="rowgroup" colspan="9">${t("modules")}</th></tr>${modules.map((app) => html`<${Row} key=${appKey(app)} app=${app} hasNode=${hasNode} />`)}</tbody>`;
  const heads = html`<tr>${COLUMNS.filter(([key]) => hasNode || key !== "requests").map(([key]) => html`<${Head} key=${key} name=${key} title=${t(key)} isText=${["name", "state", "health"].includes(key)} isRising=${key === "uptime"} sort=${sort} setSort=${setSort} />`)}<th scope="col"><span class="hidden">${t("actions")}</span></th></tr>`;
  return html`
    <h1 class="hidden">${t("overview")}</h1>
    <${Host} table=${table} />
    <${Attention} apps=${[...table.apps, ...table.modules]} />
    <section class="card flush">
      <div class="toolbar">
        <input id="filter" type="search" placeholder=${`${t("filterApps")}  /`} aria-label=${t("filterApps")} value=${filter} onInput=${(event) => typeTerms({ q: event.target.value })} />
        <${Chips} label=${t("state")} now=${only} pick=${(key) => setTerms({ state: key === "all" ? "" : key })} options=${[["all", t("all")], ["online", stateText("online")], ["stopped", stateText("stopped")], ["problems", t("problems")]]} />
      </div>
      ${table.apps.length === 0
        ? html`<${Empty} title=${t("noApps")}><p>${t("noAppsHint")}</p><${Copy} text="ostler start app.js" /></${Empty}>`
        : shown.length === 0 && !moduleRows
          ? html`<${Empty} title=${t("noMatch")} />`
          : html`<table class="apps"><thead>${heads}</thead><tbody>${shown.map((app, at) => html`<${Row} key=${appKey(app)} app=${app} selected=${at === selected} hasNode=${hasNode} />`)}</tbody>${moduleRows}</table>`}
    </section>
    <${HostCharts} />`;
}
