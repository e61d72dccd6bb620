/**
 * Why a plan is as it is: reasons of cuts, what binds, and what giving way would bring.
 *
 * Owns: this list. Its rule: the planner's sentences are shown as they are. Not here: asking for them (reasons.js).
 */

import { bytes, joules, number, seconds } from "../core/format.js";
import { h } from "../core/html.js";

/** @param {import("./reasons.js").Reasons} reasons */
export function whySection(reasons) {
  const found = reasons.document;
  if (found === null) {
    if (reasons.state === "asking") return h("p", { class: "busy" }, "Solving changed problems, some seconds …");
    const failure = reasons.state === "failed" ? h("p", { class: "problem bad" }, reasons.failure) : null;
    return h("div", null, failure, h("button", { type: "button", onclick: () => reasons.want() }, "Explain this plan"), h("p", { class: "muted" }, "The controller then plans again without each cut and each limit, some seconds of its time; nothing is changed."));
  }
  return h(
    "div",
    { class: "why" },
    h("h3", null, found.cuts.length > 0 ? "Why it is cut where it is" : "The plan has no cut: everything runs on one node."),
    h("ul", { class: "why-cuts" }, found.cuts.map(cutEntry)),
    h("h3", null, found.binding.length > 0 ? "What binds" : "No limit binds."),
    h("ul", null, found.binding.map((/** @type {any} */ entry) => h("li", null, entry.text))),
    found.relaxations.length > 0 ? relaxations(found.relaxations) : null,
    found.complete ? null : h("p", { class: "muted" }, "Time ran out before everything was tried."),
  );
}

/** @param {any} cut */
function cutEntry(cut) {
  return h("li", null, h("strong", { class: "name" }, cut.tensor), ` ${cut.from} → ${cut.to}, ${bytes(cut.bytes)}, ${seconds(cut.transfer_s)}`, h("p", null, cut.text));
}

/** @param {any[]} rows */
function relaxations(rows) {
  const columns = ["Change", "Latency", "Energy", "Score falls by"];
  const body = rows.map((row) =>
    h("tr", null, h("th", { scope: "row" }, row.text), h("td", { class: "figure" }, seconds(row.latency_s)), h("td", { class: "figure" }, joules(row.energy_j)), h("td", { class: "figure" }, number(row.score_gain))),
  );
  return h("div", { class: "scroll" }, h("table", null, h("caption", null, "What giving way would bring"), h("thead", null, h("tr", null, columns.map((name, index) => h("th", { scope: "col", class: index > 0 ? "figure" : null }, name)))), h("tbody", null, body)));
}
