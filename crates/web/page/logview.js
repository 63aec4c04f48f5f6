// Live log lines: bounded, filtered, in colour.
import { useEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { dateTime, safe } from "./format.js";
import { ansiPieces } from "./ansi.js";
import { setTerms, term, typeTerms } from "./address.js";
import { Empty } from "./parts.js";

const KEPT = 5000;
const DRAWN = 1000;
const CUT = 4096;
// Time after wheel, key or touch input in which a scroll counts as the reader's own.
const SCROLLS_MS = 1000;

let lineKey = 0;

// Returns the text of a line's time and its tooltip. An estimated time has a mark.
export function timeOf(line, format) {
  if (!line.at) return ["", undefined];
  if (line.time_from !== "estimated") return [format(line.at), undefined];
  const ends = (line.received_between || []).map((at) => dateTime(Date.parse(at)));
  return [`≈ ${format(line.at)}`, ends.length ? t("receivedBetween", { from: ends[0], to: ends[1] }) : t("timeOfEarlierLine")];
}

export function Line({ line, showApp }) {
  const [whole, setWhole] = useState(false);
  const [open, setOpen] = useState(false);
  const text = whole ? line.text : line.text.slice(0, CUT);
  const object = useMemo(() => (line.text.startsWith("{") && line.text.length < 65536 ? parsed(line.text) : null), [line]);
  const head = object && !open ? object.msg ?? object.message : null;
  const level = object ? String(object.level ?? "") : "";
  const [at, hint] = timeOf(line, (iso) => iso.slice(11, 23));
  return html`<div class="line ${line.stream}">
    <span class="at" title=${hint}>${at}</span>
    ${showApp && html`<span class="of">${safe(line.app || "")}${line.instance === null ? "" : ` ${line.instance}`}</span>`}
    <span class="text">
      ${object && html`<button class="plain json" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? "▾" : "▸"}</button>`}
      ${typeof head === "string" ? html`${level && html`<b class="level">${safe(level)}</b> `}${safe(head)}` : open ? html`<pre>${safe(JSON.stringify(object, null, 2))}</pre>` : ansiPieces(text).map((piece) => html`<span class=${piece.cls}>${safe(piece.text)}</span>`)}
      ${!whole && line.text.length > CUT && html` <button class="plain link" onClick=${() => setWhole(true)}>${t("showAll")}</button>`}
      ${line.cut && html` <i>${t("cutLine")}</i>`}
      ${line.partial && html` <i>${t("lineGoesOn")}</i>`}
    </span>
  </div>`;
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value && typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

export function LogView({ app, filterId }) {
  const lines = useRef([]);
  const paused = useRef(false);
  const touched = useRef(0);
  const box = useRef(null);
  const [, redraw] = useState(0);
  const [filter, isRegex] = [term("q"), term("regex") === "1"];
  const [waits, setWaits] = useState(true);
  useEffect(() => {
    lines.current = [];
    setWaits(true);
    let planned = false;
    const draw = () => {
      if (planned) return;
      planned = true;
      requestAnimationFrame(() => {
        planned = false;
        redraw((n) => n + 1);
      });
    };
    const source = new EventSource(`api/logs/live?lines=200${app ? `&app=${encodeURIComponent(app)}` : ""}`);
    let again = false;
    source.onopen = () => {
      // After a reconnect, the last lines are sent again.
      if (again) lines.current = [];
      again = true;
      setWaits(false);
    };
    source.addEventListener("line", (message) => {
      const line = JSON.parse(message.data);
      line.key = lineKey += 1;
      lines.current.push(line);
      if (lines.current.length > KEPT) lines.current.splice(0, lines.current.length - KEPT);
      if (!paused.current) draw();
    });
    return () => {
      source.close();
      // The browser may keep a closed stream, and everything that it refers to, for a long time.
      lines.current = [];
    };
  }, [app]);
  const matcher = useMemo(() => {
    if (!filter) return () => true;
    if (!isRegex) {
      const word = filter.toLowerCase();
      return (line) => line.text.toLowerCase().includes(word);
    }
    try {
      const regex = new RegExp(filter, "i");
      return (line) => regex.test(line.text.slice(0, CUT));
    } catch {
      return null;
    }
  }, [filter, isRegex]);
  const found = matcher ? lines.current.filter(matcher) : [];
  const shown = found.slice(-DRAWN);
  useEffect(() => {
    if (!paused.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  });
  const scrolled = () => {
    // Scrolls without user input do not pause the view. One follows each drawing, and a flood of
    // lines moves the view, too.
    if (!box.current || Date.now() - touched.current > SCROLLS_MS) return;
    const { scrollTop, scrollHeight, clientHeight } = box.current;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < 24;
    if (paused.current === isAtEnd) {
      paused.current = !isAtEnd;
      redraw((n) => n + 1);
    }
  };
  const touch = () => {
    touched.current = Date.now();
  };
  const toggle = () => {
    paused.current = !paused.current;
    redraw((n) => n + 1);
  };
  const clear = () => {
    lines.current = [];
    redraw((n) => n + 1);
  };
  return html`<section class="logs">
    <div class="toolbar">
      <input id=${filterId} type="search" placeholder=${t("filterLines")} aria-label=${t("filterLines")} value=${filter} aria-invalid=${!matcher} onInput=${(event) => typeTerms({ q: event.target.value })} />
      <label class="check"><input type="checkbox" checked=${isRegex} onChange=${(event) => setTerms({ regex: event.target.checked ? "1" : "" })} />${t("regex")}</label>
      <span class="count" aria-live="polite">${matcher ? t("nLines", { n: found.length }) : t("badRegex")}</span>
      <span class="grow"></span>
      <button onClick=${toggle} aria-pressed=${paused.current}>${paused.current ? t("follow") : t("pause")}</button>
      <button onClick=${clear}>${t("clear")}</button>
      <a class="button" href=${`api/logs/download${app ? `?app=${encodeURIComponent(app)}` : ""}`} download="logs.txt">${t("download")}</a>
    </div>
    <div class="lines" ref=${box} onScroll=${scrolled} onWheel=${touch} onTouchMove=${touch} onKeyDown=${touch} onPointerDown=${touch} onPointerMove=${(event) => event.buttons && touch()} tabindex="0" role="log" aria-label=${t("logs")} aria-live="off">
      ${shown.length ? shown.map((line) => html`<${Line} key=${line.key} line=${line} showApp=${!app} />`) : html`<${Empty} title=${waits ? t("loading") : lines.current.length ? t("noLinesMatch") : t("noLines")} />`}
    </div>
  </section>`;
}
