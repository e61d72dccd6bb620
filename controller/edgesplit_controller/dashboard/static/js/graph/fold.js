/**
 * Folding of a long layout into rows, like words of a text: deep networks are strips that no screen shows at once.
 *
 * Owns: where the strip is broken and where its rows lie. Its rule: pure; an item belongs to the row in which its middle lies, reading goes on
 * from left to right. Not here: the layout itself.
 */

/**
 * @typedef {{x: number, y: number, width: number, height: number}} Rect Left upper corner and size. [px]
 * @typedef {{from: number, to: number, points: {x: number, y: number}[]}} Line
 */

const ROW_GAP = 44;
/** A row may be longer or shorter than the mean by so much, to be broken where fewer lines cross. */
const PLAY = 0.3;

/**
 * @param {Rect[]} rects Of a layout from left to right.
 * @param {Line[]} lines Between them.
 * @param {number} aspect Width over height of where it is shown.
 * @returns {{rects: Rect[], lines: Line[], width: number, height: number, rows: number}}
 */
export function folded(rects, lines, aspect) {
  const width = Math.max(0, ...extent(rects, (rect) => rect.x + rect.width));
  const height = Math.max(0, ...extent(rects, (rect) => rect.y + rect.height));
  const rows = Math.max(1, Math.round(Math.sqrt(width / (aspect * (height + ROW_GAP)))));
  if (rows === 1) return { rects, lines, width, height, rows };
  const breaks = breaksOf(rects, lines, width, rows);
  const rowOf = rects.map((rect) => rowAt(breaks, rect.x + rect.width / 2));
  const used = [...new Set(rowOf)].sort((a, b) => a - b);
  /** @type {Map<number, {dx: number, dy: number, bottom: number}>} */
  const shifts = new Map();
  let top = 0;
  for (const row of used) {
    const members = rects.filter((_, index) => rowOf[index] === row);
    const left = Math.min(...extent(members, (rect) => rect.x));
    const upper = Math.min(...extent(members, (rect) => rect.y));
    const lower = Math.max(...extent(members, (rect) => rect.y + rect.height));
    shifts.set(row, { dx: -left, dy: top - upper, bottom: top + lower - upper });
    top += lower - upper + ROW_GAP;
  }
  const moved = rects.map((rect, index) => {
    const shift = /** @type {{dx: number, dy: number}} */ (shifts.get(rowOf[index]));
    return { ...rect, x: rect.x + shift.dx, y: rect.y + shift.dy };
  });
  const redrawn = lines.map((line) => {
    const shift = shifts.get(rowOf[line.from]);
    if (shift === undefined || rowOf[line.from] !== rowOf[line.to]) return { ...line, points: around(line, moved, shift?.bottom ?? 0) };
    return { ...line, points: line.points.map((point) => ({ x: point.x + shift.dx, y: point.y + shift.dy })) };
  });
  const right = Math.max(...extent(moved, (rect) => rect.x + rect.width));
  return { rects: moved, lines: redrawn, width: right, height: top - ROW_GAP, rows: used.length };
}

/**
 * A line into another row: down into the gap below its own, along it, and to its target from the left.
 *
 * @param {Line} line
 * @param {Rect[]} rects As they lie now.
 * @param {number} bottom Of the row that the line leaves. [px]
 */
function around(line, rects, bottom) {
  const from = rects[line.from];
  const to = rects[line.to];
  const start = { x: from.x + from.width, y: from.y + from.height / 2 };
  const end = { x: to.x, y: to.y + to.height / 2 };
  const gap = bottom + ROW_GAP / 2;
  return [start, { x: start.x + 8, y: start.y }, { x: start.x + 8, y: gap }, { x: end.x - 10, y: gap }, { x: end.x - 10, y: end.y }, end];
}

/**
 * @param {Rect[]} rects
 * @param {Line[]} lines
 * @param {number} width
 * @param {number} rows
 * @returns {number[]} Where rows begin but the first, rising.
 */
function breaksOf(rects, lines, width, rows) {
  const starts = [...new Set(rects.map((rect) => rect.x))].sort((a, b) => a - b);
  const spans = lines.map((line) => [rects[line.from].x, rects[line.to].x]);
  const breaks = [];
  for (let row = 1; row < rows; row += 1) {
    const ideal = (row * width) / rows;
    const play = (PLAY * width) / rows;
    let best = ideal;
    let fewest = Infinity;
    for (const x of starts) {
      if (Math.abs(x - ideal) > play) continue;
      const crossing = spans.reduce((sum, [from, to]) => sum + (from < x && x <= to ? 1 : 0), 0);
      const cost = crossing + Math.abs(x - ideal) / play;
      if (cost < fewest) [fewest, best] = [cost, x];
    }
    breaks.push(best);
  }
  return breaks;
}

/**
 * @param {number[]} breaks
 * @param {number} x
 */
function rowAt(breaks, x) {
  let row = 0;
  while (row < breaks.length && x >= breaks[row]) row += 1;
  return row;
}

/**
 * The least and the greatest of some values: arguments of Math.min and Math.max that no length overflows.
 *
 * @template T
 * @param {T[]} entries
 * @param {(entry: T) => number} value
 * @returns {number[]}
 */
function extent(entries, value) {
  if (entries.length === 0) return [];
  let [least, greatest] = [Infinity, -Infinity];
  for (const entry of entries) {
    const found = value(entry);
    if (found < least) least = found;
    if (found > greatest) greatest = found;
  }
  return [least, greatest];
}
