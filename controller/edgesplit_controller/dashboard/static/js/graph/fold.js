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
const PLAY = 0.25;
const MOST_ROWS = 40;
/** About as high as the page shows a picture: what fits at its full size in one row is not broken. [px] */
const SCREEN_HEIGHT = 540;

/**
 * @typedef {{rects: Rect[], lines: Line[], width: number, height: number, rows: number}} Folded
 *
 * @param {Rect[]} rects Of a layout from left to right.
 * @param {Line[]} lines Between them.
 * @param {number} aspect Width over height of where it is shown.
 * @returns {Folded} With as many rows as show it largest.
 */
export function folded(rects, lines, aspect) {
  const width = Math.max(0, ...extent(rects, (rect) => rect.x + rect.width));
  const height = Math.max(0, ...extent(rects, (rect) => rect.y + rect.height));
  const places = placesToBreak(rects, lines);
  const largest = (/** @type {{width: number, height: number}} */ size) => Math.min(aspect / size.width, 1 / size.height);
  let best = /** @type {Folded} */ ({ rects, lines, width, height, rows: 1 });
  const most = Math.min(MOST_ROWS, Math.ceil(width / (aspect * SCREEN_HEIGHT)));
  for (let rows = 2; rows <= most; rows += 1) {
    const tried = inRows(rects, lines, breaksOf(places, width, rows));
    // Another row is another break in what people follow: it must be worth it.
    if (largest(tried) > 1.1 * largest(best)) best = tried;
  }
  return best;
}

/**
 * @param {Rect[]} rects
 * @param {Line[]} lines
 * @param {number[]} breaks Where rows begin but the first, rising.
 * @returns {Folded}
 */
function inRows(rects, lines, breaks) {
  const rowOf = rects.map((rect) => rowAt(breaks, rect.x + rect.width / 2));
  /** @type {{left: number, upper: number, lower: number}[]} */
  const extents = Array.from({ length: breaks.length + 1 }, () => ({ left: Infinity, upper: Infinity, lower: -Infinity }));
  rects.forEach((rect, index) => {
    const row = extents[rowOf[index]];
    row.left = Math.min(row.left, rect.x);
    row.upper = Math.min(row.upper, rect.y);
    row.lower = Math.max(row.lower, rect.y + rect.height);
  });
  let top = 0;
  const shifts = extents.map((row) => {
    if (row.left === Infinity) return { dx: 0, dy: 0, bottom: top };
    const shift = { dx: -row.left, dy: top - row.upper, bottom: top + row.lower - row.upper };
    top = shift.bottom + ROW_GAP;
    return shift;
  });
  const moved = rects.map((rect, index) => ({ ...rect, x: rect.x + shifts[rowOf[index]].dx, y: rect.y + shifts[rowOf[index]].dy }));
  const redrawn = lines.map((line) => {
    const shift = shifts[rowOf[line.from]];
    if (rowOf[line.from] !== rowOf[line.to]) return { ...line, points: around(line, moved, shift.bottom) };
    return { ...line, points: line.points.map((point) => ({ x: point.x + shift.dx, y: point.y + shift.dy })) };
  });
  const width = Math.max(0, ...extent(moved, (rect) => rect.x + rect.width));
  return { rects: moved, lines: redrawn, width, height: top - ROW_GAP, rows: extents.filter((row) => row.left !== Infinity).length };
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
 * Where boxes begin, and how many lines cross there.
 *
 * @param {Rect[]} rects
 * @param {Line[]} lines
 * @returns {{x: number, crossing: number}[]} Rising.
 */
function placesToBreak(rects, lines) {
  const starts = [...new Set(rects.map((rect) => rect.x))].sort((a, b) => a - b);
  const indexOf = new Map(starts.map((x, index) => [x, index]));
  const steps = new Int32Array(starts.length + 2);
  for (const line of lines) {
    const [from, to] = [indexOf.get(rects[line.from].x) ?? 0, indexOf.get(rects[line.to].x) ?? 0];
    // A line crosses every break behind its first box, up to where its last one begins.
    steps[Math.min(from, to) + 1] += 1;
    steps[Math.max(from, to) + 1] -= 1;
  }
  let crossing = 0;
  return starts.map((x, index) => {
    crossing += steps[index];
    return { x, crossing };
  });
}

/**
 * @param {{x: number, crossing: number}[]} places
 * @param {number} width
 * @param {number} rows
 * @returns {number[]} Where rows begin but the first, rising.
 */
function breaksOf(places, width, rows) {
  const play = (PLAY * width) / rows;
  return Array.from({ length: rows - 1 }, (_, index) => {
    const ideal = ((index + 1) * width) / rows;
    let best = { x: ideal, cost: Infinity };
    for (const { x, crossing } of places) {
      const cost = crossing + (3 * Math.abs(x - ideal)) / play;
      if (Math.abs(x - ideal) <= play && cost < best.cost) best = { x, cost };
    }
    return best.x;
  });
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
