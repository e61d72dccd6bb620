/**
 * Quantities with units, for people: the same words and figures as splitctl's views (`edgesplit/formatting.py`).
 *
 * Its one rule: an unknown value is a dash, three significant digits are enough. A test compares both sides.
 */

export const UNKNOWN = "–";

/** Bytes, decimal units. [B] */
export const bytes = (value) => scaled(value, [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [1, "B"]]);

/** [B/s] */
export const bytesPerSecond = (value) => scaled(value, [[1e9, "GB/s"], [1e6, "MB/s"], [1e3, "kB/s"], [1, "B/s"]]);

/** [s] */
export const seconds = (value) => (value === 0 ? "0 s" : scaled(value, [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]]));

/** [J] */
export const joules = (value) => (value === 0 ? "0 J" : scaled(value, [[1e3, "kJ"], [1, "J"], [1e-3, "mJ"], [1e-6, "µJ"]]));

/** [W] */
export const watts = (value) => (value === 0 ? "0 W" : scaled(value, [[1, "W"], [1e-3, "mW"]]));

/** A share that is already in percent. [%] */
export const percent = (value) => (known(value) ? `${rounded(value, 0)} %` : UNKNOWN);

/** Requests a second, or that there are none. [1/s] */
export function perSecond(value) {
  if (!known(value)) return UNKNOWN;
  return value === 0 ? "idle" : `${general(value)}/s`;
}

/** A quantity without unit. [1] */
export const number = (value) => (known(value) ? significant(value) : UNKNOWN);

/** How long ago something was, in the largest unit that leaves at least 1. [s] */
export function ago(value) {
  if (!known(value)) return UNKNOWN;
  if (value < 1) return "now";
  return `${span(value)} ago`;
}

/** A long time in whole units: `12 s`, `5 min`, `3 h`, `2 d`. [s] */
export function span(value) {
  if (!known(value)) return UNKNOWN;
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([size]) => Math.abs(value) >= size) ?? [1, "s"];
  return `${Math.floor(value / size)} ${unit}`;
}

/** Local time of day, with the date where it is another day's. [s since the epoch] */
export function clock(atUnixS, nowMs = Date.now()) {
  const at = new Date(atUnixS * 1000);
  if (Number.isNaN(at.getTime())) return UNKNOWN;
  const two = (value) => String(value).padStart(2, "0");
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return at.toDateString() === new Date(nowMs).toDateString() ? time : `${day(atUnixS)} ${time}`;
}

/** Local date. [s since the epoch] */
export function day(atUnixS) {
  const at = new Date(atUnixS * 1000);
  if (Number.isNaN(at.getTime())) return UNKNOWN;
  return `${at.getFullYear()}-${String(at.getMonth() + 1).padStart(2, "0")}-${String(at.getDate()).padStart(2, "0")}`;
}

/** `1 node`, `3 nodes`. */
export const count = (value, noun, plural = `${noun}s`) => `${value} ${value === 1 ? noun : plural}`;

function known(value) {
  return value !== null && value !== undefined && Number.isFinite(value);
}

function scaled(value, units) {
  if (!known(value)) return UNKNOWN;
  const [factor, unit] = units.find(([factor]) => Math.abs(value) >= factor) ?? units.at(-1);
  return `${significant(value / factor)} ${unit}`;
}

function significant(value) {
  const magnitude = Math.abs(value);
  if (magnitude === 0) return "0";
  if (magnitude >= 100) return rounded(value, 0);
  if (magnitude < 0.001) return exponential(value, 2);
  return general(value);
}

/** As Python's `.3g`. */
function general(value) {
  const text = exponential(value, 2);
  const exponent = Number(text.slice(text.indexOf("e") + 1));
  if (exponent < -4 || exponent >= 3) return text.replace(/\.?0+e/, "e");
  return String(Number(text));
}

/** As Python's `.Nf`, which rounds halves to even where the number is exactly half. */
function rounded(value, decimals) {
  const size = 10 ** decimals;
  const floor = Math.floor(value * size);
  if (decimals === 0 && value - floor === 0.5) return String(floor % 2 === 0 ? floor : floor + 1);
  return value.toFixed(decimals);
}

/** As Python's `.Ne`, likewise, with at least two digits of exponent. */
function exponential(value, digits) {
  let text = value.toExponential(digits);
  // All digits of a double: what was rounded is exactly half where a lone 5 follows.
  const [exact, power] = Math.abs(value).toExponential(60).split("e");
  const rest = exact.slice(digits + 2);
  if (/^50*$/.test(rest) && Number(exact[digits + 1]) % 2 === 0) text = `${value < 0 ? "-" : ""}${exact.slice(0, digits + 2)}e${power}`;
  return text.replace(/e([+-])(\d)$/, "e$10$2");
}
