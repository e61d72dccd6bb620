/**
 * Layout of a view: dagre lays out chains from left to right, chains become their units again, the strip is folded to the screen's shape.
 *
 * Owns: the course of a layout. Its rule: pure, with dagre handed in, so that a worker and a test run the same; figures of boxes only, nothing
 * of colours. Not here: the worker (../layout-worker.js), what keeps layouts (layouts.js).
 */

import { chainsOf } from "./chains.js";
import { folded } from "./fold.js";

/**
 * @typedef {object} Request
 * @property {("component"|"unit")[]} kinds Of each item.
 * @property {number[]} groups Component of each item; -1 without one.
 * @property {[number, number][]} ties Pairs of items.
 * @property {number} aspect Width over height of where it is shown.
 *
 * @typedef {object} Layout
 * @property {import("./fold.js").Rect[]} rects One for each item. [px]
 * @property {{x: number, y: number}[][]} lines One for each tie. [px]
 * @property {number} width [px]
 * @property {number} height [px]
 */

export const SIZES = { component: { width: 190, height: 66 }, unit: { width: 104, height: 30 } };
const BETWEEN_RANKS = 26;
const BETWEEN_SIBLINGS = 12;
/** Above so many boxes dagre's exact ranking (network simplex) takes seconds, and the longest path does nearly as well. */
const EXACT_BOXES = 400;

/**
 * @param {any} dagre The library.
 * @param {Request} request
 * @returns {Layout}
 */
export function arranged(dagre, request) {
  const ties = request.ties.map(([from, to]) => ({ from, to }));
  const joins = (/** @type {number} */ from, /** @type {number} */ to) =>
    request.kinds[from] === "unit" && request.kinds[to] === "unit" && request.groups[from] === request.groups[to];
  const chains = chainsOf(request.kinds.length, ties, joins);
  const chainOf = new Int32Array(request.kinds.length);
  chains.forEach((chain, index) => chain.forEach((item) => (chainOf[item] = index)));

  const graph = new dagre.graphlib.Graph();
  const ranker = chains.length > EXACT_BOXES ? "longest-path" : "network-simplex";
  graph.setGraph({ rankdir: "LR", ranksep: BETWEEN_RANKS, nodesep: BETWEEN_SIBLINGS, edgesep: 6, ranker });
  graph.setDefaultEdgeLabel(() => ({}));
  chains.forEach((chain, index) => {
    const { width, height } = SIZES[request.kinds[chain[0]]];
    graph.setNode(String(index), { width: chain.length * (width + BETWEEN_RANKS) - BETWEEN_RANKS, height });
  });
  for (const { from, to } of ties) {
    if (chainOf[from] !== chainOf[to]) graph.setEdge(String(chainOf[from]), String(chainOf[to]), {});
  }
  dagre.layout(graph);

  /** @type {import("./fold.js").Rect[]} */
  const rects = new Array(request.kinds.length);
  chains.forEach((chain, index) => {
    const box = graph.node(String(index));
    const { width, height } = SIZES[request.kinds[chain[0]]];
    chain.forEach((item, place) => {
      const x = box.x - box.width / 2 + place * (width + BETWEEN_RANKS);
      rects[item] = { x, y: box.y - height / 2, width, height };
    });
  });
  const lines = ties.map(({ from, to }) => ({ from, to, points: pointsOf(graph, chainOf, rects, from, to) }));
  const result = folded(rects, lines, request.aspect);
  return { rects: result.rects, lines: result.lines.map((line) => line.points), width: result.width, height: result.height };
}

/**
 * @param {any} graph Laid out.
 * @param {Int32Array} chainOf
 * @param {import("./fold.js").Rect[]} rects
 * @param {number} from
 * @param {number} to
 */
function pointsOf(graph, chainOf, rects, from, to) {
  const start = { x: rects[from].x + rects[from].width, y: rects[from].y + rects[from].height / 2 };
  const end = { x: rects[to].x, y: rects[to].y + rects[to].height / 2 };
  if (chainOf[from] === chainOf[to]) return [start, end];
  const bends = graph.edge(String(chainOf[from]), String(chainOf[to])).points.slice(1, -1);
  return [start, ...bends.map((/** @type {any} */ point) => ({ x: point.x, y: point.y })), end];
}
