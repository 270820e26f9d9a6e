// The page: when it asks the daemon, what it says about the daemon as a whole, and the buttons.

import * as daemon from "./daemon.js";
import { attributes, by, element, text } from "./elements.js";
import * as numbers from "./numbers.js";
import * as rates from "./rates.js";
import * as tables from "./tables.js";

/** Milliseconds between two looks at the counters, which cost the daemon's loops nothing. */
const COUNTERS_EVERY = 2_000;

/** Milliseconds between two lists of connections at least. The loops make the list between their turns. */
const LISTS_EVERY = 5_000;

/** A list that takes long is asked for less often: this many times as long as it took is between two. */
const LISTS_SHARE = 50;

/** Milliseconds that a new process may take to start and to take over. */
const REPLACED_WITHIN = 120_000;

/** The last answer of /stats; null before the first one, and where the next one cannot be compared with it. */
let before = null;
let lastAnswer = null;
let isLost = false;
let stage = "";

// ── Asking ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** Runs `task` at once and again when the milliseconds that it returns are over, but not while the tab is hidden. */
function repeat(task) {
  let timer = null;
  let [isRunning, isAskedAgain] = [false, false];
  async function run() {
    clearTimeout(timer);
    if (isRunning || document.hidden) {
      isAskedAgain = isRunning;
      return;
    }
    [isRunning, isAskedAgain] = [true, false];
    let delay = COUNTERS_EVERY;
    try {
      delay = await task();
    } catch (error) {
      console.error(error);
    }
    isRunning = false;
    timer = delay === null ? null : setTimeout(run, isAskedAgain ? 0 : delay);
  }
  document.addEventListener("visibilitychange", run);
  run();
  return run;
}

/** Looks at the counters. Its failure is how the page notices that the daemon is gone. */
async function counters() {
  let stats;
  try {
    stats = await daemon.read("/stats");
  } catch (error) {
    if (error instanceof daemon.Unauthorized) {
      askForToken();
      return null;
    }
    lost(error instanceof daemon.Refused ? error.message : "");
    return COUNTERS_EVERY;
  }
  answered(stats);
  return COUNTERS_EVERY;
}

/** Looks at the connections, the warnings, and whether the daemon is ready. */
async function lists() {
  if (isLost || lastAnswer === null) {
    return COUNTERS_EVERY;
  }
  const start = performance.now();
  await Promise.allSettled([connections(), warnings(), readiness(), settings()]);
  return Math.max(LISTS_EVERY, LISTS_SHARE * (performance.now() - start));
}

/** A list that changes under a pointer or the focus cannot be used. */
const isInUse = () => by("connections").matches(":hover, :focus-within") || by("confirm").open;

async function connections() {
  try {
    const answer = await daemon.read(`/connections?sort=${by("sort").value}&limit=${tables.COMPARED}`);
    if (!isInUse()) {
      tables.showConnections(Date.now(), answer, close);
    } else {
      text(by("shown"), "paused while you point at it");
    }
  } catch (error) {
    if (error instanceof daemon.Refused) {
      tables.noConnections(error.message);
    }
  }
}

async function warnings() {
  const answer = await daemon.read("/warnings");
  tables.showWarnings(answer);
  if (document.activeElement !== by("level") && answer.log_level !== by("level").dataset.shown) {
    by("level").value = by("level").dataset.shown = answer.log_level;
  }
}

async function settings() {
  tables.keepSettings(await daemon.read("/limits"));
}

async function readiness() {
  const why = await daemon.unready();
  if (stage === "serving") {
    badge(why === "" ? "serving" : "not ready", why === "" ? "good" : "warn");
    banner("condition", why === "" ? "" : `Not ready: ${why}`, "warn");
  }
}

// ── The daemon as a whole ───────────────────────────────────────────────────────────────────────────────────────

function answered(stats) {
  const at = Date.now();
  const isOther = before !== null && (stats.pid !== before.pid || stats.uptime_seconds < before.uptime_seconds);
  if (isOther) {
    banner("news", `Another daemon answers now: process ${stats.pid} instead of ${before.pid}.`, "good");
  }
  rates.show(at, stats, isOther ? null : before);
  tables.showLimits(stats);
  tables.showListeners(stats, isOther ? null : before);
  tables.showTotals(stats);
  facts(stats);
  before = stats;
  lastAnswer = at;
  if (isLost) {
    isLost = false;
    banner("lost", "");
    document.body.classList.remove("stale");
  }
  show("content");
  enter(stats.stage);
}

function facts(stats) {
  text(by("version"), stats.version);
  const fact = (title, value) => element("div", {}, element("dt", {}, title), element("dd", {}, value));
  const all = [["at", location.host], ["up", numbers.duration(stats.uptime_seconds)], ["process", String(stats.pid)]];
  if (stats.reactors > 1) {
    all.push(["loops", String(stats.reactors)]);
  }
  by("process").replaceChildren(...all.map(([title, value]) => fact(title, value)));
}

/** Says how far the daemon is on its way to its end. */
function enter(next) {
  if (next !== stage) {
    stage = next;
    if (stage === "serving") {
      badge("serving", "good");
    } else {
      const what = stage === "announced"
        ? "A drain was requested. The daemon still accepts until its --drain-delay is over; /readyz says 503 meanwhile."
        : "The daemon drains: it accepts no more, answers what it has received, and then ends.";
      badge(stage === "announced" ? "about to drain" : "draining", "warn");
      banner("condition", what, "warn");
    }
  }
  by("drain").hidden = stage !== "serving";
  attributes(by("drain"), { disabled: null });
  offerReplacing();
}

