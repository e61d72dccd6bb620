/**
 * Weights that lead to a plan of the frontier.
 *
 * Owns: for which weights a plan has the lowest score. Its rule: pure. The score is the planner's: latency and energy, each as a share of its
 * range on the frontier, weighted and added. A plan behind the line between two others has the lowest score under no weights.
 */

/** @typedef {{latency_s: number, energy_j: number}} Point */

/**
 * @param {Point[]} points The frontier, by rising latency.
 * @param {number} index Of the plan.
 * @returns {{latency: number, energy: number, least: number, most: number}|null} Weights that add up to 1, and from which to which weight of
 *   energy the plan stays the best; null where no weights lead to it.
 */
export function weightsTo(points, index) {
  const shares = sharesOf(points);
  const here = shares[index];
  let [least, most] = [0, 1];
  shares.forEach((other, place) => {
    if (place === index) return;
    // (1 - w) * here.latency + w * here.energy <= the same of the other one, as slope * w <= offset.
    const slope = here.energy - here.latency - (other.energy - other.latency);
    const offset = other.latency - here.latency;
    if (slope > 0) most = Math.min(most, offset / slope);
    else if (slope < 0) least = Math.max(least, offset / slope);
    else if (offset < 0) most = -1;
  });
  if (least > most) return null;
  let energy = (least + most) / 2;
  if (least === 0) energy = 0;
  else if (most === 1) energy = 1;
  const rounded = roundedWithin(energy, least, most);
  return { latency: Number((1 - rounded).toPrecision(6)), energy: rounded, least, most };
}

/**
 * Two decimals where they suffice.
 *
 * @param {number} value
 * @param {number} least
 * @param {number} most
 */
function roundedWithin(value, least, most) {
  for (const digits of [2, 3, 4]) {
    const rounded = Number(value.toFixed(digits));
    if (rounded >= least && rounded <= most) return rounded;
  }
  return value;
}

/** @param {Point[]} points */
function sharesOf(points) {
  const latencies = points.map((point) => point.latency_s);
  const energies = points.map((point) => point.energy_j);
  const share = (/** @type {number} */ value, /** @type {number[]} */ all) => {
    const range = Math.max(...all) - Math.min(...all);
    return range > 0 ? (value - Math.min(...all)) / range : 0;
  };
  return points.map((point) => ({ latency: share(point.latency_s, latencies), energy: share(point.energy_j, energies) }));
}
