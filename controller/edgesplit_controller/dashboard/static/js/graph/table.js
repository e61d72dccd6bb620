/**
 * The table that says what the picture shows: units with their component, and the tensors that cross links.
 *
 * Owns: both tables. Its rule: made when somebody opens it, a page of rows at a time, so that 1,852 units cost nothing unless looked at.
 */

import { bytes, count, number } from "../core/format.js";
import { h } from "../core/html.js";
import { nodeMark } from "../parts/chips.js";

/** @typedef {import("./network.js").Network} Network */

const PAGE = 50;

/**
 * Units whose names, kinds, node or component a text is part of.
 *
 * @param {Network} network
 * @param {string} text
 */
export function unitsLike(network, text) {
  const wanted = text.trim().toLowerCase();
  if (wanted === "") return network.units;
  return network.units.filter((unit) => [unit.name, unit.node ?? "", ...unit.kinds, ...unit.operators].some((name) => name.toLowerCase().includes(wanted)));
}

export class UnitTable {
  /** @type {Network|null} */
  #network = null;
  #from = 0;
  #text = "";

  /** @param {(unit: number) => void} chosen A unit is to be seen in the picture. */
  constructor(chosen) {
    this.chosen = chosen;
    this.body = h("tbody");
    this.said = h("p", { class: "muted", role: "status" });
    this.cuts = h("div");
    const search = h("input", { type: "search", placeholder: "Name, type or node", "aria-label": "Find units", oninput: () => this.#search(/** @type {HTMLInputElement} */ (search).value) });
    const columns = ["Unit", "Types", "Node", "Component", "Runs in", "Weights", "MFLOP"];
    this.element = h(
      "details",
      { class: "graph-table" },
      h("summary", null, "As a table"),
      this.cuts,
      h("div", { class: "table-tools" }, search, this.said, h("button", { type: "button", class: "small", onclick: () => this.#turn(-PAGE) }, "Earlier"), h("button", { type: "button", class: "small", onclick: () => this.#turn(PAGE) }, "Later")),
      h("div", { class: "scroll", role: "region", "aria-label": "Units", tabindex: "0" }, h("table", { class: "units" }, h("caption", null, "Units, in the order in which they run"), h("thead", null, h("tr", null, columns.map((name) => h("th", { scope: "col" }, name)))), this.body)),
    );
    this.element.addEventListener("toggle", () => this.#fill());
  }

  show(/** @type {Network} */ network) {
    this.#network = network;
    this.#fill();
  }

  #search(/** @type {string} */ text) {
    this.#text = text;
    this.#from = 0;
    this.#fill();
  }

  #turn(/** @type {number} */ by) {
    this.#from = Math.max(0, this.#from + by);
    this.#fill();
  }

  #fill() {
    if (this.#network === null || !this.element.hasAttribute("open")) return;
    const found = unitsLike(this.#network, this.#text);
    this.#from = Math.min(this.#from, Math.floor(Math.max(0, found.length - 1) / PAGE) * PAGE);
    const shown = found.slice(this.#from, this.#from + PAGE);
    this.said.textContent = found.length > PAGE ? `${this.#from + 1} to ${this.#from + shown.length} of ${count(found.length, "unit")}` : count(found.length, "unit");
    this.body.replaceChildren(
      ...shown.map((unit) =>
        h(
          "tr",
          null,
          h("th", { scope: "row" }, h("button", { type: "button", class: "link", onclick: () => this.chosen(unit.id) }, unit.name)),
          h("td", null, unit.kinds.join(" · ")),
          h("td", null, unit.node === null ? "–" : [nodeMark(unit.node), " ", unit.node, unit.was === null ? "" : ` (was ${unit.was})`]),
          h("td", null, unit.component ?? "–"),
          h("td", null, unit.int8 ? "int8" : "float"),
          h("td", null, bytes(unit.weightBytes)),
          h("td", null, unit.flops === null ? "–" : number(unit.flops / 1e6)),
        ),
      ),
    );
    this.cuts.replaceChildren(cutTable(this.#network));
  }
}

/** @param {Network} network */
function cutTable(network) {
  const nodeOf = new Map([...network.units, ...network.ends].map((place) => [place.id, place.node]));
  const cuts = new Map();
  for (const edge of network.edges) {
    if (!edge.cut) continue;
    const [from, to] = [nodeOf.get(edge.from) ?? "–", nodeOf.get(edge.to) ?? "–"];
    cuts.set(`${edge.tensor} ${from} ${to}`, { ...edge, from, to });
  }
  if (cuts.size === 0) return h("p", { class: "muted" }, "No tensor crosses a link.");
  const rows = [...cuts.values()].map((cut) => h("tr", null, h("th", { scope: "row" }, cut.tensor), h("td", null, `${cut.from} → ${cut.to}`), h("td", null, bytes(cut.nbytes)), h("td", null, cut.codec ?? "uncoded")));
  const columns = ["Tensor", "Link", "Size", "Coded as"];
  return h("div", { class: "scroll", role: "region", "aria-label": "Tensors that cross a link", tabindex: "0" }, h("table", null, h("caption", null, "Tensors that cross a link"), h("thead", null, h("tr", null, columns.map((name) => h("th", { scope: "col" }, name)))), h("tbody", null, rows)));
}