/** Whether this daemon can replace itself; null until it has been asked. */
let canReplace = null;

async function offerReplacing() {
  if (canReplace === null) {
    canReplace = false;
    canReplace = await daemon.takes("/replace").catch(() => null);
  }
  by("replace").hidden = stage !== "serving" || canReplace !== true;
}

function lost(why) {
  if (!isLost) {
    isLost = true;
    const wasEnding = stage === "draining" || stage === "announced";
    const since = lastAnswer === null ? "" : ` The numbers below are from ${numbers.clock(new Date(lastAnswer))}.`;
    const what = why !== "" ? `The daemon cannot answer: ${why}`
      : wasEnding ? "The daemon has ended, as it was asked to."
      : "The daemon no longer answers. It may have ended, or the way to it may be broken.";
    banner("lost", `${what}${since} This page tries again every 2 s.`, "bad");
    badge(wasEnding ? "ended" : "no answer", "bad");
    banner("condition", "");
    banner("news", "");
    document.body.classList.add("stale");
    by("drain").hidden = by("replace").hidden = true;
    [stage, canReplace] = ["", null];
  }
}

function badge(what, kind) {
  text(by("stage"), what);
  attributes(by("stage"), { class: `badge ${kind}` });
  document.title = kind === "good" ? "resound" : `${what} – resound`;
}

/** Says `what` above the content: "lost" interrupts a screen reader, "condition" and "news" wait. */
function banner(id, what, kind = "") {
  const shown = by(id).textContent;
  if (shown !== what) {
    by(id).replaceChildren(...(what === "" ? [] : [element("p", { class: `banner ${kind}` }, what)]));
  }
}

/** Shows the content, or the question for the token instead. */
function show(id) {
  by("login").hidden = id !== "login";
  by("content").hidden = by("footer").hidden = id !== "content";
}

// ── Actions ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Asks whether to go on; resolves to the answer. Escape is no. */
function confirm(title, what, yes) {
  text(by("confirm-title"), title);
  text(by("confirm-text"), what);
  text(by("confirm-yes"), yes);
  const dialog = by("confirm");
  dialog.showModal();
  // Not the event "close": it comes later, when the next question may be open.
  return new Promise((resolve) => {
    const answer = (value) => () => {
      dialog.close();
      resolve(value);
    };
    by("confirm-yes").onclick = answer(true);
    by("confirm-no").onclick = answer(false);
    dialog.oncancel = answer(false);
  });
}

/** Changes something, and says how that went. */
async function act(method, path, body, done, patience) {
  try {
    const said = await daemon.change(method, path, body, patience);
    banner("news", done || said, "good");
  } catch (error) {
    if (error instanceof daemon.Unauthorized) {
      askForToken();
    } else {
      banner("news", error instanceof daemon.Refused ? `Not done: ${error.message}` : "Not done: the daemon does not answer.", "bad");
    }
  }
}

async function drain() {
  const open = before?.connections.open ?? 0;
  const what = `It stops accepting, answers what it has received on ${open === 1 ? "1 connection" : `${numbers.count(open)} connections`}, `
    + "and then ends. Nothing on this page brings it back.";
  if (await confirm("Drain this daemon?", what, "Drain")) {
    attributes(by("drain"), { disabled: "" });
    await act("POST", "/drain", {}, "The drain has been requested.");
    countNow();
  }
}

async function replace() {
  const what = "It starts its program again, which takes over the listeners and the connections. If that fails, this process goes on.";
  if (await confirm("Replace this daemon?", what, "Replace")) {
    attributes(by("replace"), { disabled: "" });
    await act("POST", "/replace", {}, "", REPLACED_WITHIN);
    attributes(by("replace"), { disabled: null });
    countNow();
  }
}

async function close({ name, peer, listener, owed_bytes: owed }) {
  const debt = owed > 0 ? ` The ${numbers.memory(owed)} that it is owed are not sent.` : "";
  const what = `It is closed at once: ${peer ?? "an unknown peer"} at ${listener}.${debt}`;
  if (await confirm(`Close connection ${name}?`, what, "Close it")) {
    await act("POST", `/connections/${encodeURIComponent(name)}/close`, {}, "");
    listNow();
  }
}

function askForToken(error = "") {
  before = lastAnswer = null;
  badge("token needed", "warn");
  banner("lost", "");
  show("login");
  text(by("login-error"), error);
  by("token").focus();
}

by("login").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = by("token").value.trim();
  by("token").value = "";
  if (!/^[!-~]+$/.test(token)) {
    askForToken("A token has only letters, digits and signs of ASCII.");
    return;
  }
  daemon.use(token);
  try {
    await daemon.check();
    text(by("login-error"), "");
    stage = "";
    countNow();
    listNow();
  } catch (error) {
    askForToken(error instanceof daemon.Unauthorized ? "This is not the token. Take the first line of the file." : "The daemon does not answer.");
  }
});

by("log").addEventListener("submit", async (event) => {
  event.preventDefault();
  const level = by("level").value;
  await act("PUT", "/log-level", { level }, `The log level is ${level} now, in all modules.`);
  listNow();
});

by("drain").addEventListener("click", drain);
by("replace").addEventListener("click", replace);
by("sort").addEventListener("change", () => listNow());

const countNow = repeat(counters);
const listNow = repeat(lists);
