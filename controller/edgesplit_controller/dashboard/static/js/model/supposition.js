/**
 * What is supposed in a what-if: goals, links, nodes left out, and the operations that ask for it and set it.
 *
 * Owns: the values of the form and what they mean. Its rule: pure; a value that was not touched is left out of operations, so that the
 * controller's own holds. Only goals can be set: links and nodes are what they are.
 */

import { bytesPerSecond } from "../core/format.js";

/**
 * @typedef {object} Supposition Undefined: not touched; null: no limit.
 * @property {{latency: number, energy: number}} [weights]
 * @property {number|null} [maxNoise]
 * @property {number|null} [minRate] [1/s]
 * @property {number|null} [deviceEnergyJ] [J]
 * @property {Record<string, number>} bandwidths `FROM>TO` (each as encodeURIComponent has it) to bytes per second. [B/s]
 * @property {string[]} without Nodes left out.
 */

/** @returns {Supposition} */
export function nothing() {
  return { bandwidths: {}, without: [] };
}

/**
 * @param {string} from
 * @param {string} to
 */
export function linkKey(from, to) {
  return `${encodeURIComponent(from)}>${encodeURIComponent(to)}`;
}

/** @param {string} key */
function endsOf(key) {
  return key.split(">").map(decodeURIComponent);
}

/** @param {Supposition} supposed */
export function isNothing(supposed) {
  return goalsOf(supposed) === null && Object.keys(supposed.bandwidths).length === 0 && supposed.without.length === 0;
}

/**
 * @param {string} name Of the model.
 * @param {Supposition} supposed
 */
export function whatIfOperation(name, supposed) {
  const links = Object.entries(supposed.bandwidths).map(([key, bandwidth]) => {
    const [from, to] = endsOf(key);
    return { from, to, bandwidth_bytes_per_s: bandwidth };
  });
  return { op: "what-if", name, links, without: supposed.without, ...goalsOf(supposed) };
}

/**
 * @param {string} name
 * @param {Supposition} supposed
 * @param {boolean} dryRun
 * @returns {{op: string}|null} Null where no goal was touched.
 */
export function setWeightsOperation(name, supposed, dryRun) {
  const goals = goalsOf(supposed);
  return goals === null ? null : { op: "set-weights", model: name, dry_run: dryRun, ...goals };
}

/** @param {Supposition} supposed */
function goalsOf(supposed) {
  /** @type {Record<string, unknown>} */
  const goals = {};
  if (supposed.weights !== undefined) Object.assign(goals, supposed.weights);
  if (supposed.maxNoise !== undefined) goals.max_noise = { value: supposed.maxNoise };
  if (supposed.deviceEnergyJ !== undefined) goals.device_energy_j = { value: supposed.deviceEnergyJ };
  if (supposed.minRate !== undefined) goals.min_rate = { value: supposed.minRate };
  return Object.keys(goals).length === 0 ? null : goals;
}

/**
 * What of it nobody can set, one sentence each.
 *
 * @param {Supposition} supposed
 * @returns {string[]}
 */
export function notForSetting(supposed) {
  const links = Object.entries(supposed.bandwidths).map(([key, bandwidth]) => {
    const [from, to] = endsOf(key);
    return `the link ${from} → ${to} stays as it is measured: ${bytesPerSecond(bandwidth)} was only supposed`;
  });
  return [...links, ...supposed.without.map((node) => `${node} stays: to leave it out, forbid or drain it`)];
}

/**
 * Supposed goals as an address has them, `?latency=0.3&energy=0.7&rate=5`.
 *
 * @param {URLSearchParams} query
 * @returns {Supposition}
 */
export function fromQuery(query) {
  const supposed = nothing();
  const value = (/** @type {string} */ key) => {
    const text = query.get(key);
    const number = text === null || text === "" ? NaN : Number(text);
    return Number.isFinite(number) && number >= 0 ? number : undefined;
  };
  const [latency, energy] = [value("latency"), value("energy")];
  if ((latency ?? 0) + (energy ?? 0) > 0) supposed.weights = { latency: latency ?? 0, energy: energy ?? 0 };
  const rate = value("rate");
  if (rate !== undefined && rate > 0) supposed.minRate = rate;
  return supposed;
}

/**
 * Steps of a slider on a scale of tenfold growth, with values of two digits.
 *
 * @param {number} least
 * @param {number} most
 * @param {number} perDecade
 * @returns {number[]}
 */
export function logSteps(least, most, perDecade) {
  const steps = new Set();
  const count = Math.max(1, Math.round(Math.log10(most / least) * perDecade));
  for (let index = 0; index <= count; index += 1) steps.add(Number((least * (most / least) ** (index / count)).toPrecision(2)));
  return [...steps];
}

/**
 * @param {(number|null)[]} steps
 * @param {number|null} value
 * @returns {number} Index of the step nearest to a value, by their ratio.
 */
export function nearestStep(steps, value) {
  if (value === null || value === 0) return Math.max(0, steps.indexOf(value));
  const away = (/** @type {number|null} */ step) => (step === null || step === 0 ? Infinity : Math.abs(Math.log(step / value)));
  return steps.reduce((/** @type {number} */ best, step, index) => (away(step) < away(steps[best]) ? index : best), 0);
}
