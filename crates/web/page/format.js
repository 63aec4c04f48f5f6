// Numbers and times in readable form. Pure.
import { language } from "./i18n.js";

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function percent(value) {
  if (value === null || value === undefined) return "–";
  return `${value >= 10 ? Math.round(value) : value.toFixed(1)} %`;
}

// Duration: 12 s, 4 min, 3 h 20 min, 5 d 2 h.
export function span(ms) {
  if (ms === null || ms === undefined) return "–";
  const zh = language.now === "zh";
  const [s, min, h, d] = zh ? [" 秒", " 分钟", " 小时", " 天"] : [" s", " min", " h", " d"];
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (seconds < 60) return seconds + s;
  if (seconds < 3600) return Math.floor(seconds / 60) + min;
  if (seconds < 86400) {
    const rest = Math.floor((seconds % 3600) / 60);
    return Math.floor(seconds / 3600) + h + (rest ? ` ${rest}${min}` : "");
  }
  const hours = Math.floor((seconds % 86400) / 3600);
  return Math.floor(seconds / 86400) + d + (hours ? ` ${hours}${h}` : "");
}

// Duration of a request or a part of it.
export function millis(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms >= 1000) return `${(ms / 1000).toFixed(ms >= 10000 ? 1 : 2)} s`;
  return ms >= 10 || ms === 0 ? `${Math.round(ms)} ms` : `${ms.toFixed(ms >= 0.1 ? 1 : 3)} ms`;
}

// Rate or another number without a unit: three digits, more only for whole numbers.
export function rate(value) {
  if (value === null || value === undefined) return "–";
  return String(Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3)));
}

// Formatters are cached: a Date method creates a new formatter for each call, and an event list has
// a thousand calls.
const formatters = new Map();
function formatter(locale, parts) {
  const key = `${locale} ${Object.keys(parts)}`;
  if (!formatters.has(key)) formatters.set(key, new Intl.DateTimeFormat(locale, parts));
  return formatters.get(key);
}
const DAY_PARTS = { year: "numeric", month: "2-digit", day: "2-digit" };
const TIME_PARTS = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };

export function clock(ms) {
  return formatter(language.now === "zh" ? "zh-CN" : "en-GB", TIME_PARTS).format(ms);
}

export function dateTime(ms) {
  const day = new Date(ms).toDateString() === new Date().toDateString() ? "" : `${formatter(language.now === "zh" ? "zh-CN" : "en-CA", DAY_PARTS).format(ms)} `;
  return day + clock(ms);
}

// Date and time in the browser's format.
export function fullTime(ms) {
  return formatter(undefined, { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" }).format(ms);
}

// Removes characters from untrusted text that would be drawn over other text.
export function safe(text) {
  return String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}
