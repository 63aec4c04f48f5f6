// Numbers and times for people. Pure.
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

// A time that passed: 12 s, 4 min, 3 h 20 min, 5 d 2 h.
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

export function clock(ms) {
  return new Date(ms).toLocaleTimeString(language.now === "zh" ? "zh-CN" : "en-GB", { hour12: false });
}

export function dateTime(ms) {
  const date = new Date(ms);
  const day = date.toDateString() === new Date().toDateString() ? "" : `${date.toLocaleDateString(language.now === "zh" ? "zh-CN" : "en-CA")} `;
  return day + clock(ms);
}

// Text of others without what would be drawn over other text.
export function safe(text) {
  return String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}
