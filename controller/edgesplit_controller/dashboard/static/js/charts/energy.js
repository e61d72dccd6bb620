/**
 * Energy of a request by node, predicted over measured, computing apart from sending.
 *
 * Owns: this picture. Its rule: all bars are on one scale, and each says its figures in words.
 */

import { nodeVariable } from "../core/colours.js";
import { UNKNOWN, joules } from "../core/format.js";
import { h } from "../core/html.js";
import { to } from "../core/router.js";
import { originChip } from "../parts/chips.js";

/** @param {any} plan A PlanDocument. */
export function energyChart(plan) {
  const rows = Object.entries(plan.energy_per_node);
  if (rows.length === 0) return h("p", { class: "muted" }, "No energy by node is known of this plan yet.");
  const sums = rows.flatMap(([, row]) => [row.predicted_compute_j + row.predicted_transmit_j, (row.compute_j ?? 0) + (row.transmit_j ?? 0)]);
  const most = Math.max(...sums, Number.MIN_VALUE);
  return h(
    "div",
    { class: "energy" },
    rows.map(([node, row]) => nodeRows(node, row, most)),
    h("p", { class: "graph-legend" }, h("span", { class: "legend-entry" }, h("span", { class: "sample computing" }), "computing"), h("span", { class: "legend-entry" }, h("span", { class: "sample sending" }), "sending")),
  );
}

/**
 * @param {string} node
 * @param {any} row An EnergyRow.
 * @param {number} most [J]
 */
function nodeRows(node, row, most) {
  const weakest = row.compute_origin === row.transmit_origin || row.transmit_origin === null ? row.compute_origin : null;
  const origins = weakest ? [originChip(weakest)] : [originChip(row.compute_origin), originChip(row.transmit_origin)];
  const served = row.compute_j !== null || row.transmit_j !== null;
  return h(
    "div",
    { class: "energy-node", style: { "--node": nodeVariable(node) } },
    h("a", { class: "energy-name", href: to.node(node) }, node),
    bar(row.predicted_compute_j, row.predicted_transmit_j, most, [originChip("predicted")]),
    served ? bar(row.compute_j ?? 0, row.transmit_j ?? 0, most, origins) : h("div", { class: "energy-bar muted" }, `measured: ${UNKNOWN}`),
  );
}

/**
 * @param {number} computeJ [J]
 * @param {number} transmitJ [J]
 * @param {number} most [J]
 * @param {(Node|null)[]} chips
 */
function bar(computeJ, transmitJ, most, chips) {
  const width = (/** @type {number} */ value) => ({ width: `${((100 * value) / most).toFixed(2)}%` });
  return h(
    "div",
    { class: "energy-bar" },
    h("span", { class: "energy-track", "aria-hidden": "true" }, h("span", { class: "computing", style: width(computeJ) }), h("span", { class: "sending", style: width(transmitJ) })),
    h("span", { class: "energy-words" }, `${joules(computeJ)} computing, ${joules(transmitJ)} sending `, chips),
  );
}
