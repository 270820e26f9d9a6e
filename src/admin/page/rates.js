// The tiles on top: what the daemon does now, and has done in the last minutes.

import { attributes, by, drawn, element, text } from "./elements.js";
import * as numbers from "./numbers.js";

/** Milliseconds that a chart shows. */
const SPAN = 180_000;

/** A gap of more milliseconds between two samples is a gap in the chart: the tab was hidden, or there was no answer. */
const GAP = 7_000;

const [WIDTH, HEIGHT] = [240, 52];

/** Each tile: its title, its value of two successive counts, how it is written, its unit, and what is noted below. */
const TILES = [
  { title: "Connections", value: (now) => now.connections.open, write: numbers.count, unit: "",
    note: (now) => `of ${numbers.count(now.connections.limit)}` },
  { title: "Accepted", value: perSecond((stats) => stats.connections.accepted), write: numbers.rate, unit: "/s",
    note: (now) => `${numbers.count(now.connections.accepted)} in all` },
  { title: "Frames", value: perSecond((stats) => stats.frames), write: numbers.rate, unit: "/s",
    note: (now) => `${numbers.count(now.frames)} in all` },
  { title: "Received", value: perSecond((stats) => stats.received_bytes), write: numbers.traffic, unit: "/s",
    note: (now) => `${numbers.traffic(now.received_bytes)} in all` },
  { title: "Sent", value: perSecond((stats) => stats.sent_bytes), write: numbers.traffic, unit: "/s",
    note: (now) => `${numbers.traffic(now.sent_bytes)} in all` },
  { title: "Turns, 99 % within", value: turns(0.99), write: numbers.short, unit: "",
    note: (now, before) => {
      const half = turns(0.5)(now, before);
      return half === null ? "none" : `half within ${numbers.short(half)}`;
    } },
];

/** How long turns took at most, but for the longest ones: the share that is not asked about. */
function turns(share) {
  return (now, before) => quantile(now.turn_duration_seconds, before?.turn_duration_seconds, share);
}

/** A quantile of what has been counted between two cumulative histograms; null where that is nothing. */
function quantile(now, before, share) {
  if (!now || !before || now.count <= before.count) {
    return null;
  }
  const buckets = now.buckets.map(({ le, count }, index) => ({ le, count: count - before.buckets[index].count }));
  const sought = share * buckets.at(-1).count;
  const index = buckets.findIndex(({ count }) => count >= sought);
  const below = index > 0 ? buckets[index - 1] : { le: 0, count: 0 };
  const { le, count } = buckets[index];
  // Within a bucket all values are taken to be equally frequent; the last one has no end.
  return le === null ? below.le : below.le + (le - below.le) * (sought - below.count) / (count - below.count);
}

/** How much of a counter a second there was between two answers of /stats, by the daemon's own clock. */
function perSecond(counter) {
  return (now, before) => {
    const seconds = before && now.uptime_seconds - before.uptime_seconds;
    return seconds > 0 ? Math.max(0, counter(now) - counter(before)) / seconds : null;
  };
}

/** A tile and its past. */
class Tile {
  constructor({ title, value, write, unit, note }) {
    Object.assign(this, { title, value, write, unit, note, past: [] });
    this.number = element("span");
    this.below = element("p", { class: "note" });
    this.line = drawn("path", { class: "line" });
    this.area = drawn("path", { class: "area" });
    this.name = drawn("title");
    this.chart = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      this.name, drawn("path", { class: "base", d: `M0 ${HEIGHT - 0.5}H${WIDTH}` }), this.area, this.line);
    const value_ = element("p", { class: "value" }, this.number, element("small", {}, unit));
    by("tiles").append(element("div", { class: "tile" }, element("h3", {}, title), value_, this.below, this.chart));
  }

  show(at, now, before) {
    const value = this.value(now, before);
    if (value !== null) {
      this.past.push({ at, value });
    }
    this.past = this.past.filter((sample) => sample.at > at - SPAN);
    text(this.number, value === null ? "–" : this.write(value));
    text(this.below, this.note(now, before));
    const values = this.past.map((sample) => sample.value);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const write = (number) => this.write(number) + this.unit;
    text(this.name, values.length === 0 ? `${this.title}: nothing measured yet`
      : `${this.title} in the last 3 minutes: lowest ${write(least)}, highest ${write(most)}`);
    const paths = draw(this.past, at, most);
    attributes(this.line, { d: paths.line });
    attributes(this.area, { d: paths.area });
  }
}

/** The paths of a chart from 0 to `most`. */
function draw(past, at, most) {
  const x = (sample) => (WIDTH * (1 - (at - sample.at) / SPAN)).toFixed(1);
  const y = (sample) => (HEIGHT - 2 - (HEIGHT - 8) * sample.value / (most || 1)).toFixed(1);
  let [line, area] = ["", ""];
  for (let from = 0, to; from < past.length; from = to) {
    to = from + 1;
    while (to < past.length && past[to].at - past[to - 1].at < GAP) {
      to += 1;
    }
    const points = past.slice(from, to).map((sample) => `${x(sample)} ${y(sample)}`);
    line += `M${points.join("L")}`;
    area += `M${x(past[from])} ${HEIGHT}L${points.join("L")}L${x(past[to - 1])} ${HEIGHT}Z`;
  }
  return { line, area };
}

const tiles = TILES.map((tile) => new Tile(tile));

/** Shows two successive answers of /stats, the second of `at`; `before` is null where there is none to compare with. */
export function show(at, now, before) {
  tiles.forEach((tile) => tile.show(at, now, before));
}
