/**
 * Bars of Gantt charts: a plan's timeline with what its components really take, and one request's steps beside what was predicted.
 *
 * Owns: turning documents into bars. Its rule: pure; what is measured and what is predicted is never mixed in one bar.
 */

import { bytes, count, seconds } from "../core/format.js";

/** @typedef {import("../gantt.js").Bar} Bar */

/**
 * The predicted timeline; under each component what its last requests took, from where it is predicted to begin.
 *
 * @param {any} plan A PlanDocument.
 * @returns {Bar[]}
 */
export function planBars(plan) {
  const componentOf = new Map(plan.components.map((/** @type {any} */ component) => [component.id, component]));
  /** @type {Bar[]} */
  const bars = [];
  for (const entry of plan.timeline) {
    const component = componentOf.get(entry.component);
    const what = sentence(entry, component?.operators.length);
    const measuredS = entry.kind === "compute" ? (component?.measured_s ?? null) : null;
    const beside = measuredS === null ? "" : `; measured lately ${seconds(measuredS)}`;
    const span = `predicted ${seconds(entry.end_s - entry.start_s)}, from ${seconds(entry.start_s)} to ${seconds(entry.end_s)}${beside}`;
    const says = `${what}: ${span}`;
    const place = placeOf(entry);
    bars.push({ ...place, kind: entry.kind, startS: entry.start_s, endS: entry.end_s, measured: false, says });
    if (measuredS !== null) bars.push({ ...place, kind: entry.kind, startS: entry.start_s, endS: entry.start_s + measuredS, measured: true, says });
  }
  return bars;
}

/**
 * @param {any} trace A TraceDocument.
 * @returns {Bar[]}
 */
export function traceBars(trace) {
  /** @type {Bar[]} */
  const bars = [];
  for (const step of trace.steps) {
    const tensor = step.tensors.join(", ");
    const what = sentence({ ...step, tensor });
    const waited = step.waited_s > 0 ? `, after waiting ${seconds(step.waited_s)} for other requests` : "";
    const size = step.nbytes > 0 ? `, ${bytes(step.nbytes)}` : "";
    const says = `${what}${size}: measured ${seconds(step.end_s - step.start_s)}, from ${seconds(step.start_s)} to ${seconds(step.end_s)}${waited}${predictedText(step)}`;
    bars.push({ ...placeOf(step), kind: step.kind, startS: step.start_s, endS: step.end_s, measured: true, says });
  }
  for (const entry of trace.predicted) {
    const says = `${sentence(entry)}: predicted ${seconds(entry.end_s - entry.start_s)}, from ${seconds(entry.start_s)} to ${seconds(entry.end_s)}`;
    bars.push({ ...placeOf(entry), kind: entry.kind, startS: entry.start_s, endS: entry.end_s, measured: false, says });
  }
  return bars;
}

/** @param {any} step */
function predictedText(step) {
  if (step.predicted_start_s === null || step.predicted_end_s === null) return "; the plan has no such step";
  return `; predicted ${seconds(step.predicted_end_s - step.predicted_start_s)}`;
}

/** @param {any} entry */
function placeOf(entry) {
  if (entry.kind === "transfer") return { lane: `${entry.from} → ${entry.to}`, nodes: [entry.from, entry.to] };
  return { lane: entry.node, nodes: [entry.node] };
}

/**
 * @param {any} entry
 * @param {number} [operators]
 */
function sentence(entry, operators) {
  const size = operators === undefined ? "" : ` (${count(operators, "operator")})`;
  switch (entry.kind) {
    case "compute":
      return `${entry.node} computes component ${entry.component}${size}`;
    case "transfer":
      return `${entry.tensor} travels from ${entry.from} to ${entry.to}`;
    case "encode":
      return `${entry.node} encodes ${entry.tensor}`;
    default:
      return `${entry.node} restores ${entry.tensor}`;
  }
}
