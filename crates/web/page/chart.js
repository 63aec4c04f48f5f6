// Charts over time, as SVG. All charts of a view share the crosshair. Each chart works with the
// keyboard and has its values as a table.
import { useEffect, useRef, useState } from "./vendor/preact.js";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { clock, dateTime, safe } from "./format.js";

const points = (list, key, x, y) => list.map((sample) => `${x(sample.at).toFixed(1)},${y(sample[key]).toFixed(1)}`).join(" ");

export function Sparkline({ list, name, label }) {
  if (!list || list.length < 2) return html`<svg class="spark" viewBox="0 0 80 20" aria-hidden="true"></svg>`;
  const shown = list.slice(-60);
  const [from, to] = [shown[0].at, shown[shown.length - 1].at];
  const most = Math.max(...shown.map((sample) => sample[name])) * 1.15 || 1;
  const x = (at) => ((at - from) / (to - from || 1)) * 80;
  const y = (value) => 19 - (value / most) * 18;
  return html`<svg class="spark" viewBox="0 0 80 20" preserveAspectRatio="none" role=${label ? "img" : undefined} aria-label=${label || undefined} aria-hidden=${label ? undefined : "true"}><polyline points=${points(shown, name, x, y)} /></svg>`;
}

// Instant under the pointer, or chosen by key; null = none.
const crosshair = { at: null, listeners: new Set(), planned: false };

function setCrosshair(at) {
  crosshair.at = at;
  if (crosshair.planned) return;
  crosshair.planned = true;
  requestAnimationFrame(() => {
    crosshair.planned = false;
    for (const listener of crosshair.listeners) listener();
  });
}

function useCrosshair() {
  const [, redraw] = useState(0);
  useEffect(() => {
    const listener = () => redraw((n) => n + 1);
    crosshair.listeners.add(listener);
    return () => crosshair.listeners.delete(listener);
  }, []);
  return crosshair.at;
}

// Returns a round number at or above this one.
export function ceiling(value, isBytes) {
  const base = isBytes ? 1024 : 10;
  let unit = 1;
  while (unit * base <= value) unit *= base;
  if (!isBytes) while (unit > value && unit > 1e-6) unit /= base;
  const steps = isBytes ? [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] : [1, 2, 2.5, 5, 10];
  return unit * (steps.find((step) => unit * step >= value) || base);
}

const nearest = (list, time) => list.reduce((best, sample) => (Math.abs(sample.at - time) < Math.abs(best.at - time) ? sample : best), list[0]);

// Marks of events: the kind of a flag, and its shape around 0, 0.
const FLAG_SHAPES = { crash: "M-4-4L4 4M4-4L-4 4", start: "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z", release: "M0-5L4.5 0L0 5L-4.5 0z", alert: "M0-5L5 4H-5z" };
const FLAG_WORDS = { crash: "flagCrash", start: "flagStart", release: "flagRelease", alert: "flagAlert" };
const FLAG_KINDS = { errored: "crash", online: "start", reload_done: "release", reload_failed: "release", alert: "alert" };
const flagKind = (mark) => (mark.kind === "exit" ? (mark.severity === "info" ? "start" : "crash") : FLAG_KINDS[mark.kind] || "start");
// Width within which marks of one kind share a flag.
const FLAG_WIDTH = 10;
const FLAG_TEXTS = 5;

// Returns flags: {kind, x, marks}. Marks of one kind that are close to each other share a flag. A
// start right after a crash belongs to the crash.
export function flags(marks, x) {
  const last = {};
  const all = [];
  for (const mark of marks) {
    const kind = flagKind(mark);
    const at = x(mark.at);
    const isNear = (flag) => flag && at - flag.x < FLAG_WIDTH;
    if (kind === "start" && isNear(last.crash)) last.crash.marks.push(mark);
    else if (isNear(last[kind])) last[kind].marks.push(mark);
    else all.push((last[kind] = { kind, x: at, marks: [mark] }));
  }
  return all;
}

