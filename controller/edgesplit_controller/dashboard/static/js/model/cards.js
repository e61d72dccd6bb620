/**
 * What a card says of a component, a unit, or what goes from one to another.
 *
 * Owns: these words. Its rule: short; all of it stands in the table as well.
 */

import { bytes, count, number, seconds } from "../core/format.js";
import { h } from "../core/html.js";
import { nodeMark } from "../parts/chips.js";

/** @typedef {import("../graph/view.js").Item} Item */
/** @typedef {import("../graph/view.js").Tie} Tie */

const MOST_TENSORS = 4;
const MOST_OPERATORS = 6;

/**
 * @param {Item} item
 * @param {any|null} component Its ComponentRow of the plan.
 * @param {boolean} closes Whether choosing it closes its component.
 */
export function itemCard(item, component, closes) {
  if (item.end !== null) return h("div", null, heading(item.node, `${item.end.role} of the model`), h("p", { class: "name" }, item.end.tensor));
  const weights = item.units.reduce((sum, unit) => sum + unit.weightBytes, 0);
  const flops = item.units.some((unit) => unit.flops === null) ? null : item.units.reduce((sum, unit) => sum + (unit.flops ?? 0), 0);
  const facts = [`${bytes(weights)} of weights`, flops === null ? "" : `${number(flops / 1e6)} MFLOP`].filter(Boolean).join(", ");
  if (item.kind === "component") {
    const int8 = item.int8 > 0 ? `, ${item.int8} in int8` : "";
    return h(
      "div",
      null,
      heading(item.node, `component ${item.component}`),
      h("p", null, `${count(item.units.length, "unit")}${int8}, ${facts}`),
      item.moved > 0 ? h("p", null, `${item.moved} of them from ${item.was.join(", ")}`) : null,
      timesText(component),
      h("p", { class: "muted" }, "Click or Enter: open it"),
    );
  }
  const [unit] = item.units;
  return h(
    "div",
    null,
    heading(item.node, unit.kinds.join(" · ")),
    h("p", { class: "name" }, unit.name),
    h("p", null, `${unit.int8 ? "int8" : "float"}, ${facts}`),
    unit.was === null ? null : h("p", null, `from ${unit.was}`),
    unit.operators.length > 1 ? h("p", { class: "muted" }, some(unit.operators, MOST_OPERATORS)) : null,
    closes ? h("p", { class: "muted" }, `Click or Enter: close component ${unit.component}`) : null,
  );
}

/**
 * @param {Tie} tie
 * @param {Item} from
 * @param {Item} to
 * @param {(tensor: string) => string|null} reasonOf
 * @param {string} state What there is to say where no reason is known.
 */
export function tieCard(tie, from, to, reasonOf, state) {
  const tensors = [...new Map(tie.edges.map((edge) => [edge.tensor, edge])).values()];
  const listed = tensors.slice(0, MOST_TENSORS).map((edge) => {
    const coded = edge.codec === null ? "" : `, travels as ${edge.codec}`;
    const reason = tie.cut ? reasonOf(edge.tensor) : null;
    return h("li", null, h("span", { class: "name" }, edge.tensor), ` ${bytes(edge.nbytes)}${coded}`, reason === null ? null : h("p", null, reason));
  });
  const more = tensors.length - listed.length;
  const unknown = tie.cut && tensors.some((edge) => reasonOf(edge.tensor) === null);
  return h(
    "div",
    null,
    tie.cut ? heading(from.node, to.node ?? "", to.node) : heading(from.node, "stays on the node"),
    h("ul", { class: "tensors" }, listed),
    more > 0 ? h("p", { class: "muted" }, `and ${more} more`) : null,
    unknown && state !== "" ? h("p", { class: "muted" }, state) : null,
  );
}

/**
 * @param {string|null} node
 * @param {string} text
 * @param {string|null} [target]
 */
function heading(node, text, target) {
  const mark = (/** @type {string|null} */ name) => (name === null ? null : [nodeMark(name), " "]);
  return h("p", { class: "card-heading" }, mark(node), node ?? "no plan", target === undefined ? ": " : " → ", target === undefined ? null : mark(target), text);
}

/** @param {any|null} component */
function timesText(component) {
  if (component === null || component.predicted_s === null) return null;
  const measured = component.measured_s === null ? "" : `, measured ${seconds(component.measured_s)}`;
  return h("p", null, `predicted ${seconds(component.predicted_s)}${measured}`);
}

/**
 * @param {string[]} names
 * @param {number} most
 */
function some(names, most) {
  const more = names.length - most;
  return names.slice(0, most).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
