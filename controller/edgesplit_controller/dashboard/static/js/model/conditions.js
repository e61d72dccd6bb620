/**
 * The form of a what-if: goals, links, nodes left out.
 *
 * Owns: which controls there are. Its rule: what is offered are goals that `set-weights` takes, links that plans may use, and nodes that may be
 * left out; of many, those of the plan first, and others on demand.
 */

import { bytesPerSecond, joules, number, percent, perSecond } from "../core/format.js";
import { h } from "../core/html.js";
import { slider, tick } from "./controls.js";
import { linkKey, logSteps } from "./supposition.js";

/** @typedef {import("./supposition.js").Supposition} Supposition */

const SHOWN_NODES = 8;
const SHOWN_LINKS = 6;
const BANDWIDTH_FACTOR = 32;

/**
 * @param {any} plan A PlanDocument.
 * @param {any[]} links LinkRows.
 * @param {Supposition} supposed Is changed.
 * @param {() => void} changed
 */
export function conditions(plan, links, supposed, changed) {
  const form = h("form", { class: "conditions", "aria-label": "What is supposed", onsubmit: (/** @type {Event} */ event) => event.preventDefault() });
  form.append(group("Goals", ...goalControls(plan, supposed, changed)), linkGroup(plan, links, supposed, changed), nodeGroup(plan, supposed, changed));
  return form;
}

/**
 * @param {any} plan
 * @param {Supposition} supposed
 * @param {() => void} changed
 */
function goalControls(plan, supposed, changed) {
  const goals = plan.goals;
  const set = (/** @type {"maxNoise"|"minRate"|"deviceEnergyJ"} */ key) => (/** @type {number|null|undefined} */ value) => {
    if (value === undefined) delete supposed[key];
    else supposed[key] = value;
    changed();
  };
  const total = goals.latency_weight + goals.energy_weight;
  const noiseTop = Math.max(1, plan.noise * 10, (goals.max_noise ?? 0) * 4);
  const rateTop = Math.max(100, (plan.rate_hz ?? 0) * 10);
  const device = Math.max(plan.device_energy_j, 1e-6);
  return [
    slider({
      label: "What counts",
      steps: Array.from({ length: 21 }, (_, index) => index / 20),
      now: goals.energy_weight / total,
      supposed: supposed.weights === undefined ? undefined : supposed.weights.energy / (supposed.weights.latency + supposed.weights.energy),
      text: weightText,
      changed: (energy) => {
        if (energy === undefined) delete supposed.weights;
        else supposed.weights = { latency: Number((1 - energy).toFixed(4)), energy };
        changed();
      },
    }),
    slider({ label: "Noise at most", steps: [0, ...logSteps(1e-4, noiseTop, 8), null], now: goals.max_noise, supposed: supposed.maxNoise, text: orNone(number), changed: set("maxNoise") }),
    slider({ label: "Rate at least", steps: [null, ...logSteps(0.1, rateTop, 8)], now: goals.min_rate_hz, supposed: supposed.minRate, text: orNone(perSecond), changed: set("minRate") }),
    slider({ label: "Energy of the source at most", steps: [...logSteps(device / 20, device * 5, 10), null], now: goals.device_energy_limit_j, supposed: supposed.deviceEnergyJ, text: orNone(joules), changed: set("deviceEnergyJ") }),
  ];
}

/**
 * @param {any} plan
 * @param {any[]} links
 * @param {Supposition} supposed
 * @param {() => void} changed
 */
