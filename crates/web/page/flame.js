// Flame graph as SVG. The whole is on top; below each function are its callees, as wide as their
// share.
import { useEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { bytes, percent, safe } from "./format.js";
import { flameBoxes } from "./profile.js";

const ROW = 20;
// Narrower boxes (in px) are not drawn, which limits the number of boxes.
const NARROWEST = 1;
const LETTER = 6.9;

export const amountText = (value, unit) => (unit === "bytes" ? bytes(value) : `${value >= 100 ? Math.round(value) : value.toFixed(1)} ms`);
export const placeText = (frame) => (frame.file ? `${frame.file}${frame.line ? `:${frame.line}` : ""}` : "");

const isFound = (frame, word) => word !== "" && `${frame.name} ${frame.file}`.toLowerCase().includes(word);

function boxLabel(frame, tree) {
  const share = tree.total > 0 ? percent((frame.total / tree.total) * 100) : "";
  return `${safe(frame.name)} · ${amountText(frame.total, tree.unit)} (${share}), ${t("self")} ${amountText(frame.self, tree.unit)}`;
}

// Returns the next box for a key: the widest callee, the caller, or a sibling.
function adjacentBox(frame, key, boxes) {
  const at = (other) => other && boxes.some((box) => box.frame === other) ? other : null;
  if (key === "ArrowDown") return at(frame.children[0]);
  if (key === "ArrowUp") return at(frame.parent);
  const beside = frame.parent ? frame.parent.children : [frame];
  return at(beside[beside.indexOf(frame) + (key === "ArrowRight" ? 1 : -1)]);
}

export function Flame({ tree, word }) {
  const holder = useRef(null);
  const [width, setWidth] = useState(800);
  const [focus, setFocus] = useState(tree.root);
  const [here, setHere] = useState(tree.root);
  useEffect(() => {
    const measure = () => holder.current && setWidth(Math.max(240, holder.current.clientWidth));
    measure();
    addEventListener("resize", measure);
    return () => removeEventListener("resize", measure);
  }, []);
  // The callers of the focused frame stay visible, so that the user can zoom out.
  const boxes = useMemo(() => {
    const above = [];
    for (let frame = focus.parent; frame; frame = frame.parent) above.unshift({ frame, x: 0, width, isAbove: true });
    return [...above, ...flameBoxes(focus, width, NARROWEST)];
  }, [tree, focus, width]);
  const zoom = (frame) => {
    setFocus(frame);
    setHere(frame);
  };
  const onKeyDown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.startsWith("Arrow")) setHere(adjacentBox(here, event.key, boxes) || here);
    else if (event.key === "Enter" || event.key === " ") zoom(here);
    else if (event.key === "Backspace" || event.key === "-") zoom(focus.parent || tree.root);
    else if (event.key === "Home" || event.key === "0") zoom(tree.root);
    // The page handles this key itself unless it zooms out here.
    else if (event.key === "Escape" && focus !== tree.root) zoom(tree.root);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const height = (Math.max(...boxes.map((box) => box.frame.depth)) + 1) * ROW;
  const found = word ? boxes.filter((box) => isFound(box.frame, word)).length : 0;
  return html`<div class="flame" ref=${holder}>
    <div class="row"><span class="sub grow">${t("flameHint")}</span>${word && html`<span class="count">${t("nFrames", { n: found })}</span>`}${focus !== tree.root && html`<button onClick=${() => zoom(tree.root)}>${t("wholeGraph")}</button>`}</div>
    <svg class="flames" viewBox="0 0 ${width} ${height}" width=${width} height=${height} role="tree" tabindex="0" aria-label=${t("flameGraph")} aria-activedescendant="flame-here" onKeyDown=${onKeyDown}>
      ${boxes.map(({ frame, x, width: wide, isAbove }, at) => {
        const letters = Math.floor((wide - 6) / LETTER);
        const name = safe(frame.name);
        return html`<g key=${at} role="treeitem" id=${frame === here ? "flame-here" : undefined} aria-level=${frame.depth + 1} aria-selected=${frame === here} class="box ${frame.owner} ${isAbove ? "above" : ""} ${word && !isFound(frame, word) ? "dim" : ""} ${frame === here ? "here" : ""}" onClick=${() => zoom(frame)} onPointerEnter=${() => setHere(frame)}>
          <title>${boxLabel(frame, tree)}</title><rect x=${x.toFixed(2)} y=${frame.depth * ROW} width=${Math.max(wide - 0.5, 0.5).toFixed(2)} height=${ROW - 1} rx="2" />
          ${letters > 2 && html`<text aria-hidden="true" x=${(x + 4).toFixed(2)} y=${frame.depth * ROW + 14}>${name.length > letters ? `${name.slice(0, letters - 1)}…` : name}</text>`}</g>`;
      })}
    </svg>
    <p class="flame-here" aria-live="polite"><strong>${safe(here.name)}</strong> <span class="sub">${amountText(here.total, tree.unit)} · ${tree.total > 0 ? percent((here.total / tree.total) * 100) : "–"} · ${t("self")} ${amountText(here.self, tree.unit)}</span> <code class="sub">${safe(placeText(here))}</code></p>
  </div>`;
}
