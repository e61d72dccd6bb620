/** Page of a what-if: other goals, links or nodes, the plan that would result beside the running one, and setting its goals. */

import { AskError, ask } from "../core/ask.js";
import { count, seconds } from "../core/format.js";
import { h } from "../core/html.js";
import { to } from "../core/router.js";
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
  element.append(h("div", { class: "what-if" }, form, h("div", null, result, h("div", { class: "what-if-apply" }))));
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
      if (!mine.signal.aborted) result.replaceChildren(...answer(found));
    } catch (error) {
      if (!mine.signal.aborted) result.replaceChildren(refusal(error));
    }
    if (!mine.signal.aborted) result.removeAttribute("aria-busy");
  };
  const changed = () => {
    clearTimeout(settling);
    // What was asked before is of no use any more: the controller may end it now.
    asking?.abort();
    apply.offer(supposed);
    if (isNothing(supposed)) {
      result.removeAttribute("aria-busy");
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
      supposed = first;
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