function linkGroup(plan, links, supposed, changed) {
  const used = new Set(plan.timeline.filter((/** @type {any} */ entry) => entry.kind === "transfer").map((/** @type {any} */ entry) => linkKey(entry.from, entry.to)));
  const able = links.filter((link) => link.bandwidth_bytes_per_s > 0 && plan.candidates.includes(link.from) && plan.candidates.includes(link.to));
  const rank = (/** @type {any} */ link) => (linkKey(link.from, link.to) in supposed.bandwidths ? 0 : used.has(linkKey(link.from, link.to)) ? 1 : link.from === plan.source || link.to === plan.source ? 2 : 3);
  const ordered = [...able].sort((a, b) => rank(a) - rank(b));
  const rows = h("div");
  const add = (/** @type {any} */ link) => rows.append(linkSlider(link, supposed, changed));
  const must = ordered.filter((link) => rank(link) < 2).length;
  const shown = Math.max(must, SHOWN_LINKS);
  ordered.slice(0, shown).forEach(add);
  const others = ordered.slice(shown);
  return group("Bandwidth of links", ordered.length === 0 ? h("p", { class: "muted" }, "No link of this plan's nodes is measured.") : rows, others.length > 0 ? more("Another link", others, (link) => `${link.from} → ${link.to}`, add) : "");
}

/**
 * @param {any} link
 * @param {Supposition} supposed
 * @param {() => void} changed
 */
function linkSlider(link, supposed, changed) {
  const key = linkKey(link.from, link.to);
  const now = link.bandwidth_bytes_per_s;
  return slider({
    label: `${link.from} → ${link.to}`,
    steps: logSteps(now / BANDWIDTH_FACTOR, now * BANDWIDTH_FACTOR, 10),
    now,
    supposed: supposed.bandwidths[key],
    text: bytesPerSecond,
    changed: (value) => {
      if (value === undefined) delete supposed.bandwidths[key];
      else supposed.bandwidths[key] = value;
      changed();
    },
  });
}

/**
 * @param {any} plan
 * @param {Supposition} supposed
 * @param {() => void} changed
 */
function nodeGroup(plan, supposed, changed) {
  const able = plan.candidates.filter((/** @type {string} */ node) => node !== plan.source);
  const part = (/** @type {string} */ node) => (supposed.without.includes(node) ? 0 : (plan.per_node[node]?.operators ?? 0) > 0 ? 1 : 2);
  const ordered = [...able].sort((a, b) => part(a) - part(b));
  const rows = h("div", { class: "ticks" });
  const add = (/** @type {string} */ node) =>
    rows.append(
      tick(node, supposed.without.includes(node), (gone) => {
        supposed.without = supposed.without.filter((name) => name !== node);
        if (gone) supposed.without.push(node);
        changed();
      }),
    );
  ordered.slice(0, SHOWN_NODES).forEach(add);
  const others = ordered.slice(SHOWN_NODES);
  return group("Nodes left out", ordered.length === 0 ? h("p", { class: "muted" }, "The source is the only node that this plan may use.") : rows, others.length > 0 ? more("Another node", others, (node) => node, add) : "");
}

/**
 * A choice of what is not shown yet.
 *
 * @template T
 * @param {string} label
 * @param {T[]} others
 * @param {(one: T) => string} name
 * @param {(one: T) => void} add
 */
function more(label, others, name, add) {
  const select = /** @type {HTMLSelectElement} */ (h("select", { "aria-label": label }, h("option", { value: "" }, `${label} …`), others.map((one, index) => h("option", { value: String(index) }, name(one)))));
  select.addEventListener("change", () => {
    if (select.value === "") return;
    add(others[Number(select.value)]);
    select.selectedOptions[0].remove();
    select.value = "";
  });
  return select;
}

function group(/** @type {string} */ name, /** @type {(Node|string)[]} */ ...children) {
  // On a narrow screen the answer stands below the form: what is asked less often is folded there.
  const open = name === "Goals" || matchMedia("(min-width: 1000px)").matches;
  return h("details", { open }, h("summary", null, name), ...children);
}

/** @param {number} energy Share of energy. [1] */
function weightText(energy) {
  if (energy === 0) return "latency alone";
  return energy === 1 ? "energy alone" : `latency ${percent(100 * (1 - energy))}, energy ${percent(100 * energy)}`;
}

/** @param {(value: any) => string} text */
function orNone(text) {
  return (/** @type {number|null} */ value) => (value === null ? "no limit" : text(value));
}
