// Charts over time, as SVG.
import { useRef, useState } from "./vendor/preact.js";
import { html } from "./html.js";
import { clock, dateTime, safe } from "./format.js";

const points = (list, key, x, y) => list.map((sample) => `${x(sample.at).toFixed(1)},${y(sample[key]).toFixed(1)}`).join(" ");

export function Sparkline({ list, name, label }) {
  if (!list || list.length < 2) return html`<svg class="spark" viewBox="0 0 80 20" aria-hidden="true"></svg>`;
  const shown = list.slice(-60);
  const [from, to] = [shown[0].at, shown[shown.length - 1].at];
  const most = Math.max(...shown.map((sample) => sample[name])) * 1.15 || 1;
  const x = (at) => ((at - from) / (to - from || 1)) * 80;
  const y = (value) => 19 - (value / most) * 18;
  return html`<svg class="spark" viewBox="0 0 80 20" preserveAspectRatio="none" role="img" aria-label=${label}><polyline points=${points(shown, name, x, y)} /></svg>`;
}

// Returns a round number at or above this one.
function ceiling(value, isBytes) {
  const base = isBytes ? 1024 : 10;
  let unit = 1;
  while (unit * base <= value) unit *= base;
  const steps = isBytes ? [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] : [1, 2, 2.5, 5, 10];
  return unit * (steps.find((step) => unit * step >= value) || base);
}

const WIDTH = 640;
const HEIGHT = 180;
const LEFT = 64;
const BOTTOM = 22;

// Chart of one metric. `marks` are labelled instants, `span` is the visible time range, `zoom`
// receives a dragged range, and `pick` a clicked instant.
export function Chart({ title, list, name, format, isBytes, marks, span, zoom, pick }) {
  const svg = useRef(null);
  const [at, setAt] = useState(null);
  const [dragStart, setDragStart] = useState(null);
  const newest = list && list[list.length - 1];
  const head = html`<figcaption><span class="wrap">${title}</span><strong>${newest ? format(newest[name]) : "–"}</strong></figcaption>`;
  if (!list || list.length < 2) return html`<figure class="chart">${head}<div class="chart-wait"></div></figure>`;
  const from = span ? span[0] : list[0].at;
  const to = span ? span[1] : newest.at;
  const most = list.reduce((largest, sample) => Math.max(largest, sample.max ?? sample[name]), 0);
  const top = ceiling(most || 1, isBytes);
  const x = (time) => LEFT + ((time - from) / (to - from || 1)) * (WIDTH - LEFT - 8);
  const y = (value) => 8 + (1 - value / top) * (HEIGHT - BOTTOM - 8);
  const line = points(list, name, x, y);
  const spread = list[0].max !== undefined;
  const area = spread
    ? `${points(list, "max", x, y)} ${points([...list].reverse(), "min", x, y)}`
    : `${x(list[0].at).toFixed(1)},${y(0)} ${line} ${x(newest.at).toFixed(1)},${y(0)}`;
  const nearest = (time) => list.reduce((best, sample) => (Math.abs(sample.at - time) < Math.abs(best.at - time) ? sample : best), list[0]);
  const near = at === null ? null : nearest(at);
  const timeAt = (event) => {
    const box = svg.current.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * WIDTH;
    return Math.max(from, Math.min(to, from + ((px - LEFT) / (WIDTH - LEFT - 8)) * (to - from)));
  };
  const move = (event) => setAt(timeAt(event));
  const down = (event) => {
    if (!zoom || event.button !== 0) return;
    event.preventDefault();
    svg.current.setPointerCapture(event.pointerId);
    setDragStart(timeAt(event));
  };
  const up = (event) => {
    if (dragStart === null) return;
    const ends = [dragStart, timeAt(event)].sort((one, other) => one - other);
    setDragStart(null);
    // A click is not a zoom.
    if (ends[1] - ends[0] > (to - from) / 50) zoom(ends.map(Math.round));
    else if (pick) pick(nearest(ends[1]).at);
  };
  const formatTime = to - from > 43200000 ? dateTime : clock;
  const times = [0, 0.5, 1].map((part) => from + part * (to - from));
  return html`<figure class="chart">
    ${head}
    <svg ref=${svg} class=${pick ? "picks" : ""} viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title} ${format(newest[name])}" onPointerMove=${move} onPointerDown=${down} onPointerUp=${up} onPointerLeave=${() => setAt(null)}>
      ${[0, 0.5, 1].map((part) => html`<g key=${part}><line class="grid" x1=${LEFT} x2=${WIDTH - 8} y1=${y(top * part)} y2=${y(top * part)} /><text class="axis" x=${LEFT - 8} y=${y(top * part) + 4} text-anchor="end">${format(top * part)}</text></g>`)}
      ${times.map((time, index) => html`<text class="axis" key=${index} x=${x(time)} y=${HEIGHT - 4} text-anchor=${["start", "middle", "end"][index]}>${formatTime(time)}</text>`)}
      ${(marks || []).filter((mark) => mark.at >= from && mark.at <= to).map((mark, index) => html`<line class="mark ${mark.severity}" key=${index} x1=${x(mark.at)} x2=${x(mark.at)} y1="8" y2=${y(0)}><title>${dateTime(mark.at)} ${safe(mark.text)}</title></line>`)}
      <polygon class="area" points=${area} /><polyline class="line" points=${line} />
      ${dragStart !== null && at !== null && html`<rect class="zoom" x=${Math.min(x(dragStart), x(at))} y="8" width=${Math.abs(x(at) - x(dragStart))} height=${HEIGHT - BOTTOM - 8} />`}
      ${near && html`<g><line class="cursor" x1=${x(near.at)} x2=${x(near.at)} y1="8" y2=${y(0)} /><circle class="knob" cx=${x(near.at)} cy=${y(near[name])} r="3.5" /></g>`}
    </svg>
    <div class="hint" aria-hidden="true">${near ? `${formatTime(near.at)} · ${format(near[name])}${spread && near.max > near.min ? ` (${format(near.min)} – ${format(near.max)})` : ""}` : "\u00a0"}</div>
  </figure>`;
}

export function Meter({ share, label }) {
  const value = Math.max(0, Math.min(1, share || 0));
  return html`<meter class=${value > 0.9 ? "bad" : value > 0.75 ? "warn" : "good"} min="0" max="1" value=${value} aria-label=${label}></meter>`;
}
