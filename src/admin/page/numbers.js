// Numbers and times as people read them.

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Three digits and a unit. */
function scaled(value, base, units, separator) {
  let unit = 0;
  while (value >= base * 0.9995 && unit + 1 < units.length) {
    value /= base;
    unit += 1;
  }
  const digits = unit === 0 && Number.isInteger(value) || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return [value.toFixed(digits), units[unit]].join(units[unit] && separator);
}

/** A whole number: 12,345. */
export const count = (value) => grouped.format(value);

/** How many a second: 72.8k. */
export const rate = (value) => scaled(value < 1 ? Math.round(value * 10) / 10 : value, 1000, ["", "k", "M", "G"], "");

/** Bytes that were transferred: 5.02 MB. */
export const traffic = (value) => scaled(value, 1000, ["B", "kB", "MB", "GB", "TB", "PB"], " ");

/** Bytes of memory: 64.0 KiB. */
export const memory = (value) => scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"], " ");

/** Seconds of a turn or a round trip: 83.2 µs. */
export const short = (seconds) => scaled(seconds * 1e6, 1000, ["µs", "ms", "s"], " ");

/** Seconds of an age: 3 h 12 min. */
export function duration(seconds) {
  const whole = Math.floor(seconds);
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const from = parts.findIndex(([length]) => whole >= length);
  if (from < 0) {
    return "0 s";
  }
  const [first, second] = [parts[from], parts[from + 1]];
  const rest = second ? Math.floor(whole % first[0] / second[0]) : 0;
  return `${Math.floor(whole / first[0])} ${first[1]}${rest ? ` ${rest} ${second[1]}` : ""}`;
}

/** Seconds, in the nearest unit of which there are two or more: 5 min. */
export function coarse(seconds) {
  const [length, unit] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([length]) => seconds >= 2 * length) ?? [1, "s"];
  return `${Math.round(seconds / length)} ${unit}`;
}

/** A share of 0 to 1: 12 %. What is not quite nothing is not 0 %, and what is not quite all is not 100 %. */
export function percent(share) {
  if (share > 0 && share < 0.01) {
    return "<1 %";
  }
  return `${share < 1 ? Math.min(99, Math.round(share * 100)) : Math.round(share * 100)} %`;
}

/** The time of day. */
export const clock = (date) => date.toLocaleTimeString("en-GB");
