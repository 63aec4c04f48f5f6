// Components that several views use.
import { useEffect, useRef } from "./vendor/preact.js";
import { html } from "./html.js";
import { stateText, t } from "./i18n.js";
import { fullTime, span } from "./format.js";
import { setTerms, term } from "./address.js";
import { openDialog, state, dismissToast } from "./store.js";

const TONE = { online: "good", healthy: "good", errored: "bad", unhealthy: "bad", "waiting restart": "warn", unready: "warn", broken: "warn", launching: "info", starting: "info", stopping: "info" };

export const tone = (word) => TONE[word] || "idle";

export function Badge({ word }) {
  return html`<span class="badge ${tone(word)}"><span class="dot" aria-hidden="true"></span>${stateText(word)}</span>`;
}

// `isPage`: nothing else is on the page, so this is its heading.
export function Empty({ title, isPage, children }) {
  return html`<div class="empty">${isPage ? html`<h1 class="empty-title">${title}</h1>` : html`<p class="empty-title">${title}</p>`}${children}</div>`;
}

export function Skeleton({ rows }) {
  return html`<div class="skeleton" aria-busy="true" aria-label=${t("loading")}>${Array.from({ length: rows }, () => html`<div class="bar"></div>`)}</div>`;
}

// Elapsed time; it is drawn again with its parent.
export function Ago({ at }) {
  return html`<time datetime=${new Date(at).toISOString()} title=${fullTime(at)}>${t("ago", { time: span(Date.now() - at) })}</time>`;
}

export function Copy({ text }) {
  const copy = () => navigator.clipboard && navigator.clipboard.writeText(text).catch(() => {});
  return html`<pre class="copy" tabindex="0" onClick=${copy}>${text}</pre>`;
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${state.toasts.map((one) => html`<div class="toast ${one.kind}" key=${one.id}>${one.text}<button class="plain" aria-label=${t("close")} onClick=${() => dismissToast(one.id)}>×</button></div>`)}
  </div>`;
}

// Open dialog: {title, text, number, danger, action}, or {view, kind} with its own contents.
export function Dialog() {
  return state.dialog && html`<${OpenDialog} key=${state.dialogTurn} dialog=${state.dialog} />`;
}

function OpenDialog({ dialog }) {
  const ref = useRef(null);
  const input = useRef(null);
  useEffect(() => {
    const { current } = ref;
    current.showModal();
    // `autofocus` itself would be refused while another element has the focus.
    const first = current.querySelector("[data-focus]");
    if (first) first.focus();
    // Returns the focus to the element that had it.
    return () => current.close();
  }, []);
  const close = () => state.dialog === dialog && openDialog(null);
  if (dialog.view) return html`<dialog ref=${ref} class=${dialog.kind} onClose=${close} aria-label=${dialog.title}>${dialog.view(close)}</dialog>`;
  const submit = (event) => {
    event.preventDefault();
    const value = input.current ? Number(input.current.value) : undefined;
    close();
    dialog.action(value);
  };
  return html`<dialog ref=${ref} onClose=${close} aria-labelledby="dialog-title">
    <form onSubmit=${submit}>
      <h2 id="dialog-title">${dialog.title}</h2>
      <p>${dialog.text}</p>
      ${dialog.body}
      ${dialog.number !== undefined && html`<input ref=${input} type="number" min="1" max="1000" value=${dialog.number} aria-label=${dialog.text} data-focus />`}
      <div class="row end">
        <button type="button" onClick=${close}>${dialog.action ? t("cancel") : t("close")}</button>
        ${dialog.action && html`<button type="submit" class=${dialog.danger ? "danger" : "primary"} data-focus=${dialog.number === undefined || undefined}>${dialog.title}</button>`}
      </div>
    </form>
  </dialog>`;
}

// Heading of a column that can be sorted. `sort` is [name, direction]; 1 = the usual direction,
// which is ascending for texts and if `isRising`.
export function Head({ name, title, unit, isText, isRising, sort, setSort }) {
  const isOn = sort[0] === name;
  const isUp = isOn && (sort[1] > 0) === Boolean(isText || isRising);
  return html`<th scope="col" aria-sort=${isOn ? (isUp ? "ascending" : "descending") : "none"} class=${isText ? "" : "num"}><button class="plain" onClick=${() => setSort(isOn ? [name, -sort[1]] : [name, 1])}>${title}${unit ? html` <span class="sub">${unit}</span>` : ""}${isOn ? (isUp ? " ↑" : " ↓") : ""}</button></th>`;
}

// Choice of one option: [[key, text]].
export function Chips({ label, options, now, pick }) {
  return html`<div class="chips" role="group" aria-label=${label}>${options.map(([key, text]) => html`<button key=${key} class="chip ${now === key ? "on" : ""}" aria-pressed=${now === key} onClick=${() => pick(key)}>${text}</button>`)}</div>`;
}

// Instance of an app in the address; empty = all.
export function instanceTerm(app) {
  return app.instances.length > 1 ? term("instance", "", app.instances.map((one) => String(one.id))) : "";
}

export function InstanceChoice({ app, now }) {
  if (app.instances.length < 2) return null;
  return html`<select aria-label=${t("instance")} value=${now} onChange=${(event) => setTerms({ instance: event.target.value })}><option value="">${t("allInstances")}</option>${app.instances.map((one) => html`<option key=${one.id} value=${one.id}>${t("instance")} ${one.id}</option>`)}</select>`;
}

export function Tabs({ tabs, now, go, label }) {
  return html`<div class="tabs" role="tablist" aria-label=${label}>
    ${tabs.map(([key, word]) => html`<button role="tab" key=${key} aria-selected=${now === key} class=${now === key ? "on" : ""} onClick=${() => go(key)}>${word}</button>`)}
  </div>`;
}
