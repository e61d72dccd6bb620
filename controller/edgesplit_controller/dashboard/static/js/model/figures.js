/**
 * Figures of plans as people read them: with their intervals, and with where they come from.
 *
 * Owns: tables that hold plans beside each other, the bar that says how operators are spread. Its rule: as in splitctl's
 * views, a figure that is not known is a dash. Not here: charts.
 */

import { nodeVariable } from "../core/colours.js";
import { UNKNOWN, count, joules, number, perSecond, seconds } from "../core/format.js";
import { h } from "../core/html.js";
import { nodeMark, originChip } from "../parts/chips.js";

/**
 * `412 ms (398 to 431)`: a value and where it may prove to lie, the unit said once where it is the same.
 *
 * @param {number|null|undefined} value
 * @param {[number, number]|null|undefined} interval
 * @param {(value: any) => string} formatted
 */
export function between(value, interval, formatted) {
  const text = formatted(value);
  if (!interval || text === UNKNOWN) return text;
  const ends = interval.map(formatted);
  const units = new Set([text, ...ends].map((figure) => figure.split(" ").slice(1).join(" ")));
  const [low, high] = units.size === 1 && text.includes(" ") ? ends.map((figure) => figure.split(" ")[0]) : ends;
  return `${text} (${low} to ${high})`;
}

/**
 * The same in two parts, so that a narrow column breaks between them.
 *
 * @param {string} text
 */
export function inParts(text) {
  const at = text.indexOf(" (");
  return at < 0 ? text : [text.slice(0, at + 1), h("small", null, text.slice(at + 1))];
}

/** @param {any|null} plan A PlanSummary, or a PlanDocument. */
export function latencyText(plan) {
  return plan === null ? UNKNOWN : between(plan.latency_s, plan.latency_interval_s, seconds);
}

/** @param {any|null} plan */
export function energyText(plan) {
  return plan === null ? UNKNOWN : between(plan.energy_j, plan.energy_interval_j, joules);
}

/** @param {any|null} plan */
export function rateText(plan) {
  if (plan === null || plan.rate_hz === null) return UNKNOWN;
  return plan.bottleneck ? `${perSecond(plan.rate_hz)}, bounded by ${plan.bottleneck}` : perSecond(plan.rate_hz);
}

/**
 * Plans beside each other.
 *
 * @param {string} caption
 * @param {{title: string, plan: any|null}[]} columns
 */
export function plansTable(caption, columns) {
  const rows = [
    { name: "Latency", of: latencyText },
    { name: "Energy", of: energyText },
    { name: "Of it the source", of: (/** @type {any} */ plan) => joules(plan?.device_energy_j) },
    { name: "Noise", of: (/** @type {any} */ plan) => number(plan?.noise) },
    { name: "Sustained rate", of: rateText },
    { name: "Proof", of: (/** @type {any} */ plan) => plan?.status ?? UNKNOWN },
  ];
  const head = h("tr", null, h("td"), columns.map((column) => h("th", { scope: "col" }, column.title)));
  const figures = rows.map((row) => h("tr", null, h("th", { scope: "row" }, row.name), columns.map((column) => h("td", null, inParts(row.of(column.plan))))));
  const spread = h("tr", null, h("th", { scope: "row" }, "Operators"), columns.map((column) => h("td", null, column.plan ? spreadBar(column.plan.per_node) : UNKNOWN)));
  return h("div", { class: "scroll" }, h("table", { class: "plans" }, h("caption", null, caption), h("thead", null, head), h("tbody", null, figures, spread)));
}

/**
 * How operators are spread over nodes: a stacked bar with its words.
 *
 * @param {Record<string, {operators: number, quantized: number}>} perNode
 */
export function spreadBar(perNode) {
  const shares = Object.entries(perNode).filter(([, share]) => share.operators > 0);
  const total = shares.reduce((sum, [, share]) => sum + share.operators, 0);
  const parts = shares.map(([node, share]) => h("span", { style: { "--node": nodeVariable(node), "flex-grow": String(share.operators / Math.max(1, total)) } }));
  const words = shares.map(([node, share]) =>
    h("li", null, nodeMark(node), ` ${node} ${share.operators}`, share.quantized > 0 ? ` (${share.quantized} in int8)` : ""),
  );
  return h("div", { class: "spread" }, h("div", { class: "spread-bar", "aria-hidden": "true" }, parts), h("ul", { class: "spread-words" }, words));
}

/**
 * A figure with its name: predicted beside measured.
 *
 * @param {string} name
 * @param {string} predicted
 * @param {string|null} measured Null where nothing of the kind is measured.
 * @param {string|null} [measuredOrigin]
 */
export function pair(name, predicted, measured, measuredOrigin = "measured") {
  const found = measured === null ? null : h("dd", null, measured, " ", measured === UNKNOWN ? h("small", null, "not measured yet") : originChip(measuredOrigin));
  return h("div", null, h("dt", null, name), h("dd", null, inParts(predicted), " ", originChip("predicted")), found);
}

/** @param {any} plan A PlanDocument. */
export function requestsText(plan) {
  const { requests, failed, unplanned } = plan.measured;
  const said = [count(requests, "request")];
  if (failed > 0) said.push(`${failed} failed`);
  if (unplanned > 0) said.push(`${unplanned} of other sizes or joined`);
  return said.join(", ");
}
