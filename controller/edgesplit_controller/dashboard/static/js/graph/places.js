/**
 * Finding what lies at a point: a grid over boxes and lines, so that thousands of them are asked in microseconds.
 *
 * Owns: hit testing, and which box comes next in a direction. Its rule: pure; boxes lie over lines.
 */

/** @typedef {import("./fold.js").Rect} Rect */
/** @typedef {{x: number, y: number}} Point */

const CELL = 160;

/**
 * @param {Rect[]} rects
 * @param {Point[][]} lines
 * @returns {{boxAt: (at: Point) => number, lineAt: (at: Point, within: number) => number}} Indices; -1 where nothing is.
 */
export function placesOf(rects, lines) {
  /** @type {Map<string, number[]>} */
  const boxes = new Map();
  /** @type {Map<string, [number, Point, Point][]>} */
  const pieces = new Map();
  rects.forEach((rect, index) => {
    fill(boxes, rect.x, rect.y, rect.x + rect.width, rect.y + rect.height, index);
  });
  lines.forEach((points, index) => {
    for (let at = 1; at < points.length; at += 1) {
      const [a, b] = [points[at - 1], points[at]];
      fill(pieces, Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y), [index, a, b]);
    }
  });
  return {
    boxAt(at) {
      for (const index of boxes.get(cell(at.x, at.y)) ?? []) {
        const rect = rects[index];
        if (at.x >= rect.x && at.x <= rect.x + rect.width && at.y >= rect.y && at.y <= rect.y + rect.height) return index;
      }
      return -1;
    },
    lineAt(at, within) {
      let [best, nearest] = [-1, within];
      for (const [dx, dy] of [[0, 0], [within, 0], [-within, 0], [0, within], [0, -within]]) {
        for (const [index, a, b] of pieces.get(cell(at.x + dx, at.y + dy)) ?? []) {
          const away = distance(at, a, b);
          if (away < nearest) [nearest, best] = [away, index];
        }
      }
      return best;
    },
  };
}

/**
 * @template T
 * @param {Map<string, T[]>} grid
 * @param {number} left
 * @param {number} top
 * @param {number} right
 * @param {number} bottom
 * @param {T} entry
 */
function fill(grid, left, top, right, bottom, entry) {
  for (let x = Math.floor(left / CELL); x <= Math.floor(right / CELL); x += 1) {
    for (let y = Math.floor(top / CELL); y <= Math.floor(bottom / CELL); y += 1) {
      const key = `${x},${y}`;
      const there = grid.get(key);
      if (there === undefined) grid.set(key, [entry]);
      else there.push(entry);
    }
  }
}

/**
 * @param {number} x
 * @param {number} y
 */
function cell(x, y) {
  return `${Math.floor(x / CELL)},${Math.floor(y / CELL)}`;
}

/**
 * Of a point from a line between two others. [px]
 *
 * @param {Point} at
 * @param {Point} a
 * @param {Point} b
 */
export function distance(at, a, b) {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length = dx * dx + dy * dy;
  const share = length === 0 ? 0 : Math.min(1, Math.max(0, ((at.x - a.x) * dx + (at.y - a.y) * dy) / length));
  return Math.hypot(at.x - a.x - share * dx, at.y - a.y - share * dy);
}

/**
 * Where an arrow key leads: along an edge forwards or back, or to the neighbour above or below.
 *
 * @param {{rects: Rect[], ties: {from: number, to: number}[]}} picture
 * @param {number} from Index of a box.
 * @param {"right"|"left"|"up"|"down"} direction
 * @returns {number} Index of a box; the same one where there is no other.
 */
export function stepped(picture, from, direction) {
  const here = picture.rects[from];
  if (direction === "right" || direction === "left") {
    const along = direction === "right";
    const found = picture.ties.filter((tie) => (along ? tie.from : tie.to) === from).map((tie) => (along ? tie.to : tie.from));
    return nearest(picture.rects, here, found, from);
  }
  const sign = direction === "down" ? 1 : -1;
  const beyond = [];
  picture.rects.forEach((rect, index) => {
    if (sign * (rect.y - here.y) > 1) beyond.push(index);
  });
  return nearest(picture.rects, here, beyond, from, 3);
}

/**
 * @param {Rect[]} rects
 * @param {Rect} here
 * @param {number[]} found
 * @param {number} otherwise
 * @param {number} [sideways] How much more a pixel to the side counts than one up or down.
 */
function nearest(rects, here, found, otherwise, sideways = 1) {
  let [best, least] = [otherwise, Infinity];
  for (const index of found) {
    const away = sideways * Math.abs(rects[index].x - here.x) + Math.abs(rects[index].y - here.y);
    if (away < least) [least, best] = [away, index];
  }
  return best;
}
