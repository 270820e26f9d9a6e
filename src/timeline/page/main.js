// The window on the rows: zoom, move, point, choose, search.

const byId = id => document.getElementById(id);
const canvas = byId('canvas'), rows = byId('rows'), tip = byId('tip'), query = byId('query');
const context = canvas.getContext('2d', { alpha: false });
const data = rowsOf(JSON.parse(byId('trace').textContent));
const margin = Math.max((data.last - data.first) * 0.01, 1);
const limits = { from: data.first - margin, to: data.last + margin };
const state = { data, width: 0, height: 0, ...limits, scroll: 0, matches: null, hits: [], hit: -1, chosen: null, hovered: null };
let isDue = false, lastDraw = 0;

function render() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    const start = performance.now();
    state.scroll = rows.scrollTop;
    draw(context, state);
    lastDraw = performance.now() - start;
  });
}

function resize() {
  const ratio = window.devicePixelRatio || 1;
  [state.width, state.height] = [rows.clientWidth, rows.clientHeight];
  [canvas.width, canvas.height] = [state.width * ratio, state.height * ratio];
  Object.assign(canvas.style, { width: `${state.width}px`, height: `${state.height}px` });
  byId('room').style.height = `${Math.max(0, data.height + RULER - state.height)}px`;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  render();
}

function show(from, to) {
  const size = Math.min(Math.max(to - from, 0.05), limits.to - limits.from);
  const begin = Math.min(Math.max(from, limits.from), limits.to - size);
  [state.from, state.to] = [begin, begin + size];
  render();
}

const size = () => state.to - state.from;
const timeAt = x => state.from + ((x - NAMES) / (state.width - NAMES)) * size();

function zoom(factor, around = (state.from + state.to) / 2) {
  show(around - (around - state.from) * factor, around + (state.to - around) * factor);
}

function move(share) {
  show(state.from + share * size(), state.to + share * size());
}

// The span at a point, or near it.
function at(x, y) {
  if (x < NAMES || y < RULER) return null;
  const row = data.rows.find(row => y - RULER + state.scroll >= row.y && y - RULER + state.scroll < row.y + row.height);
  if (!row?.items) return null;
  const moment = timeAt(x), slack = (4 * size()) / state.width;
  const after = lowerBound(row.start, moment + slack);
  if (row.kind === 'counter') {
    const item = row.items[lowerBound(row.start, moment) - 1];
    return item ? { ...item, row, isCounter: true } : null;
  }
  for (let index = after - 1; index >= 0 && index > after - 64; index--) {
    const item = row.items[index];
    if (item.end + slack >= moment) return Object.assign(item, { row });
  }
  return null;
}

function facts(item) {
  const args = Object.entries(item.args ?? {}).filter(([key]) => key !== 'of');
  const list = item.isCounter ? [['value', item.value.toLocaleString('en')]] : [
    ...(item.of === undefined ? [] : [['of', `${item.of} ${data.peers.get(item.of) ?? ''}`]]),
    ...(item.end > item.start ? [['took', time(item.end - item.start)]] : []),
    ...args.filter(([key]) => !(key === 'peer' && item.of !== undefined)).map(([key, value]) => [key, String(value)]),
  ];
  return [...list, ['at', time(item.start - data.first)]];
}

function describe(into, item) {
  const title = document.createElement('b'), list = document.createElement('dl');
  title.textContent = item.isCounter ? item.row.label : item.name;
  for (const [key, value] of facts(item)) {
    const pair = document.createElement('div');
    for (const [tag, text] of [['dt', key], ['dd', value]]) pair.append(Object.assign(document.createElement(tag), { textContent: text }));
    list.append(pair);
  }
  into.replaceChildren(title, list);
}

function choose(item, isMoved = false) {
  state.chosen = item;
  if (item) {
    describe(byId('chosen'), item);
    if (isMoved) bringIntoView(item);
  } else byId('chosen').replaceChildren(Object.assign(document.createElement('p'), { className: 'dim', textContent: 'Nothing is chosen.' }));
  render();
}

function bringIntoView(item) {
  const length = item.end - item.start;
  if (item.start < state.from || item.end > state.to || length > size()) {
    const wide = Math.max(size(), length * 1.5);
    const from = (item.start + item.end - wide) / 2;
    show(from, from + wide);
  }
  if (item.row.y < rows.scrollTop) rows.scrollTop = item.row.y;
  const below = item.row.y + item.row.height - (state.height - RULER);
  if (below > rows.scrollTop) rows.scrollTop = below;
}

const rowsOfSpans = data.rows.filter(row => row.items && row.kind !== 'counter' && row.items.length);

// The next or previous span of a row; without one that is chosen, the first in view.
function step(by) {
  const row = state.chosen?.row?.kind === 'counter' ? rowsOfSpans[0] : state.chosen?.row ?? rowsOfSpans[0];
  if (!row) return;
  const now = row.items.indexOf(state.chosen);
  const index = now < 0 ? lowerBound(row.start, state.from) : now + by;
  const item = row.items[Math.min(Math.max(index, 0), row.items.length - 1)];
  choose(Object.assign(item, { row }), true);
}

function stepRow(by) {
  const now = rowsOfSpans.indexOf(state.chosen?.row);
  const row = rowsOfSpans[Math.min(Math.max(now + by, 0), rowsOfSpans.length - 1)];
  if (!row) return;
  const index = Math.min(lowerBound(row.start, state.chosen?.start ?? state.from), row.items.length - 1);
  choose(Object.assign(row.items[index], { row }), true);
}

