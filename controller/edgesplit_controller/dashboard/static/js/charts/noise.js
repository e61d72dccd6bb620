/**
 * Noise against its bound, as a bullet chart.
 *
 * Owns: this picture. Its rule: the bound is a line, what is predicted and what was measured are bars on one scale, and a sentence says the
 * same.
 */

import { UNKNOWN, count, number } from "../core/format.js";
import { h } from "../core/html.js";
import { originChip } from "../parts/chips.js";

/** @param {any} plan A PlanDocument. */
export function noiseChart(plan) {
  const bound = plan.goals.max_noise;
  const measured = plan.measured.noise;
  const most = Math.max(bound ?? 0, plan.noise, measured.max ?? 0, measured.mean ?? 0) * 1.1;
  const share = (/** @type {number} */ value) => `${((100 * value) / most).toFixed(2)}%`;
  const bar = (/** @type {string} */ kind, /** @type {number|null} */ value) =>
    h(
      "div",
      { class: "bullet-row" },
      h("span", { class: "bullet-name" }, originChip(kind)),
      h(
        "span",
        { class: "bullet-track", "aria-hidden": "true" },
        value === null || most === 0 ? null : h("span", { class: `bullet-bar ${kind}`, style: { width: share(value) } }),
        bound === null || most === 0 ? null : h("span", { class: "bullet-bound", style: { left: share(bound) } }),
      ),
      h("span", { class: "bullet-value" }, value === null ? UNKNOWN : number(value)),
    );
  const checked = measured.samples > 0 ? ` ${count(measured.samples, "answered request")} checked against the float model, ${number(measured.max)} at most.` : "";
  return h(
    "div",
    { class: "bullet" },
    bar("predicted", plan.noise),
    bar("measured", measured.mean),
    h("p", { class: measured.exceeds ? "problem" : "muted" }, verdict(bound, measured) + checked),
    measured.note ? h("p", { class: "muted" }, measured.note) : null,
  );
}

/**
 * @param {number|null} bound
 * @param {any} measured
 */
function verdict(bound, measured) {
  if (bound === null) return "No bound: as much of it may run in int8 as pays.";
  if (measured.exceeds) return `The measured noise exceeds its bound of ${number(bound)} with 99 % confidence.`;
  if (bound === 0) return "The bound is 0: nothing may run in int8, and nothing may be coded with loss.";
  return `The line is the bound, ${number(bound)}.`;
}