function Flag({ flag, bottom }) {
  const { kind, x, marks } = flag;
  const texts = marks.slice(0, FLAG_TEXTS).map((mark) => `${dateTime(mark.at)} ${safe(mark.text)}`);
  const more = marks.length - texts.length;
  return html`<g class="flag ${kind}"><title>${[...texts, ...(more > 0 ? [t("nMore", { n: more })] : [])].join("\n")}</title><line x1=${x} x2=${x} y1="12" y2=${bottom} /><path d=${FLAG_SHAPES[kind]} transform="translate(${x.toFixed(1)} 7)" /></g>`;
}

// Legend of the flags in the charts of a view.
export function FlagLegend({ marks }) {
  const kinds = Object.keys(FLAG_SHAPES).filter((kind) => marks.some((mark) => flagKind(mark) === kind));
  if (!kinds.length) return null;
  return html`<ul class="legend">${kinds.map((kind) => html`<li key=${kind}><svg viewBox="-6 -6 12 12" aria-hidden="true"><g class="flag ${kind}"><path d=${FLAG_SHAPES[kind]} /></g></svg>${t(FLAG_WORDS[kind])} <span class="sub">${marks.filter((mark) => flagKind(mark) === kind).length}</span></li>`)}</ul>`;
}

const USUAL_WIDTH = 520;
const LEFT = 64;
const TOP = 14;
const BOTTOM = 22;

// Values at the crosshair, as the line and as text. Drawn apart from the rest of the chart, which
// does not change while the pointer moves.
function Cursor({ series, x, y, bottom, from, to }) {
  const at = useCrosshair();
  if (at === null || at < from || at > to) return null;
  const near = series.map(({ list }) => nearest(list, at));
  return html`<g><line class="cursor" x1=${x(near[0].at)} x2=${x(near[0].at)} y1=${TOP} y2=${bottom} />${near.map((sample, index) => html`<circle class="knob s${index}" key=${index} cx=${x(sample.at)} cy=${y(sample.avg)} r="3.5" />`)}</g>`;
}

function Values({ series, format, formatTime, from, to, isSum }) {
  const at = useCrosshair();
  const isThere = at !== null && at >= from && at <= to;
  const valueOf = ({ list }) => {
    if (isThere) {
      const near = nearest(list, at);
      return `${format(near.avg)}${near.max > near.min ? ` (${format(near.min)} – ${format(near.max)})` : ""}`;
    }
    return format(isSum ? list.reduce((sum, sample) => sum + sample.avg, 0) : list[list.length - 1].avg);
  };
  return html`<span class="values"><span class="sub">${isThere ? formatTime(nearest(series[0].list, at).at) : "\u00a0"}</span>${series.map((one, index) => html`<span key=${one.label}>${series.length > 1 && html`<i class="key s${index}" aria-hidden="true"></i><span class="sub">${one.label}</span> `}<strong>${valueOf(one)}</strong></span>`)}</span>`;
}

// Returns the width of an element in pixels, so that texts in an SVG keep their size.
function useWidth(ref) {
  const [width, setWidth] = useState(USUAL_WIDTH);
  useEffect(() => {
    if (!ref.current) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(200, Math.round(entry.contentRect.width))));
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return width;
}

function DataTable({ title, series, format }) {
  const [isOpen, setOpen] = useState(false);
  const byTime = isOpen ? series.map(({ list }) => new Map(list.map((sample) => [sample.at, sample]))) : [];
  return html`<details class="data" open=${isOpen} onToggle=${(event) => setOpen(event.target.open)}><summary>${t("dataTable")}<span class="hidden">: ${title}</span></summary>
    ${isOpen && html`<div class="data-box" tabindex="0"><table><thead><tr><th scope="col">${t("when")}</th>${series.map((one) => html`<th key=${one.label} scope="col" class="num">${one.label}</th>`)}</tr></thead><tbody>${[...series[0].list].reverse().map((sample) => html`<tr key=${sample.at}><th scope="row">${dateTime(sample.at)}</th>${byTime.map((samples, index) => html`<td class="num" key=${index}>${samples.has(sample.at) ? format(samples.get(sample.at).avg) : "–"}</td>`)}</tr>`)}</tbody></table></div>`}</details>`;
}

