/** Page of a frontier: the plans that trade one thing for another without waste, as a curve; a point shows its plan and offers its goals. */

import { AskError, ask } from "../core/ask.js";
import { count, joules, number, percent, perSecond, seconds } from "../core/format.js";
import { h } from "../core/html.js";
import { to } from "../core/router.js";
import { store } from "../core/store.js";
import { ApplyPanel } from "../model/apply.js";
import { Curve } from "../charts/curve.js";
import { plansTable } from "../model/figures.js";
import { nothing } from "../model/supposition.js";
import { weightsTo } from "../model/weights.js";

const POINTS = 16;
const TIME_LIMIT_S = 30;

const LATENCY = { name: "latency", value: (/** @type {any} */ row) => row.latency_s, text: seconds };
const ENERGY = { name: "energy", value: (/** @type {any} */ row) => row.energy_j, text: joules };
const RATE = { name: "sustained rate", value: (/** @type {any} */ row) => row.rate_hz ?? 0, text: perSecond };
const AXES = /** @type {Record<string, {title: string, x: import("../charts/curve.js").Axis, y: import("../charts/curve.js").Axis}>} */ ({
  "latency,energy": { title: "latency for energy", x: LATENCY, y: ENERGY },
  "latency,rate": { title: "latency for rate", x: LATENCY, y: RATE },
  "energy,rate": { title: "energy for rate", x: ENERGY, y: RATE },
});

/** Frontiers by model, epoch and axes, for as long as the page is open: tracing one takes the controller seconds. */
const traced = new Map();

/** @param {{name: string}} params */
export const title = (params) => `Frontier: ${params.name}`;

/**
 * @param {HTMLElement} element
 * @param {{name: string}} params
 * @param {{signal: AbortSignal}} needs
 */
export function mount(element, { name }, { signal }) {
  const select = /** @type {HTMLSelectElement} */ (h("select", { id: "axes" }, Object.entries(AXES).map(([key, axes]) => h("option", { value: key }, axes.title))));
  const again = h("button", { type: "button", onclick: () => trace(true) }, "Trace again");
  const said = h("p", { class: "muted", role: "status" });
  const picture = h("div");
  const detail = h("div", { class: "frontier-detail", "aria-live": "polite" });
  element.append(h("div", { class: "filters" }, h("label", { for: "axes" }, "Trade "), select, again), said, h("div", { class: "frontier" }, picture, detail));
  select.addEventListener("change", () => trace(false));

  /** @type {AbortController|null} */
  let asking = null;
  signal.addEventListener("abort", () => asking?.abort());

  async function trace(/** @type {boolean} */ anew) {
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    const axes = select.value;
    const epoch = (store.get("models") ?? []).find((/** @type {any} */ model) => model.name === name)?.epoch;
    const key = `${name} ${epoch} ${axes}`;
    try {
      if (anew || !traced.has(key)) {
        said.textContent = "Tracing …";
        picture.setAttribute("aria-busy", "true");
        const found = await ask(
          { op: "trace-frontier", name, points: POINTS, time_limit_s: TIME_LIMIT_S, axes },
          { signal: mine.signal, progress: (text, fraction) => (said.textContent = fraction === null ? text : `${text} (${percent(100 * fraction)})`) },
        );
        traced.set(key, found);
      }
      if (!mine.signal.aborted) show(traced.get(key), axes);
    } catch (error) {
      if (mine.signal.aborted) return;
      picture.replaceChildren(h("p", { class: "problem bad" }, error.text ?? error.message));
      if (error instanceof AskError && error.code === "not-deployed") picture.append(h("a", { href: to.operate() }, "Deploy it"));
      said.textContent = "";
      detail.replaceChildren();
    } finally {
      if (!mine.signal.aborted) picture.removeAttribute("aria-busy");
    }
  }

  function show(/** @type {any} */ found, /** @type {string} */ axes) {
    const counted = axes.startsWith("latency") ? ` Latency as the planner counts it: ${found.latency_model}.` : "";
    said.textContent = `${count(found.points.length, "plan")} in ${seconds(found.seconds)}, all predicted, with links and limits as they are; ◆ is the active plan (epoch ${found.epoch}).${counted}`;
    if (found.points.length === 0) {
      picture.replaceChildren(h("p", { class: "empty" }, "No plan was found in the time there was."));
      detail.replaceChildren();
      return;
    }
    const choose = (/** @type {number} */ index) => {
      curve.show(found.points, found.active, index);
      detail.replaceChildren(...planOf(found, index, axes));
    };
    const curve = new Curve(AXES[axes], choose, signal);
    picture.replaceChildren(curve.element);
    choose(Math.max(0, found.points.findIndex((/** @type {any} */ row) => row.active)));
  }

  /** The chosen plan, and how to get it. */
  function planOf(/** @type {any} */ found, /** @type {number} */ index, /** @type {string} */ axes) {
    const row = found.points[index];
    const offered = offer(found, index, axes);
    const apply = new ApplyPanel(name, { signal, applied: () => traced.clear() });
    if (offered.supposed !== null) apply.offer(offered.supposed);
    return [
      h("h2", null, row.active ? "The active plan" : `Plan ${index + 1} of ${found.points.length}`),
      plansTable("All figures are predicted", row.active ? [{ title: "Active", plan: asSummary(row) }] : [{ title: "Active", plan: asSummary(found.active) }, { title: "This plan", plan: asSummary(row) }]),
      h("p", null, offered.text),
      offered.href === "" ? "" : h("p", null, h("a", { href: offered.href }, "Look at these goals in what-if")),
      apply.element,
    ];
  }

  /** Goals that lead to a plan. */
  function offer(/** @type {any} */ found, /** @type {number} */ index, /** @type {string} */ axes) {
    const row = found.points[index];
    if (axes !== "latency,energy") {
      const rate = Math.floor(row.rate_hz * 0.995 * 1e3) / 1e3;
      if (!(rate > 0)) return { supposed: null, href: "", text: "No rate can be asked for that leads to it." };
      const weights = axes.startsWith("latency") ? { latency: 1, energy: 0 } : { latency: 0, energy: 1 };
      const text = `It follows from a rate of at least ${perSecond(rate)} with ${weights.latency === 1 ? "latency" : "energy"} alone counting.`;
      return { supposed: { ...nothing(), weights, minRate: rate }, href: `${to.whatIf(name)}?latency=${weights.latency}&energy=${weights.energy}&rate=${rate}`, text };
    }
    const weights = weightsTo(found.points, index);
    if (weights === null) return { supposed: null, href: "", text: "No weights lead to it: it lies behind the straight line between two others, which are better under any weights. Limits (noise, rate, energy of the source) may." };
    const { latency, energy, least, most } = weights;
    const range = most - least < 1 ? `, as any weight of energy from ${number(least)} to ${number(most)} does` : "";
    const text = `The weights ${number(latency)} for latency and ${number(energy)} for energy lead to it${range}. The controller may take a simpler plan that is about as good.`;
    return { supposed: { ...nothing(), weights: { latency, energy } }, href: `${to.whatIf(name)}?latency=${latency}&energy=${energy}`, text };
  }

  trace(false);
}

/** A row as plans are shown elsewhere: latency is the end of the timeline there. */
function asSummary(/** @type {any} */ row) {
  return { ...row, latency_s: row.timeline_s, latency_interval_s: row.timeline_interval_s };
}
