// Draws the rows that are in view. A row costs at most as much as it has columns of pixels, however many spans it has.

const NAMES = 170, RULER = 26;
const KNOWN = { poll: 'poll', turn: 'turn', accept: 'accept', open: 'accept', datagrams: 'turn', commands: 'other', read: 'read', protocol: 'protocol', write: 'write', close: 'close', 'send FIN': 'close' };
let colors = {};

function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ['page', 'card', 'ink', 'dim', 'rule', 'accent', 'band', 'poll', 'turn', 'accept', 'read', 'protocol', 'write', 'close', 'other', 'frame', 'count', 'mark']) {
    colors[name] = style.getPropertyValue(`--${name}`).trim();
  }
}

const colorOf = item => colors[KNOWN[item.name] ?? (item.name.startsWith('frame') ? 'frame' : 'other')];

function draw(context, state) {
  const { data, width, height, from, to, scroll, chosen, hovered } = state;
  const scale = (width - NAMES) / (to - from);
  const x = time => NAMES + (time - from) * scale;
  context.fillStyle = colors.card;
  context.fillRect(0, 0, width, height);
  context.font = '12px system-ui, sans-serif';
  context.textBaseline = 'middle';
  const visible = data.rows.filter(row => row.y + row.height > scroll && row.y < scroll + height - RULER);
  context.save();
  context.beginPath();
  context.rect(NAMES, RULER, width - NAMES, height - RULER);
  context.clip();
  for (const row of visible) {
    const y = RULER + row.y - scroll;
    if (row.kind === 'title') {
      context.fillStyle = colors.band;
      context.fillRect(NAMES, y, width, row.height);
    } else if (row.kind === 'counter') drawCounter(context, state, row, y, x);
    else drawSpans(context, state, row, y, x, scale);
  }
  drawFlows(context, state, x);
  context.restore();
  for (const row of visible) drawName(context, row, RULER + row.y - scroll);
  drawRuler(context, state, x, scale);
  for (const [item, isChosen] of [[hovered, false], [chosen, true]]) {
    if (item?.row?.start === undefined) continue;
    const y = RULER + item.row.y - scroll;
    if (y < RULER - item.row.height) continue;
    context.strokeStyle = isChosen ? colors.accent : colors.ink;
    context.lineWidth = 2;
    const left = Math.max(NAMES, x(item.start)), right = Math.min(width, x(item.end));
    if (right >= NAMES && left <= width) context.strokeRect(left, Math.max(y, RULER) + 1, Math.max(2, right - left), item.row.height - 2);
  }
}

function drawSpans(context, state, row, y, x, scale) {
  const { from, to, matches } = state;
  const { start, end, items } = row;
  const isInstants = row.kind === 'instants';
  // Thin spans side by side in one color are drawn as one.
  let run = null;
  const drawRun = () => {
    if (!run) return;
    context.globalAlpha = run.alpha;
    context.fillStyle = run.color;
    context.fillRect(run.left, y + 2, run.right - run.left, row.height - 4);
    run = null;
  };
  let index = lowerBound(end, from);
  while (index < items.length && start[index] <= to) {
    const item = items[index], left = x(start[index]), size = (item.end - start[index]) * scale;
    const color = isInstants ? colors.mark : colorOf(item);
    let alpha = matches && !matches.has(item) ? 0.25 : 1;
    if (isInstants || size < 1.5) {
      const column = Math.floor(left);
      // Of spans that share a column of pixels the first is drawn, in full if the search has found any of them.
      const next = Math.max(index + 1, lowerBound(start, from + (column + 1 - NAMES) / scale));
      for (let other = index + 1; alpha < 1 && other < Math.min(next, index + 500); other++) if (matches.has(items[other])) alpha = 1;
      const right = column + (isInstants ? 3 : 1.5);
      if (run && run.color === color && run.alpha === alpha && column <= run.right) run.right = right;
      else {
        drawRun();
        run = { color, alpha, left: column, right };
      }
      // The last of them may go on beyond it.
      const goesOn = next - 1 > index && !isInstants && x(items[next - 1].end) > right;
      index = goesOn ? next - 1 : next;
      continue;
    }
    drawRun();
    const shown = Math.max(left, NAMES), room = Math.min(left + size, state.width) - shown;
    context.globalAlpha = alpha;
    context.fillStyle = color;
    context.fillRect(shown, y + 1, Math.max(room - (size > 4 ? 1 : 0), 1), row.height - 2);
    const frames = item.args.frames, text = row.of === undefined ? label(item) : `${frames} ${frames === 1 ? 'frame' : 'frames'}`;
    const fits = Math.floor((room - 8) / 6.2);
    if (fits >= Math.min(text.length, 6)) {
      context.fillStyle = colors.ink;
      context.fillText(text.length > fits ? `${text.slice(0, fits - 1)}…` : text, shown + 4, y + row.height / 2, room - 6);
    }
    index += 1;
  }
  drawRun();
  context.globalAlpha = 1;
}

