/** Page of a what-if: other goals, links or nodes, the plan that would result beside the running one, and setting its goals. */

import { planBars } from "../charts/bars.js";
import { AskError, ask, getJson } from "../core/ask.js";
import { count, seconds } from "../core/format.js";
import { h } from "../core/html.js";
import { to } from "../core/router.js";
import { Gantt } from "../gantt.js";
import { joined } from "../graph/network.js";
import { NetworkPanel } from "../graph/panel.js";
import { ApplyPanel } from "../model/apply.js";
import { conditions } from "../model/conditions.js";
import { plansTable } from "../model/figures.js";
import { fromQuery, isNothing, nothing, whatIfOperation } from "../model/supposition.js";

/** A slider that is still moving asks nothing. */
const SETTLED_MS = 250;

/** @param {{name: string}} params */
export const title = (params) => `What if: ${params.name}`;

/**
 * @param {HTMLElement} element
 * @param {{name: string, query: URLSearchParams}} params
 * @param {{signal: AbortSignal}} needs
 */
export async function mount(element, { name, query }, { signal }) {
  const form = h("div", { class: "panel" }, h("p", { class: "loading" }, "Asking for the plan …"));
  const result = h("div", { class: "what-if-result", "aria-live": "polite" });
  const panel = new NetworkPanel({ reasons: null, signal });
  const gantt = new Gantt({ name: "Timeline of a request under the plan that would result", idle: "Point at a bar, or walk with the arrow keys, to read what it is." });
  const pictured = h("div", { hidden: true }, h("section", null, h("h2", null, "Its network"), panel.element), h("section", null, h("h2", null, "Its timeline"), gantt.element));
  element.append(h("div", { class: "what-if" }, form, h("div", null, result, h("div", { class: "what-if-apply" }), pictured)));
  /** The plan as it is, and its network: what another one is held against. @type {any} */
  let [now, graph] = [null, null];
  let supposed = fromQuery(query ?? new URLSearchParams());
  const apply = new ApplyPanel(name, { signal, applied: () => begin(nothing()).then(() => result.replaceChildren()) });
  /** @type {HTMLElement} */ (element.querySelector(".what-if-apply")).append(apply.element);

  let settling = 0;
  /** @type {AbortController|null} */
  let asking = null;
  signal.addEventListener("abort", () => {
    clearTimeout(settling);
    asking?.abort();
  });

  const study = async () => {
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    result.setAttribute("aria-busy", "true");
    try {
      const found = await ask(whatIfOperation(name, supposed), { signal: mine.signal });
      graph ??= await getJson(`api/models/${encodeURIComponent(name)}/graph`, { signal: mine.signal });
      if (!mine.signal.aborted) show(found);
    } catch (error) {
      pictured.hidden = true;
      if (!mine.signal.aborted) result.replaceChildren(refusal(error));
    }
    if (!mine.signal.aborted) result.removeAttribute("aria-busy");
  };
  const show = (/** @type {any} */ found) => {
    result.replaceChildren(...answer(found));
    pictured.hidden = false;
    panel.show(joined(graph, found.placed, now), found.placed);
    gantt.show(planBars(found.placed), [{ atS: found.then.latency_s, text: `predicted end, ${seconds(found.then.latency_s)}`, measured: false }]);
  };
  const changed = () => {
    clearTimeout(settling);
    // What was asked before is of no use any more: the controller may end it now.
    asking?.abort();
    apply.offer(supposed);
    if (isNothing(supposed)) {
      result.removeAttribute("aria-busy");
      pictured.hidden = true;
      result.replaceChildren(h("p", { class: "empty" }, "Move something: the plan that would result is shown here, beside the one that serves. Nothing is changed by looking."));
      return;
    }
    result.setAttribute("aria-busy", "true");
    settling = setTimeout(study, SETTLED_MS);
  };

  /** Start from the plan as it is now, with something supposed from the beginning. */
  async function begin(/** @type {import("../model/supposition.js").Supposition} */ first) {
    try {
      const [plan, links] = await Promise.all([ask({ op: "show-plan", name }, { signal }), ask({ op: "list-links" }, { signal })]);
      [supposed, now] = [first, plan];
      const again = h("button", { type: "button", onclick: () => begin(nothing()).then(changed) }, "Start over");
      form.replaceChildren(conditions(plan, links, supposed, changed), again);
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      form.replaceChildren(refusal(error));
      if (error instanceof AskError && error.code === "not-deployed") form.append(h("a", { href: to.operate() }, "Deploy it"));
      return false;
    }
  }
  if (await begin(supposed)) changed();
}

/** @param {any} found A WhatIfDocument. */
function answer(found) {
  const verdict = found.same ? "The active plan would stay." : `Another plan would be made: ${count(found.moved, "operator")} would change ${found.moved === 1 ? "its" : "their"} node.`;
  const then = found.active_then;
  return [
    h("p", { class: "verdict" }, h("strong", null, verdict), ` ${found.then.status}, planned in ${seconds(found.solve_s)}`),
    h("ul", { class: "supposed" }, found.supposed.map((/** @type {string} */ text) => h("li", null, text))),
    plansTable("All figures are predicted", [
      { title: "Active, now", plan: found.active },
      { title: "Active, then", plan: then },
      { title: "Best, then", plan: found.then },
    ]),
    then === null ? h("p", { class: "problem warn" }, "The active plan could not run then.") : "",
    ...(then?.broken ?? []).map((/** @type {string} */ text) => h("p", { class: "problem warn" }, `The active plan would break a limit: ${text}`)),
  ];
}

/** @param {any} error */
function refusal(error) {
  const infeasible = error.code === "plan-infeasible";
  return h("div", null, infeasible ? h("p", { class: "verdict" }, h("strong", null, "There would be no plan.")) : null, h("p", { class: infeasible ? "problem warn" : "problem bad" }, error.text ?? error.message));
}
