// Trace events become rows: what each loop did, by depth; counters; the frames of each connection.

// The first index whose value is at least `value`.
function lowerBound(values, value) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function rowsOf(trace) {
  const events = Array.isArray(trace) ? trace : trace.traceEvents;
  const timed = events.filter(event => event.ph !== 'M').sort((a, b) => a.ts - b.ts);
  const names = new Map(), loops = new Map(), begun = new Map(), flows = new Map(), peers = new Map();
  for (const event of events) {
    if (event.ph === 'M' && event.name === 'thread_name') names.set(event.tid, event.args.name);
  }
  const loop = tid => {
    if (!loops.has(tid)) loops.set(tid, { open: [], depths: [], instants: [], counters: new Map(), frames: new Map() });
    return loops.get(tid);
  };
  const put = (map, key, item) => map.has(key) ? map.get(key).push(item) : map.set(key, [item]);
  let last = 0;
  for (const event of timed) {
    const at = loop(event.tid), args = event.args ?? {};
    const item = { name: event.name, of: args.of, args, start: event.ts, end: event.ts + (event.dur ?? 0), tid: event.tid };
    last = Math.max(last, item.end);
    if (args.of !== undefined && args.peer !== undefined) peers.set(args.of, args.peer);
    if (event.ph === 'X') {
      while (at.open.length && at.open.at(-1) <= item.start + 0.0005) at.open.pop();
      (at.depths[at.open.length] ??= []).push(item);
      at.open.push(item.end);
    } else if (event.ph === 'i' || event.ph === 'I') {
      at.instants.push(item);
    } else if (event.ph === 'C') {
      put(at.counters, event.name, { ...item, value: Number(Object.values(args)[0]) });
    } else if (event.ph === 'b') {
      begun.set(event.cat + event.id, item);
      put(at.frames, args.of ?? event.name, item);
    } else if (event.ph === 'e') {
      const item = begun.get(event.cat + event.id);
      if (item) Object.assign(item, { end: event.ts, args: { ...item.args, ...args } });
    } else if (event.ph === 's') {
      flows.set(event.id, { from: event.ts });
    } else if (event.ph === 'f' && flows.has(event.id)) {
      Object.assign(flows.get(event.id), { to: event.ts, tid: event.tid });
    }
  }
  const rows = [];
  const spans = (label, items, extra = {}) => {
    let latest = -Infinity;
    const start = Float64Array.from(items, item => item.start);
    // Never smaller than one before, so that it can be searched.
    const end = Float64Array.from(items, item => (latest = Math.max(latest, item.end)));
    rows.push({ kind: 'spans', label, items, start, end, height: 20, ...extra });
  };
  const byNumber = (a, b) => a[0].localeCompare(b[0], 'en', { numeric: true });
  for (const [tid, at] of [...loops].sort(([a], [b]) => a - b)) {
    const name = names.get(tid) ?? `thread ${tid}`;
    rows.push({ kind: 'title', label: name, height: 24 });
    at.depths.forEach((items, depth) => spans(depth === 0 ? 'loop' : '', items, { isLoop: depth === 0 }));
    if (at.instants.length) spans('instants', at.instants, { kind: 'instants' });
    for (const [label, items] of at.counters) {
      const highest = items.reduce((highest, item) => Math.max(highest, item.value), 0);
      const start = Float64Array.from(items, item => item.start);
      rows.push({ kind: 'counter', label, items, start, highest, height: 34 });
    }
    if (at.frames.size) rows.push({ kind: 'title', label: `frames of ${at.frames.size.toLocaleString('en')} ${at.frames.size === 1 ? 'connection' : 'connections'}`, height: 24 });
    for (const [of, frames] of [...at.frames].sort(byNumber)) spans(`${of} ${peers.get(of) ?? ''}`, merged(frames), { of });
  }
  let y = 0;
  for (const row of rows) {
    row.y = y;
    y += row.height;
  }
  const all = [...flows.values()].filter(flow => flow.to !== undefined);
  // The first poll has begun with the recorder, perhaps long before anything happened.
  const first = timed.length ? timed.find(event => event.dur === undefined || event.ts > 0)?.ts ?? timed[0].ts : 0;
  return { rows, height: y, flows: all, peers, first, last: Math.max(last, first + 1), count: timed.length };
}

// Frames that begin and end together are drawn as one.
function merged(frames) {
  const some = [];
  for (const frame of frames) {
    const before = some.at(-1), count = Number(frame.args.frames ?? 1);
    if (before && before.start === frame.start && before.end === frame.end) before.args.frames = (before.args.frames ?? 1) + count;
    else some.push({ ...frame, args: { ...frame.args } });
  }
  return some;
}

// A length of time in words: 12.3 µs.
function time(microseconds) {
  const units = [['s', 1e6], ['ms', 1e3], ['µs', 1], ['ns', 1e-3]];
  const [unit, size] = units.find(([, size]) => Math.abs(microseconds) >= size) ?? units.at(-1);
  return `${Number((microseconds / size).toPrecision(unit === 'ns' ? 3 : 6))} ${unit}`;
}