function label(item) {
  const bytes = item.args.bytes;
  if (item.args.would_block) return `${item.name}: would block`;
  if (item.args.eof) return `${item.name}: EOF`;
  if (bytes !== undefined) return `${item.name} ${bytes} B`;
  return item.name === 'turn' ? `turn ${item.of}` : item.name;
}

function drawCounter(context, state, row, y, x) {
  const { from, to, width } = state;
  const bottom = y + row.height - 3, size = row.height - 8;
  const level = value => bottom - (row.highest ? (value / row.highest) * size : 0);
  let index = Math.max(0, lowerBound(row.start, from) - 1);
  // Of the values in one column of pixels, the highest and the last are drawn.
  let [column, highest, last] = [Math.floor(Math.max(NAMES, x(row.start[index]))), bottom, bottom];
  context.beginPath();
  context.moveTo(column, bottom);
  const drawColumn = () => {
    context.lineTo(column, highest);
    context.lineTo(column, last);
  };
  for (; index < row.start.length && row.start[index] <= to; index++) {
    const next = Math.floor(Math.max(NAMES, x(row.start[index]))), value = level(row.items[index].value);
    if (next !== column) {
      drawColumn();
      context.lineTo(next, last);
      [column, highest] = [next, value];
    }
    [highest, last] = [Math.min(highest, value), value];
  }
  drawColumn();
  const right = Math.min(width, x(state.data.last));
  context.lineTo(right, last);
  context.lineTo(right, bottom);
  context.closePath();
  context.fillStyle = colors.count;
  context.globalAlpha = 0.25;
  context.fill();
  context.globalAlpha = 1;
  context.strokeStyle = colors.count;
  context.lineWidth = 1;
  context.stroke();
}

// From the turn in which a frame became complete to the write that sent the reply, for the chosen span.
function drawFlows(context, state, x) {
  const item = state.chosen;
  if (!item || item.end === undefined) return;
  const near = state.data.flows.filter(flow => flow.tid === item.tid && ((flow.from >= item.start && flow.from <= item.end) || (flow.to >= item.start && flow.to <= item.end)));
  const row = state.data.rows.find(row => row.isLoop && row.items[0].tid === item.tid);
  if (!row) return;
  const y = RULER + row.y - state.scroll + 10;
  context.strokeStyle = colors.accent;
  context.lineWidth = 1.5;
  for (const flow of near.slice(0, 200)) {
    const [left, right] = [x(flow.from), x(flow.to)];
    if (right - left < 3) continue;
    context.beginPath();
    context.moveTo(left, y);
    context.bezierCurveTo(left, y + 26, right, y + 26, right, y + 8);
    context.lineTo(right - 4, y + 14);
    context.moveTo(right, y + 8);
    context.lineTo(right + 4, y + 14);
    context.stroke();
  }
}

function drawName(context, row, y) {
  context.fillStyle = row.kind === 'title' ? colors.band : colors.card;
  context.fillRect(0, y, NAMES, row.height);
  context.fillStyle = row.kind === 'title' ? colors.ink : colors.dim;
  context.font = row.kind === 'title' ? '600 12px system-ui, sans-serif' : '12px system-ui, sans-serif';
  const text = row.kind === 'counter' ? `${row.label} ≤ ${row.highest.toLocaleString('en')}` : row.label;
  context.fillText(text, 8, y + row.height / 2, NAMES - 12);
  context.font = '12px system-ui, sans-serif';
}

function drawRuler(context, state, x, scale) {
  const { from, to, width, height, data } = state;
  context.fillStyle = colors.page;
  context.fillRect(0, 0, width, RULER);
  const least = 90 / scale, power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(step => step >= least);
  context.fillStyle = colors.dim;
  context.fillText('since the start', 8, RULER / 2);
  for (let at = Math.ceil((from - data.first) / step) * step; data.first + at < to; at += step) {
    const column = Math.round(x(data.first + at));
    if (column < NAMES) continue;
    context.fillStyle = colors.rule;
    context.globalAlpha = 0.6;
    context.fillRect(column, RULER, 1, height);
    context.globalAlpha = 1;
    context.fillStyle = colors.dim;
    context.fillRect(column, RULER - 6, 1, 6);
    context.fillText(at === 0 ? '0' : time(at), column + 4, RULER / 2);
  }
  context.fillStyle = colors.rule;
  context.fillRect(0, RULER - 1, width, 1);
  context.fillRect(NAMES - 1, 0, 1, height);
}
