// The tables below: limits, listeners, totals, connections and warnings.

import { attributes, by, element, list, rows, text } from "./elements.js";
import * as numbers from "./numbers.js";

const name = (value, below = "") => element("th", { scope: "row", class: "wrap" }, value, element("small", {}, below));
const number = (value, below = "") => element("td", { class: "number" }, value, element("small", {}, below));

/** The answer of /limits; null before the first. */
let settings = null;

export function keepSettings(answer) {
  settings = answer;
}

/** The limits: what is used, how much there may be, how either is written, and how often it was reached. */
function limits(stats) {
  const { connections, descriptors } = stats;
  const closed = (reason) => connections.closed[reason] ?? 0;
  const all = [
    { name: "connections", now: connections.open, most: connections.limit, write: numbers.count,
      reached: stats.accept_waits + connections.refused, why: stats.accept_waits > 0 ? "accepting waited" : "refused" },
    { name: "memory of buffers", now: stats.buffered_bytes, most: stats.buffered_limit_bytes, write: numbers.memory,
      reached: closed("at the memory limit"), why: "closed" },
  ];
  if (descriptors) {
    all.push({ name: "file descriptors", now: descriptors.open, most: descriptors.limit, write: numbers.count,
      reached: stats.accept_pauses, why: "accepting paused" });
  }
  return [...all, ...settings ? timeouts(settings, closed) : []];
}

/** The limits of time, of which nothing is used up, and that for each address. `closed` tells how often a reason was given. */
function timeouts(settings, closed) {
  const time = (seconds) => seconds === null ? "off" : seconds >= 1 ? numbers.duration(seconds) : numbers.short(seconds);
  const each = settings.max_connections_per_ip;
  const all = [["idle timeout", settings.idle_timeout_seconds, "on idle timeout"],
    ["frame timeout", settings.frame_timeout_seconds, "on frame timeout"],
    ["handshake timeout", settings.handshake_timeout_seconds, "on handshake timeout"],
    ["write timeout", settings.write_timeout_seconds, "on write timeout"]];
  return [
    { name: "connections per address", is: each === null ? "off" : numbers.count(each), reached: null },
    ...all.map(([name, seconds, reason]) => ({ name, is: time(seconds), reached: closed(reason), why: "closed" })),
  ];
}

/** A bar, its colour a warning from 80 % on, and its share in words. */
function meter({ name, now, most }) {
  const share = most > 0 ? now / most : 0;
  const level = share >= 0.95 ? "bad" : share >= 0.8 ? "warn" : "";
  const fill = element("i");
  fill.style.width = `${Math.min(100, share * 100)}%`;
  const values = { role: "meter", "aria-valuemin": 0, "aria-valuemax": most, "aria-valuenow": now,
    "aria-valuetext": numbers.percent(share), "aria-label": `${name} used` };
  const bar = element("span", values, fill);
  return element("td", {}, element("div", { class: `meter ${level}` }, bar, element("span", {}, numbers.percent(share))));
}

export function showLimits(stats) {
  rows(by("limits").tBodies[0], limits(stats), [
    (limit) => name(limit.name, limit.is ?? `${limit.write(limit.now)} of ${limit.write(limit.most)}`),
    (limit) => limit.is ? element("td") : meter(limit),
    (limit) => number(limit.reached === null ? "" : limit.reached > 0 ? `${numbers.count(limit.reached)} ×` : "never", limit.reached > 0 ? limit.why : ""),
  ]);
}

/** Shows the listeners of two successive answers of /stats; `before` may be null. */
export function showListeners(stats, before) {
  const perSecond = (listener, counter) => {
    const seconds = before && stats.uptime_seconds - before.uptime_seconds;
    const then = before?.listeners.find((other) => other.name === listener.name);
    return then && seconds > 0 ? (counter(listener) - counter(then)) / seconds : 0;
  };
  rows(by("listeners").tBodies[0], stats.listeners, [
    (l) => name(l.name, `${numbers.count(l.connections.accepted)} accepted`
      + (l.connections.refused > 0 ? `, ${numbers.count(l.connections.refused)} refused` : "")),
    (l) => number(numbers.count(l.connections.open), `${numbers.rate(perSecond(l, (of) => of.connections.accepted))}/s`),
    (l) => number(numbers.count(l.frames), `${numbers.rate(perSecond(l, (of) => of.frames))}/s`),
  ]);
}

export function showTotals(stats) {
  const { connections } = stats;
  const all = [
    ["frames cut short by the peer", stats.truncated],
    ["frames over the length limit", stats.too_long],
    ["malformed input", stats.malformed],
    ["datagrams without an answer", stats.datagrams_dropped],
    ["connections refused", connections.refused],
    ...Object.entries(connections.closed).map(([reason, many]) => [`connections closed: ${reason}`, many]),
  ];
  const some = all.filter(([, many]) => many > 0).sort(([, one], [, other]) => other - one);
  const shown = some.length > 0 ? some : [["nothing was closed or refused", null]];
  rows(by("totals").tBodies[0], shown, [([what]) => name(what), ([, many]) => number(many === null ? "" : numbers.count(many))]);
}

/** Connections that are shown. */
const SHOWN = 10;