// Chart of metrics with a common unit. `series` is a list of {label, list}, whose samples have at,
// min, avg and max. `marks` are labelled instants, `span` is the visible time range, `zoom`
// receives a dragged range, and `pick` a clicked instant. `bars`: the values are counts per step.
export function Chart({ title, unit, series, format, isBytes, isSmall, bars, marks, span, zoom, pick }) {
  const svg = useRef(null);
  const figure = useRef(null);
  const width = useWidth(figure);
  const [dragStart, setDragStart] = useState(null);
  const [dragEnd, setDragEnd] = useState(null);
  const known = (series || []).filter(({ list }) => list && list.length > 1);
  const caption = (values) => html`<figcaption><span class="wrap">${title}${unit && html` <span class="sub">${unit}</span>`}</span>${values}</figcaption>`;
  const height = isSmall ? 120 : 180;
  if (!known.length) return html`<figure class="chart" ref=${figure}>${caption(null)}<div class="chart-wait ${isSmall ? "small" : ""}"></div></figure>`;
  const { list } = known[0];
  const from = span ? span[0] : list[0].at;
  const to = span ? span[1] : list[list.length - 1].at;
  const bottom = height - BOTTOM;
  const most = known.reduce((largest, one) => one.list.reduce((value, sample) => Math.max(value, known.length > 1 ? sample.avg : sample.max), largest), 0);
  const top = ceiling(most || (isBytes ? 1024 : 1), isBytes);
  const x = (time) => LEFT + ((time - from) / (to - from || 1)) * (width - LEFT - 8);
  const y = (value) => TOP + (1 - Math.min(value, top) / top) * (bottom - TOP);
  const formatTime = to - from > 43200000 ? dateTime : clock;
  const timeAt = (event) => {
    const box = svg.current.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * width;
    return Math.max(from, Math.min(to, from + ((px - LEFT) / (width - LEFT - 8)) * (to - from)));
  };
  const move = (event) => {
    setCrosshair(timeAt(event));
    if (dragStart !== null) setDragEnd(timeAt(event));
  };
  const down = (event) => {
    if (!zoom || event.button !== 0) return;
    event.preventDefault();
    svg.current.setPointerCapture(event.pointerId);
    svg.current.focus({ preventScroll: true });
    setDragStart(timeAt(event));
    setDragEnd(null);
  };
  const up = (event) => {
    if (dragStart === null) return;
    const ends = [dragStart, timeAt(event)].sort((one, other) => one - other);
    setDragStart(null);
    // A click is not a zoom.
    if (ends[1] - ends[0] > (to - from) / 50) zoom(ends.map(Math.round));
    else if (pick) pick(nearest(list, ends[1]).at);
  };
  const visible = list.filter((sample) => sample.at >= from && sample.at <= to);
  const step = (event) => {
    const { at } = crosshair;
    const choose = (sample) => {
      setCrosshair(sample.at);
      // For screen readers: the focused slider reports its new value.
      event.currentTarget.setAttribute("aria-valuenow", sample.at);
      event.currentTarget.setAttribute("aria-valuetext", `${formatTime(sample.at)}: ${known.map((one) => `${known.length > 1 ? `${one.label} ` : ""}${format(nearest(one.list, sample.at).avg)}`).join(", ")}`);
    };
    const here = at === null ? visible.length : visible.indexOf(nearest(visible, at));
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -visible.length, End: visible.length, PageUp: -10, PageDown: 10 }[event.key];
    if (by && visible.length) {
      event.preventDefault();
      choose(visible[Math.max(0, Math.min(visible.length - 1, here + by))]);
    } else if (event.key === "Enter" && pick && at !== null) pick(nearest(list, at).at);
    else if (event.key === "Escape" && at !== null) {
      event.stopPropagation();
      setCrosshair(null);
    }
  };
  const times = (width < 360 ? [0, 1] : [0, 0.5, 1]).map((part) => from + part * (to - from));
  const shownMarks = (marks || []).filter((mark) => mark.at >= from && mark.at <= to);
  const isSpread = known.length === 1 && !bars && list.some((sample) => sample.max > sample.min);
  const area = isSpread ? `${points(list, "max", x, y)} ${points([...list].reverse(), "min", x, y)}` : `${x(list[0].at).toFixed(1)},${y(0)} ${points(list, "avg", x, y)} ${x(list[list.length - 1].at).toFixed(1)},${y(0)}`;
  const shortest = list.reduce((least, sample, index) => (index ? Math.min(least, sample.at - list[index - 1].at) : least), to - from);
  const barWidth = Math.max(2, Math.min(16, (x(from + shortest) - LEFT) * 0.8));
  const newest = known.map((one) => `${known.length > 1 ? `${one.label} ` : ""}${format(bars ? one.list.reduce((sum, sample) => sum + sample.avg, 0) : one.list[one.list.length - 1].avg)}`).join(", ");
  return html`<figure class="chart" ref=${figure}>
    ${caption(html`<${Values} series=${known} format=${format} formatTime=${formatTime} from=${from} to=${to} isSum=${bars} />`)}
    <svg ref=${svg} class=${pick ? "picks" : ""} viewBox="0 0 ${width} ${height}" tabindex="0" role="slider" aria-label=${`${title}${unit ? `, ${unit}` : ""}`} aria-roledescription=${t("chart")} aria-valuemin=${Math.round(from)} aria-valuemax=${Math.round(to)} aria-valuenow=${Math.round(to)} aria-valuetext=${newest} onKeyDown=${step} onBlur=${() => setCrosshair(null)} onPointerMove=${move} onPointerDown=${down} onPointerUp=${up} onPointerLeave=${() => setCrosshair(null)}>
      ${[0, 0.5, 1].map((part) => html`<g key=${part}><line class="grid" x1=${LEFT} x2=${width - 8} y1=${y(top * part)} y2=${y(top * part)} /><text class="axis" x=${LEFT - 8} y=${y(top * part) + 4} text-anchor="end">${format(top * part)}</text></g>`)}
      ${times.map((time, index) => html`<text class="axis" key=${index} x=${x(time)} y=${height - 4} text-anchor=${index === 0 ? "start" : index === times.length - 1 ? "end" : "middle"}>${formatTime(time)}</text>`)}
      ${flags(shownMarks, x).map((flag, index) => html`<${Flag} key=${index} flag=${flag} bottom=${bottom} />`)}
      ${bars ? list.filter((sample) => sample.avg > 0).map((sample) => html`<rect class="count" key=${sample.at} x=${x(sample.at) - barWidth / 2} y=${y(sample.avg)} width=${barWidth} height=${bottom - y(sample.avg)} />`) : html`${known.length === 1 && html`<polygon class="area" points=${area} />`}${known.map((one, index) => html`<polyline class="line s${index}" key=${one.label} points=${points(one.list, "avg", x, y)} />`)}`}
      ${dragStart !== null && dragEnd !== null && html`<rect class="zoom" x=${Math.min(x(dragStart), x(dragEnd))} y=${TOP} width=${Math.abs(x(dragEnd) - x(dragStart))} height=${bottom - TOP} />`}
      <${Cursor} series=${known} x=${x} y=${y} bottom=${bottom} from=${from} to=${to} />
    </svg>
    <${DataTable} title=${title} series=${known} format=${format} />
  </figure>`;
}

export function Meter({ share, label }) {
  const value = Math.max(0, Math.min(1, share || 0));
  return html`<meter class=${value > 0.9 ? "bad" : value > 0.75 ? "warn" : "good"} min="0" max="1" value=${value} aria-label=${label}></meter>`;
}
