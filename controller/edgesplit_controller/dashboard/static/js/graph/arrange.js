/**
 * Layout of a view: dagre lays out chains slice by slice, chains become their units again, the strip is folded to the screen's shape.
 *
 * Owns: the course of a layout. Its rule: pure, with dagre handed in, so that a worker and a test run the same; figures of boxes only, nothing
 * of colours. Not here: the worker (../layout-worker.js), what keeps layouts (layouts.js).
 */

import { folded } from "./fold.js";
import { chainsOf, slicesOf } from "./pieces.js";

/** @typedef {import("./fold.js").Rect} Rect */
/** @typedef {import("./fold.js").Line} Line */

/**
 * @typedef {object} Request
 * @property {("component"|"unit"|"end")[]} kinds Of each item.
 * @property {number[]} groups Component of each item; -1 without one.
 * @property {{from: number, to: number, cut: boolean}[]} ties Pairs of items.
 * @property {number} aspect Width over height of where it is shown.
 *
 * @typedef {object} Layout
 * @property {Rect[]} rects One for each item. [px]
 * @property {{x: number, y: number}[][]} lines One for each tie. [px]
 * @property {number} width [px]
 * @property {number} height [px]
 */

export const SIZES = { component: { width: 190, height: 66 }, unit: { width: 104, height: 30 }, end: { width: 84, height: 30 } };
const BETWEEN_RANKS = 26;
const BETWEEN_SIBLINGS = 12;
/** Ranks that a cut spans, for the words on it. */
const CUT_RANKS = 4;
const SLICE = 160;

/**
 * @param {any} dagre The library.
 * @param {Request} request
 * @returns {Layout}
 */
export function arranged(dagre, request) {
  const { kinds, groups, ties } = request;
  const joins = (/** @type {number} */ from, /** @type {number} */ to) => kinds[from] === "unit" && kinds[to] === "unit" && groups[from] === groups[to];
  const chains = chainsOf(kinds.length, ties, joins);
  const chainOf = new Int32Array(kinds.length);
  chains.forEach((chain, index) => chain.forEach((item) => (chainOf[item] = index)));
  const between = ties.map((tie) => ({ from: chainOf[tie.from], to: chainOf[tie.to], cut: tie.cut })).filter((tie) => tie.from !== tie.to);

  /** @type {Rect[]} */
  const rects = new Array(kinds.length);
  /** @type {Map<string, {x: number, y: number}[]>} */
  const bends = new Map();
  let left = 0;
  for (const slice of slicesOf(chains.length, between, SLICE)) {
    const graph = laidOut(dagre, slice, between, (chain) => sizeOf(kinds[chains[chain][0]], chains[chain].length));
    const { width, height } = graph.graph();
    // Slices are centred on one line, so that what goes from one into the next goes about straight.
    const top = -height / 2;
    for (const index of slice) placeChain(chains[index], kinds, graph.node(String(index)), left, top, rects);
    for (const edge of graph.edges()) {
      const inner = graph.edge(edge).points.slice(1, -1);
      bends.set(`${edge.v}>${edge.w}`, inner.map((/** @type {any} */ point) => ({ x: point.x + left, y: point.y + top })));
    }
    left += width + CUT_RANKS * BETWEEN_RANKS;
  }
  const upper = rects.reduce((least, rect) => Math.min(least, rect.y), Infinity);
  for (const rect of rects) rect.y -= upper;
  const lines = ties.map(({ from, to }) => ({ from, to, points: pointsOf(rects[from], rects[to], bends.get(`${chainOf[from]}>${chainOf[to]}`) ?? [], upper) }));
  const result = folded(rects, lines, request.aspect);
  return { rects: result.rects, lines: result.lines.map((line) => line.points), width: result.width, height: result.height };
}

/**
 * @param {any} dagre
 * @param {number[]} slice
 * @param {{from: number, to: number, cut: boolean}[]} ties Between chains.
 * @param {(chain: number) => {width: number, height: number}} size
 */
function laidOut(dagre, slice, ties, size) {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: "LR", ranksep: BETWEEN_RANKS, nodesep: BETWEEN_SIBLINGS, edgesep: 6 });
  const inside = new Set(slice);
  for (const chain of slice) graph.setNode(String(chain), size(chain));
  for (const { from, to, cut } of ties) {
    if (inside.has(from) && inside.has(to)) graph.setEdge(String(from), String(to), { minlen: cut ? CUT_RANKS : 1 });
  }
  dagre.layout(graph);
  return graph;
}

/**
 * @param {"component"|"unit"|"end"} kind
 * @param {number} length Of the chain.
 */
function sizeOf(kind, length) {
  const { width, height } = SIZES[kind];
  return { width: length * (width + BETWEEN_RANKS) - BETWEEN_RANKS, height };
}

/**
 * @param {number[]} chain
 * @param {("component"|"unit"|"end")[]} kinds
 * @param {{x: number, y: number, width: number}} box Its middle, and its width.
 * @param {number} left Of the slice.
 * @param {number} top Likewise.
 * @param {Rect[]} rects Are filled in.
 */
function placeChain(chain, kinds, box, left, top, rects) {
  const { width, height } = SIZES[kinds[chain[0]]];
  chain.forEach((item, place) => {
    rects[item] = { x: left + box.x - box.width / 2 + place * (width + BETWEEN_RANKS), y: top + box.y - height / 2, width, height };
  });
}

/**
 * @param {Rect} from
 * @param {Rect} to
 * @param {{x: number, y: number}[]} bends
 * @param {number} upper What boxes were moved up by.
 */
function pointsOf(from, to, bends, upper) {
  const start = { x: from.x + from.width, y: from.y + from.height / 2 };
  const end = { x: to.x, y: to.y + to.height / 2 };
  return [start, ...bends.map((point) => ({ x: point.x, y: point.y - upper })), end];
}