/** Connections that are asked for: more than are shown, so that most of those that come up have been there before. */
export const COMPARED = 50;

/** Each column of the connections: its title, and the lines of a cell. */
const COLUMNS = [
  ["Peer", (c) => [c.peer ?? "–", c.listener]],
  ["State, waits for", (c) => [c.state, `${c.waits_for}${left(c)}`]],
  ["Received", (c) => [numbers.traffic(c.received_bytes), c.receives === undefined ? "" : `${numbers.traffic(c.receives)}/s`]],
  ["Sent", (c) => [numbers.traffic(c.sent_bytes), c.sends === undefined ? "" : `${numbers.traffic(c.sends)}/s`]],
  ["Frames", (c) => [numbers.count(c.frames), c.answers === undefined ? "" : `${numbers.rate(c.answers)}/s`]],
  ["Held, owed", (c) => [`${numbers.memory(c.held_bytes)} held`, `${numbers.memory(c.owed_bytes)} owed`]],
  ["Round trip", (c) => [c.rtt_seconds === null ? "–" : numbers.short(c.rtt_seconds), trouble(c)]],
  ["Open for", (c) => [numbers.duration(c.age_seconds), c.name]],
];

/** What TCP could not send, or not at once; nothing on a good way. */
const trouble = (c) => [
  c.retransmissions > 0 ? `${numbers.count(c.retransmissions)} sent again` : "",
  c.unsent_bytes > 0 ? `${numbers.memory(c.unsent_bytes)} unsent` : "",
].filter((part) => part !== "").join(", ");

const left = (c) => c.seconds_left === null ? "" : `, at most ${numbers.coarse(c.seconds_left)}`;

const cell = (title) => element("td", { role: "cell", "data-label": title }, element("span"), element("small"));

/** What the connections had at the last answer, to tell what they do now. */
let last = new Map();

/** Shows an answer of /connections, received `at`; `close(connection)` is what the buttons do. */
export function showConnections(at, answer, close) {
  const table = by("connections");
  const some = answer.connections.map((c) => {
    const before = last.get(c.name);
    const seconds = before && (at - before.at) / 1000;
    const rate = (now, then) => seconds > 0 ? Math.max(0, now - then) / seconds : undefined;
    return { ...c, at, receives: rate(c.received_bytes, before?.received_bytes),
      sends: rate(c.sent_bytes, before?.sent_bytes), answers: rate(c.frames, before?.frames) };
  });
  last = new Map(some.map((c) => [c.name, c]));
  const shown = some.slice(0, SHOWN);
  if (table.tHead.rows.length === 0) {
    const titles = COLUMNS.map(([title]) => element("th", { scope: "col", role: "columnheader" }, title));
    const buttons = element("th", { scope: "col", role: "columnheader" }, element("span", { class: "hidden" }, "Action"));
    table.tHead.append(element("tr", { role: "row" }, ...titles, buttons));
  }
  const make = () => {
    const button = element("button", { type: "button" }, "Close…");
    button.addEventListener("click", () => close(button.connection));
    const row = element("tr", { role: "row" }, ...COLUMNS.map(([title]) => cell(title)), element("td", { role: "cell" }, button));
    row.firstElementChild.firstElementChild.className = "peer wrap";
    return row;
  };
  list(table.tBodies[0], shown, make, (row, c) => {
    COLUMNS.forEach(([, lines], index) => {
      const [first, second] = lines(c);
      text(row.cells[index].firstElementChild, first);
      text(row.cells[index].lastElementChild, second);
    });
    const button = row.lastElementChild.firstElementChild;
    button.connection = c;
    attributes(button, { "aria-label": `Close connection ${c.name} of ${c.peer ?? "an unknown peer"}` });
  });
  table.hidden = some.length === 0;
  text(by("shown"), shown.length < answer.total ? `${shown.length} of ${numbers.count(answer.total)}` : "");
  text(by("unlisted"), some.length === 0 ? "No connection is open." : "");
}

/** Instead of the connections: why there are none to show. */
export function noConnections(why) {
  by("connections").hidden = true;
  text(by("shown"), "");
  text(by("unlisted"), `The connections cannot be listed: ${why}`);
}

export function showWarnings({ warnings, total }) {
  const make = () => element("li", {}, element("time"), element("span", { class: "level" }),
    element("span", {}, element("span"), element("small")));
  list(by("warnings"), warnings, make, (item, { time, level, target, message, count }) => {
    const [when, how, what] = item.children;
    const date = new Date(time);
    const today = date.toDateString() === new Date().toDateString();
    text(when, today ? numbers.clock(date) : `${date.toLocaleDateString("en-CA")} ${numbers.clock(date)}`);
    attributes(when, { datetime: time });
    text(how, level);
    attributes(how, { class: `level ${level === "error" ? "bad-text" : "warning"}` });
    text(what.firstElementChild, message);
    text(what.lastElementChild, `  ${count > 1 ? `${numbers.count(count)} times, ` : ""}${target}`);
  });
  const sum = warnings.reduce((sum, { count }) => sum + count, 0);
  text(by("kept"), sum < total ? `${numbers.count(total)} since the start; the last ones are kept` : "");
  text(by("quiet"), warnings.length === 0 ? "None since the start." : "");
}
