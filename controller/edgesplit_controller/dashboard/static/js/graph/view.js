/**
 * What is shown of a network: closed components as one box each, opened ones as their units.
 *
 * Owns: items and the edges between them. Its rule: pure; components form a DAG, so that whatever is opened, the view is one too. Not here:
 * where items lie (arrange.js).
 */

/** @typedef {import("./network.js").Network} Network */
/** @typedef {import("./network.js").Unit} Unit */
/** @typedef {import("./network.js").Edge} Edge */

/**
 * @typedef {object} Item A box.
 * @property {string} key `c3` for a component, `u12` for a unit, `e-1` for an input or output.
 * @property {"component"|"unit"|"end"} kind
 * @property {number|null} component
 * @property {string|null} node
 * @property {Unit[]} units That it stands for; one for a unit, none for an end.
 * @property {import("./network.js").End|null} end
 * @property {number} int8 How many of them run in int8.
 * @property {string[]} was Nodes that some of them come from, of the plan that this one is held against.
 * @property {number} moved How many of them come from another node.
 *
 * @typedef {object} Tie All tensors from one item to another.
 * @property {number} from Index of an item.
 * @property {number} to Likewise.
 * @property {boolean} cut Whether they cross a link.
 * @property {number} nbytes Of all of them, uncoded; a tensor that several units of the target read counts once. [B]
 * @property {Edge[]} edges
 * @property {string[]} codecs
 *
 * @typedef {{items: Item[], ties: Tie[], opened: "all"|number[]}} View
 */

/**
 * @param {Network} network
 * @param {"all"|Iterable<number>} opened Components that are shown as their units.
 * @returns {View}
 */
export function viewOf(network, opened) {
  const open = opened === "all" ? null : new Set(opened);
  /** @type {Item[]} */
  const items = [];
  /** @type {Map<number, number>} */
  const indexOfUnit = new Map();
  /** @type {Map<number, number>} */
  const indexOfComponent = new Map();
  const addEnds = (/** @type {"input"|"output"} */ role) => {
    for (const end of network.ends.filter((one) => one.role === role)) {
      indexOfUnit.set(end.id, items.length);
      items.push({ key: `e${end.id}`, kind: "end", component: null, node: end.node, units: [], end, int8: 0, was: [], moved: 0 });
    }
  };
  addEnds("input");
  for (const unit of network.units) {
    const closed = unit.component !== null && open !== null && !open.has(unit.component);
    let index = closed ? indexOfComponent.get(/** @type {number} */ (unit.component)) : undefined;
    if (index === undefined) {
      index = items.length;
      const key = closed ? `c${unit.component}` : `u${unit.id}`;
      const kind = closed ? "component" : "unit";
      items.push({ key, kind, component: unit.component, node: unit.node, units: [], end: null, int8: 0, was: [], moved: 0 });
      if (closed) indexOfComponent.set(/** @type {number} */ (unit.component), index);
    }
    items[index].units.push(unit);
    items[index].int8 += unit.int8 ? 1 : 0;
    if (unit.was !== null) {
      items[index].moved += 1;
      if (!items[index].was.includes(unit.was)) items[index].was.push(unit.was);
    }
    indexOfUnit.set(unit.id, index);
  }
  addEnds("output");
  return { items, ties: tiesBetween(network.edges, indexOfUnit), opened: open === null ? "all" : [...open].sort((a, b) => a - b) };
}

/**
 * @param {Edge[]} edges
 * @param {Map<number, number>} indexOfUnit
 * @returns {Tie[]}
 */
function tiesBetween(edges, indexOfUnit) {
  /** @type {Map<string, Tie & {tensors: Set<string>}>} */
  const ties = new Map();
  for (const edge of edges) {
    const from = indexOfUnit.get(edge.from);
    const to = indexOfUnit.get(edge.to);
    if (from === undefined || to === undefined || from === to) continue;
    const key = `${from}>${to}`;
    let tie = ties.get(key);
    if (tie === undefined) {
      tie = { from, to, cut: false, nbytes: 0, edges: [], codecs: [], tensors: new Set() };
      ties.set(key, tie);
    }
    tie.edges.push(edge);
    tie.cut ||= edge.cut;
    if (tie.tensors.has(edge.tensor)) continue;
    tie.tensors.add(edge.tensor);
    tie.nbytes += edge.nbytes;
    if (edge.codec !== null && !tie.codecs.includes(edge.codec)) tie.codecs.push(edge.codec);
  }
  return [...ties.values()].map(({ tensors: _, ...tie }) => tie);
}
