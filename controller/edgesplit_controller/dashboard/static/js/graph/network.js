/**
 * The network with its plan: which unit runs where, in int8 or in float, and which tensors cross a link.
 *
 * Owns: joining a graph document and a plan document. Its rule: pure; a unit of which the plan says nothing has no component; a model's
 * inputs arise and its outputs are needed at the source, so that they cross links like any tensor. Not here: what is shown of it (view.js).
 */

/**
 * @typedef {object} Unit What the planner moves as a whole.
 * @property {number} id
 * @property {string} name
 * @property {string[]} operators ONNX operators.
 * @property {string[]} kinds Their types, such as Conv.
 * @property {number|null} flops Of one request. [1]
 * @property {number} weightBytes [B]
 * @property {number|null} component Number within the plan; null where it has none.
 * @property {string|null} node Where it runs; null without a plan.
 * @property {boolean} int8 Whether it runs in int8.
 * @property {string|null} was Where it runs in the plan that this one is held against, if that is another node.
 *
 * @typedef {object} Edge A tensor from one unit to another.
 * @property {number} from Identifier of a unit, or of an end.
 * @property {number} to Likewise.
 * @property {string} tensor
 * @property {number} nbytes Uncoded. [B]
 * @property {boolean} cut Whether it crosses a link.
 * @property {string|null} codec How it is coded while it travels; null uncoded.
 *
 * @typedef {object} End An input or an output of the model.
 * @property {number} id Below 0.
 * @property {"input"|"output"} role
 * @property {string} tensor
 * @property {string|null} node The source; null without a plan.
 *
 * @typedef {object} Network
 * @property {string} sha256 Of the model's file.
 * @property {Unit[]} units
 * @property {End[]} ends
 * @property {Edge[]} edges
 * @property {string[]} nodes That run a part, in the order of the plan.
 * @property {number} components How many.
 */

/**
 * @param {any} graph A GraphDocument.
 * @param {any|null} plan A PlanDocument, or what a what-if says of one; null where the model is not deployed.
 * @param {any|null} [before] The plan that it is held against.
 * @returns {Network}
 */
export function joined(graph, plan, before = null) {
  const componentOf = componentsByOperator(plan);
  const formerly = componentsByOperator(before);
  const quantized = new Set(plan?.quantized ?? []);
  const units = graph.units.map((/** @type {any} */ unit) => {
    const names = [unit.name, ...unit.operators];
    const among = (/** @type {Map<string, any>} */ components) => names.map((name) => components.get(name)).find((found) => found !== undefined);
    const [component, former] = [among(componentOf), among(formerly)];
    return {
      id: unit.id,
      name: unit.name,
      operators: unit.operators,
      kinds: unit.kinds,
      flops: unit.flops,
      weightBytes: unit.weight_bytes,
      component: component?.id ?? null,
      node: component?.node ?? null,
      int8: names.some((name) => quantized.has(name)),
      was: former !== undefined && component !== undefined && former.node !== component.node ? former.node : null,
    };
  });
  const { ends, entering, leaving } = endsOf(graph, plan?.source ?? null);
  const nodeOf = new Map([...units, ...ends].map((place) => [place.id, place.node]));
  const edges = [...entering, ...graph.edges, ...leaving].map((edge) => {
    const from = nodeOf.get(edge.from) ?? null;
    const to = nodeOf.get(edge.to) ?? null;
    const cut = from !== null && to !== null && from !== to;
    const codec = cut ? (plan?.codecs?.[edge.tensor] ?? null) : null;
    return { from: edge.from, to: edge.to, tensor: edge.tensor, nbytes: edge.nbytes, cut, codec };
  });
  const nodes = [...new Set((plan?.components ?? []).map((/** @type {any} */ component) => component.node))];
  return { sha256: graph.sha256, units, ends, edges, nodes, components: (plan?.components ?? []).length };
}

/** @param {any|null} plan @returns {Map<string, any>} */
function componentsByOperator(plan) {
  const found = new Map();
  for (const component of plan?.components ?? []) for (const operator of component.operators) found.set(operator, component);
  return found;
}

/**
 * Inputs and outputs, and what connects them.
 *
 * @param {any} graph
 * @param {string|null} source
 */
function endsOf(graph, source) {
  /** @type {End[]} */
  const ends = [];
  const [entering, leaving] = [/** @type {any[]} */ ([]), /** @type {any[]} */ ([])];
  for (const role of /** @type {("input"|"output")[]} */ (["input", "output"])) {
    for (const { tensor, nbytes, units } of graph[`${role}s`]) {
      const id = -1 - ends.length;
      ends.push({ id, role, tensor, node: source });
      for (const unit of units) {
        if (role === "input") entering.push({ from: id, to: unit, tensor, nbytes });
        else leaving.push({ from: unit, to: id, tensor, nbytes });
      }
    }
  }
  return { ends, entering, leaving };
}

/**
 * The same units in the same components, so that a layout of one serves the other.
 *
 * @param {Network} network
 * @returns {string} Short, equal exactly where the grouping is with all likelihood (a 53-bit hash).
 */
export function groupingKey(network) {
  let high = 0xdeadbeef;
  let low = 0x41c6ce57;
  for (const unit of network.units) {
    const value = (unit.component ?? -1) + 2;
    high = Math.imul(high ^ value, 2654435761);
    low = Math.imul(low ^ (value + unit.id), 1597334677);
  }
  return `${network.units.length}-${(high >>> 0).toString(36)}${(low >>> 0).toString(36)}`;
}
