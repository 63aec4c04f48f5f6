// Components that several views use.
import { useEffect, useRef } from "./vendor/preact.js";
import { html } from "./html.js";
import { stateText, t } from "./i18n.js";
import { fullTime, span } from "./format.js";
import { openDialog, state, dismissToast } from "./store.js";

const TONE = { online: "good", healthy: "good", errored: "bad", unhealthy: "bad", "waiting restart": "warn", unready: "warn", broken: "warn", launching: "info", starting: "info", stopping: "info" };

export const tone = (word) => TONE[word] || "idle";

export function Badge({ word }) {
  return html`<span class="badge ${tone(word)}"><span class="dot" aria-hidden="true"></span>${stateText(word)}</span>`;
}

export function Empty({ title, children }) {
  return html`<div class="empty"><p class="empty-title">${title}</p>${children}</div>`;
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

// Open dialog: {title, text, number, danger, action}.
export function Dialog() {
  const ref = useRef(null);
  const input = useRef(null);
  const dialog = state.dialog;
  useEffect(() => {
    if (dialog && ref.current && !ref.current.open) ref.current.showModal();
  }, [dialog]);
  if (!dialog) return null;
  const close = () => openDialog(null);
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
      ${dialog.number !== undefined && html`<input ref=${input} type="number" min="1" max="1000" value=${dialog.number} aria-label=${dialog.text} autofocus />`}
      <div class="row end">
        <button type="button" onClick=${close}>${dialog.action ? t("cancel") : t("close")}</button>
        ${dialog.action && html`<button type="submit" class=${dialog.danger ? "danger" : "primary"} autofocus=${dialog.number === undefined}>${dialog.title}</button>`}
      </div>
    </form>
  </dialog>`;
}

export function Tabs({ tabs, now, go, label }) {
  return html`<div class="tabs" role="tablist" aria-label=${label}>
    ${tabs.map(([key, word]) => html`<button role="tab" key=${key} aria-selected=${now === key} class=${now === key ? "on" : ""} onClick=${() => go(key)}>${word}</button>`)}
  </div>`;
}