function search(text) {
  const wanted = text.trim().toLowerCase();
  [state.matches, state.hits, state.hit] = [null, [], -1];
  if (wanted) {
    const known = new Map();
    const fits = (kind, text) => {
      const key = kind + text;
      if (!known.has(key)) known.set(key, String(text).toLowerCase().includes(wanted));
      return known.get(key);
    };
    for (const row of rowsOfSpans) {
      for (const item of row.items) {
        const peer = data.peers.get(item.of) ?? item.args.peer;
        const isHit = fits('n', item.name) || (item.of !== undefined && fits('o', item.of)) || (peer !== undefined && fits('p', peer));
        if (isHit) state.hits.push(Object.assign(item, { row }));
      }
    }
    state.hits.sort((a, b) => a.start - b.start || a.row.y - b.row.y);
    state.matches = new Set(state.hits);
  }
  tell();
  render();
}

function tell() {
  const count = state.hits.length.toLocaleString('en');
  byId('found').textContent = !state.matches ? '' : state.hit < 0 ? `${count} found` : `${state.hit + 1} of ${count}`;
}

function nextHit(by) {
  const count = state.hits.length;
  if (!count) return;
  const inView = state.hits.findIndex(item => item.start >= state.from);
  state.hit = state.hit < 0 ? Math.max(inView, 0) : (state.hit + by + count) % count;
  tell();
  choose(state.hits[state.hit], true);
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === 'Escape') {
    query.value = '';
    search('');
    choose(null);
    return canvas.focus();
  }
  if (event.target === query) {
    if (event.key === 'Enter' && event.shiftKey) {
      event.preventDefault();
      nextHit(-1);
    }
    return;
  }
  const page = state.height - RULER;
  const actions = {
    w: () => zoom(0.7), '+': () => zoom(0.7), '=': () => zoom(0.7), s: () => zoom(1 / 0.7), '-': () => zoom(1 / 0.7),
    a: () => move(-0.2), ArrowLeft: () => move(-0.2), d: () => move(0.2), ArrowRight: () => move(0.2),
    ArrowUp: () => rows.scrollBy(0, -40), ArrowDown: () => rows.scrollBy(0, 40), PageUp: () => rows.scrollBy(0, -page), PageDown: () => rows.scrollBy(0, page),
    ',': () => step(-1), '.': () => step(1), '<': () => stepRow(-1), '>': () => stepRow(1), ';': () => stepRow(-1), ':': () => stepRow(1),
    f: () => { if (state.chosen) show(state.chosen.start - (state.chosen.end - state.chosen.start) * 0.2 - 0.5, state.chosen.end + (state.chosen.end - state.chosen.start) * 0.2 + 0.5); },
    0: () => show(limits.from, limits.to), Home: () => show(limits.from, limits.from + size()), End: () => show(limits.to - size(), limits.to),
    '/': () => query.focus(),
  };
  const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

const pointers = new Map();
let isDragged = false;

canvas.addEventListener('pointerdown', event => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, event);
  isDragged = false;
});
canvas.addEventListener('pointermove', event => {
  const before = pointers.get(event.pointerId);
  if (!before) return point(event);
  const [dx, dy] = [event.offsetX - before.offsetX, event.offsetY - before.offsetY];
  if (!isDragged && Math.hypot(dx, dy) < 4) return;
  isDragged = true;
  tip.hidden = true;
  const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
  if (other) {
    const apart = pointer => Math.max(Math.abs(pointer.offsetX - other.offsetX), 8);
    zoom(apart(before) / apart(event), timeAt(other.offsetX));
  } else {
    move(-dx / (state.width - NAMES));
    rows.scrollTop -= dy;
  }
  pointers.set(event.pointerId, event);
});
canvas.addEventListener('pointerup', event => {
  pointers.delete(event.pointerId);
  if (!isDragged) choose(at(event.offsetX, event.offsetY));
});
canvas.addEventListener('pointercancel', event => pointers.delete(event.pointerId));
canvas.addEventListener('pointerleave', () => {
  tip.hidden = true;
  state.hovered = null;
  render();
});

function point(event) {
  const item = at(event.offsetX, event.offsetY);
  if (item !== state.hovered) render();
  state.hovered = item;
  tip.hidden = !item;
  if (!item) return;
  describe(tip, item);
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  tip.style.left = `${Math.max(0, Math.min(event.offsetX + 14, state.width - width - 4))}px`;
  tip.style.top = `${event.offsetY + 18 + height > state.height ? Math.max(0, event.offsetY - height - 10) : event.offsetY + 18}px`;
}

canvas.addEventListener('wheel', event => {
  if (event.offsetX < NAMES) return;
  event.preventDefault();
  const pixels = event.deltaMode === 1 ? 16 : 1;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) move(((event.deltaX || event.deltaY) * pixels) / state.width);
  else zoom(Math.exp(event.deltaY * pixels * 0.002), timeAt(event.offsetX));
}, { passive: false });

rows.addEventListener('scroll', render);
document.addEventListener('keydown', key);
query.addEventListener('input', () => search(query.value));
byId('search').addEventListener('submit', event => {
  event.preventDefault();
  nextHit(1);
});
byId('in').addEventListener('click', () => zoom(0.7));
byId('out').addEventListener('click', () => zoom(1 / 0.7));
byId('all').addEventListener('click', () => show(limits.from, limits.to));
byId('keys').addEventListener('click', () => {
  byId('help').hidden = !byId('help').hidden;
  byId('keys').setAttribute('aria-expanded', String(!byId('help').hidden));
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  readColors();
  render();
});
new ResizeObserver(resize).observe(rows);

byId('about').textContent = `${data.count.toLocaleString('en')} events in ${time(data.last - data.first)}`;
readColors();
resize();
