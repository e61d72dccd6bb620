/**
 * Tensors that go along links now: measured requests a second times what the plan that answers them sends. Pure.
 *
 * Its one rule: the rate is that of served requests, never a picture's own; a plan that does not answer now sends nothing.
 */

const FLIGHT_S = 1.6;
const MOST_DOTS = 8;

/**
 * @param {Array<{name: string, epoch: number|null, requests_per_s: number}>} models rows of the activity document
 * @param {Map<string, {epoch: number, serving?: number|null, timeline: Array}>} plans by the deployment's name
 * @returns {Map<string, {perSecond: number, models: Set<string>, tensors: string[]}>} by `FROM:TO`
 */
export function flowsOf(models, plans) {
  const flows = new Map();
  for (const model of models) {
    const plan = plans.get(model.name);
    if (!plan || model.requests_per_s <= 0 || model.epoch !== plan.epoch) continue;
    for (const entry of plan.timeline) {
      if (entry.kind !== "transfer") continue;
      const key = linkKey(entry.from, entry.to);
      const flow = flows.get(key) ?? { perSecond: 0, models: new Set(), tensors: [] };
      flow.perSecond += model.requests_per_s;
      flow.models.add(model.name);
      flow.tensors.push(entry.tensor);
      flows.set(key, flow);
    }
  }
  return flows;
}

/** Links that plans use, whether or not anything is asked of them. @returns {Set<string>} */
export function usedLinks(plans) {
  const used = new Set();
  for (const plan of plans.values()) for (const entry of plan.timeline) if (entry.kind === "transfer") used.add(linkKey(entry.from, entry.to));
  return used;
}

/** Name of a direction between two nodes. */
export const linkKey = (from, to) => `${from}:${to}`;

/**
 * How dots pass so that as many leave as tensors do: `count` of them at once, each under way for `durationS`. Above eight at once
 * there are no more, for nobody counts them; the label says the rate.
 * @param {number} perSecond
 */
export function dotsFor(perSecond) {
  if (!(perSecond > 0)) return { count: 0, durationS: 0 };
  const count = Math.min(MOST_DOTS, Math.max(1, Math.round(perSecond * FLIGHT_S)));
  return { count, durationS: Math.min(20, Math.max(count / perSecond, count === MOST_DOTS ? FLIGHT_S : 0)) };
}
