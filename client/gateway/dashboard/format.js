/** Texts for people from numbers and times: pure functions, without a document. */

const UNITS_MS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
];

/**
 * Between two times of the API, which have milliseconds: no difference is less than one of them,
 * not nothing.
 */
export function span(from, to) {
  const ms = Date.parse(to) - Date.parse(from);
  return ms === 0 ? '< 1 ms' : duration(ms);
}

/** "250 ms", "3.2 s", "4 m 05 s", "2 h 10 m", "3 d 4 h": two units are enough to act on. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return '–';
  if (ms < 0) return `-${duration(-ms)}`;
  if (ms > 0 && ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 10) return `${trim(ms.toFixed(1))} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${trim((ms / 1000).toFixed(1))} s`;
  const whole = Math.round(ms / 1000) * 1000;
  const first = UNITS_MS.findIndex(([, size]) => whole >= size);
  const [name, size] = UNITS_MS[first];
  const [nextName, nextSize] = UNITS_MS[Math.min(first + 1, UNITS_MS.length - 1)];
  const rest = Math.floor((whole % size) / nextSize);
  return rest === 0 || nextName === name
    ? `${Math.floor(whole / size)} ${name}`
    : `${Math.floor(whole / size)} ${name} ${String(rest).padStart(2, '0')} ${nextName}`;
}

function trim(text) {
  return text.replace(/\.0$/, '');
}

/** "just now", "5 s ago", "in 3 h": a time as seen from `now` (ms). */
export function ago(iso, now = Date.now()) {
  const at = Date.parse(iso ?? '');
  if (Number.isNaN(at)) return '–';
  const distance = now - at;
  if (Math.abs(distance) < 1000) return 'just now';
  const text = short(Math.abs(distance));
  return distance > 0 ? `${text} ago` : `in ${text}`;
}

/**
 * "5 s", "3 m", and two units from an hour on, where one would round too much: "2 h 57 m", "4 d 01
 * h".
 */
export function short(ms) {
  if (!Number.isFinite(ms)) return '–';
  if (ms >= 3_600_000) return duration(Math.floor(ms / 60_000) * 60_000);
  for (const [name, size] of UNITS_MS) if (ms >= size) return `${Math.floor(ms / size)} ${name}`;
  return `${Math.round(ms)} ms`;
}

/** Local time to the millisecond, as logs show it: "2026-11-22 16:35:42.429". */
export function clock(iso) {
  const at = new Date(iso ?? '');
  if (Number.isNaN(at.getTime())) return '–';
  const two = (n, width = 2) => String(n).padStart(width, '0');
  return (
    `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
    `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${two(at.getMilliseconds(), 3)}`
  );
}

/** "1,234,567": a thin space would be cut from copied numbers by some programs. */
export function count(n) {
  return Number.isFinite(n) ? Math.round(n).toLocaleString('en-GB') : '–';
}

/** "999", "1.2k", "34k", "5.6M", for places where the whole number does not fit. */
export function compact(n) {
  if (!Number.isFinite(n)) return '–';
  for (const [name, size] of [
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ])
    if (Math.abs(n) >= size)
      return trim((n / size).toFixed(Math.abs(n) < 10 * size ? 1 : 0)) + name;
  return String(Math.abs(n) < 10 && !Number.isInteger(n) ? trim(n.toFixed(1)) : Math.round(n));
}

export function bytes(n) {
  if (!Number.isFinite(n)) return '–';
  for (const [name, size] of [
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ])
    if (n >= size) return `${trim((n / size).toFixed(1))} ${name}`;
  return `${n} B`;
}

/** "1 task", "2 tasks". */
export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** Of a rate per second, as `zsched-ctl queue set` takes it: "5/s", "100/m", "2/h". */
export function rate(perSecond) {
  if (!Number.isFinite(perSecond)) return '–';
  for (const [unit, seconds] of [
    ['s', 1],
    ['m', 60],
    ['h', 3600],
    ['d', 86_400],
  ]) {
    const n = perSecond * seconds;
    if (n >= 0.999) return `${trim(n.toFixed(1))}/${unit}`;
  }
  return `${(perSecond * 86_400).toFixed(2)}/d`;
}

/**
 * The number that "5/s", "100/m" or "0.5" (a second) means; null for an empty text, NaN for what is
 * no rate.
 */
export function parseRate(text) {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(?:\/\s*([smhd]))?\s*$/.exec(text);
  if (text.trim() === '') return null;
  return match ? Number(match[1]) / {s: 1, m: 60, h: 3600, d: 86_400}[match[2] ?? 's'] : NaN;
}

/**
 * Milliseconds of "90s", "1h30m", "250ms" or a bare number of them; null for empty, NaN for what is
 * none.
 */
export function parseDuration(text) {
  const bare = text.replace(/\s+/g, '');
  if (bare === '') return null;
  if (/^\d+$/.test(bare)) return Number(bare);
  if (!/^(\d+(\.\d+)?(ms|[smhd]))+$/.test(bare)) return NaN;
  const sizes = {ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000};
  return [...bare.matchAll(/(\d+(?:\.\d+)?)(ms|[smhd])/g)].reduce(
    (sum, [, n, unit]) => sum + Number(n) * sizes[unit],
    0,
  );
}

/** The inverse of parseDuration, exact: "1h30m", "250ms"; "" for null. */
export function durationText(ms) {
  if (ms === null || ms === undefined) return '';
  let rest = ms;
  let out = '';
  for (const [name, size] of UNITS_MS) {
    if (rest >= size) out += `${Math.floor(rest / size)}${name}`;
    rest %= size;
  }
  return rest > 0 || out === '' ? `${out}${rest}ms` : out;
}

/** {"a": "b"} of lines or commas "a=b"; throws with the part that is no label. */
export function parseLabels(text) {
  const labels = {};
  for (const part of text
    .split(/[\n,]/)
    .map((line) => line.trim())
    .filter(Boolean)) {
    const at = part.indexOf('=');
    if (at < 1) throw new Error(`“${part}” is no label: write key=value`);
    labels[part.slice(0, at).trim()] = part.slice(at + 1).trim();
  }
  return labels;
}
