/** Page of one request that is followed across nodes: what each computed, coded, sent and waited for, beside what the plan predicts. */

import { ask } from "../core/ask.js";
import { UNKNOWN, bytes, clock, seconds } from "../core/format.js";
import { h } from "../core/html.js";
import { to } from "../core/router.js";
import { Gantt } from "../gantt.js";
import { traceBars } from "../charts/bars.js";
import { pair } from "../model/figures.js";

/** @param {{name: string}} params */
export const title = (params) => `Trace: ${params.name}`;

/**
 * @param {HTMLElement} element
 * @param {{name: string, query: URLSearchParams}} params
 * @param {{signal: AbortSignal}} needs
 */
export function mount(element, { name, query }, { signal }) {
  const input = /** @type {HTMLInputElement} */ (h("input", { id: "request", type: "text", placeholder: "the last one", autocomplete: "off", spellcheck: "false" }));
  input.value = query?.get("request") ?? "";
  const form = h("form", { class: "filters" }, h("div", { class: "field" }, h("label", { for: "request" }, "Request"), input), h("button", { type: "submit" }, "Follow it"), h("button", { type: "button", onclick: () => ((input.value = ""), look()) }, "The last one"));
  const content = h("div", { "aria-live": "polite" }, h("p", { class: "loading" }, "Asking the nodes …"));
  element.append(form, content);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    look();
  });

  /** @type {AbortController|null} */
  let asking = null;
  signal.addEventListener("abort", () => asking?.abort());
  async function look() {
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    content.setAttribute("aria-busy", "true");
    try {
      const found = await ask({ op: "show-trace", name, request: input.value.trim() }, { signal: mine.signal });
      if (!mine.signal.aborted) content.replaceChildren(...traced(found, name));
    } catch (error) {
      if (mine.signal.aborted) return;
      content.replaceChildren(
        h("p", { class: "problem warn" }, error.text ?? error.message),
        h("p", { class: "muted" }, "Nodes remember the steps of their last thousand requests. To send one and follow it: ", h("code", null, `splitctl trace ${name} --input IN.npz`)),
      );
    }
    if (!mine.signal.aborted) content.removeAttribute("aria-busy");
  }
  look();
}

/**
 * @param {any} found A TraceDocument.
 * @param {string} name
 */
function traced(found, name) {
  const gantt = new Gantt({ name: "Steps of the request", idle: "Point at a bar, or walk with the arrow keys, to read what it is." });
  const marks = [{ atS: found.latency_s, text: `answered after ${seconds(found.latency_s)}`, measured: true }];
  if (found.predicted_latency_s !== null) marks.push({ atS: found.predicted_latency_s, text: `predicted end, ${seconds(found.predicted_latency_s)}`, measured: false });
  gantt.show(traceBars(found), marks);
  return [
    h(
      "dl",
      { class: "facts" },
      pair("Latency", found.predicted_latency_s === null ? UNKNOWN : seconds(found.predicted_latency_s), seconds(found.latency_s)),
      h("div", null, h("dt", null, "Came"), h("dd", null, clock(found.began_unix_s))),
      h("div", null, h("dt", null, "To"), h("dd", null, h("a", { href: to.node(found.source) }, found.source))),
      h("div", null, h("dt", null, "Plan"), h("dd", null, `epoch ${found.epoch}`)),
      h("div", null, h("dt", null, "Request"), h("dd", { class: "name" }, h("a", { href: to.trace(name, found.request) }, found.request))),
    ),
    gantt.element,
    ...found.missing.map((/** @type {any} */ gap) => h("p", { class: "problem warn" }, `The part of ${gap.node} is missing: ${gap.reason}`)),
    clocks(found.clocks),
    h("details", null, h("summary", null, "As a table"), steps(found.steps)),
  ];
}

/** @param {any[]} rows TraceClocks. */
function clocks(rows) {
  const exact = rows.map((row) => {
    const off = row.uncertain_s === null ? "bounded on one side only" : `off by ${seconds(row.uncertain_s)} at most`;
    return h("li", null, `${row.node}: ${off}${row.by === "order" ? ", by the order of steps alone" : ""}`);
  });
  return rows.length === 0 ? "" : h("section", null, h("h2", null, "How exact times of other nodes are"), h("p", { class: "muted" }, "Each node times steps by its own clock; durations on one node are exact, those of transfers as exact as both clocks."), h("ul", null, exact));
}

/** @param {any[]} rows TraceSteps. */
function steps(rows) {
  const columns = ["Step", "Where", "Tensors", "Size", "Began", "Took", "Waited before", "Predicted"];
  const body = rows.map((step) =>
    h(
      "tr",
      null,
      h("th", { scope: "row" }, step.component === null ? step.kind : `compute ${step.component}`),
      h("td", null, step.kind === "transfer" ? `${step.from} → ${step.to}` : step.node),
      h("td", { class: "name" }, step.tensors.join(", ")),
      h("td", null, step.nbytes > 0 ? bytes(step.nbytes) : ""),
      h("td", null, seconds(step.start_s)),
      h("td", null, seconds(step.end_s - step.start_s)),
      h("td", null, step.waited_s > 0 ? seconds(step.waited_s) : ""),
      h("td", null, step.predicted_start_s === null ? UNKNOWN : seconds(step.predicted_end_s - step.predicted_start_s)),
    ),
  );
  return h("div", { class: "scroll" }, h("table", null, h("thead", null, h("tr", null, columns.map((name) => h("th", { scope: "col" }, name)))), h("tbody", null, body)));
}
