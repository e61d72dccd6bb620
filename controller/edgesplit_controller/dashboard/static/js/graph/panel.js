/**
 * The network of a model: picture, tools, legend and table as one part of a page.
 *
 * Owns: what is opened, and when a layout is asked for. Its rule: a large network begins as its components, a small one as its units; what
 * people opened stays open until the plan has other components. Not here: painting, layouts, words of cards.
 */

import { count } from "../core/format.js";
import { h } from "../core/html.js";
import { nodeMark } from "../parts/chips.js";
import { itemCard, tieCard } from "../model/cards.js";
import { LayoutFailed, layoutOf, roundedAspect } from "./layouts.js";
import { groupingKey } from "./network.js";
import { Picture } from "./picture.js";
import { UnitTable } from "./table.js";
import { viewOf } from "./view.js";

/** @typedef {import("./network.js").Network} Network */

/** A network of so many units is shown whole at first. */
const SMALL = 48;
const ZOOM = 1.5;

export class NetworkPanel {
  /** @type {Network|null} */
  #network = null;
  /** @type {import("./view.js").View|null} */
  #view = null;
  /** @type {"all"|Set<number>} */
  #opened = "all";
  #grouping = "";
  #aspect = 0;
  #asked = 0;

  /** @param {{reasons: import("../model/reasons.js").Reasons|null, signal: AbortSignal}} needs `reasons`: null of a plan that nobody can explain. */
  constructor({ reasons, signal }) {
    /** The plan whose figures cards tell: a PlanDocument, or null. @type {any|null} */
    this.plan = null;
    this.reasons = reasons;
    this.signal = signal;
    this.picture = new Picture({
      describe: (scene, marked) => this.#describe(scene, marked),
      open: (item) => this.#toggle(item),
      resized: () => this.#arrange(),
      signal,
    });
    this.table = new UnitTable((unit) => this.#reveal(unit));
    this.said = h("p", { class: "graph-said muted", role: "status" });
    this.legend = h("div", { class: "graph-legend" });
    const tool = (/** @type {string} */ text, /** @type {string} */ name, /** @type {() => void} */ action) => h("button", { type: "button", class: "small", "aria-label": name, title: name, onclick: action }, text);
    this.whole = tool("Components", "Close all components", () => this.#open(new Set()));
    this.units = tool("Operators", "Open all components", () => this.#open("all"));
    const tools = h(
      "div",
      { class: "graph-tools" },
      this.whole,
      this.units,
      tool("Next cut", "Look at the next cut (c)", () => this.picture.nextCut()),
      tool("+", "Larger (+)", () => this.picture.zoom(ZOOM)),
      tool("−", "Smaller (-)", () => this.picture.zoom(1 / ZOOM)),
      tool("Fit", "Show all of it (0)", () => this.picture.fit()),
    );
    this.element = h("div", { class: "graph" }, tools, this.picture.element, this.said, this.legend, h("p", { class: "muted" }, "Drag to move; Ctrl and wheel, or + and −, to zoom; click a component to open it. Arrow keys follow tensors."), this.table.element);
  }

  /**
   * @param {Network} network
   * @param {any|null} plan A PlanDocument.
   */
  show(network, plan) {
    const grouping = `${network.sha256} ${groupingKey(network)}`;
    this.#network = network;
    this.plan = plan;
    if (grouping !== this.#grouping) {
      this.#grouping = grouping;
      this.#opened = network.units.length <= SMALL || network.components < 2 ? "all" : new Set();
    }
    this.picture.canvas.setAttribute("aria-label", `${count(network.units.length, "unit")} in ${count(network.components, "component")} on ${network.nodes.join(", ") || "no node"}. Arrow keys follow tensors, c goes to the next cut, Enter opens and closes components, plus and minus zoom. The table below says the same.`);
    this.#showLegend();
    this.table.show(network);
    this.#arrange(true);
  }

  /** Something else is known of why tensors are cut. */
  refresh() {
    this.picture.refresh();
  }

  #showLegend() {
    const network = /** @type {Network} */ (this.#network);
    const nodes = network.nodes.map((node) => h("span", { class: "legend-entry" }, nodeMark(node), node));
    const sample = (/** @type {string} */ kind, /** @type {string} */ text) => h("span", { class: "legend-entry" }, h("span", { class: `sample ${kind}` }), text);
    const marks = [
      network.units.some((unit) => unit.int8) ? sample("int8", "runs in int8") : null,
      network.edges.some((edge) => edge.cut && edge.codec === null) ? sample("cut", "crosses a link") : null,
      network.edges.some((edge) => edge.codec !== null) ? sample("coded", "crosses a link, coded") : null,
      network.units.some((unit) => unit.was !== null) ? sample("former", "left edge: the node that it comes from") : null,
    ];
    this.legend.replaceChildren(...nodes, ...marks.filter((mark) => mark !== null));
  }

  async #arrange(anew = false) {
    if (this.#network === null) return;
    const aspect = roundedAspect(this.picture.aspect);
    if (!anew && aspect === this.#aspect) return;
    this.#aspect = aspect;
    this.#asked += 1;
    const asked = this.#asked;
    const view = viewOf(this.#network, this.#opened);
    this.whole.setAttribute("aria-pressed", String(this.#opened !== "all" && this.#opened.size === 0));
    this.units.setAttribute("aria-pressed", String(this.#opened === "all"));
    this.whole.toggleAttribute("disabled", this.#network.components === 0);
    const late = setTimeout(() => (this.said.textContent = `Laying out ${count(view.items.length, "box", "boxes")} …`), 200);
    try {
      const layout = await layoutOf(this.#network, view, aspect);
      if (asked !== this.#asked || this.signal.aborted) return;
      this.#view = view;
      this.picture.show({ items: view.items, ties: view.ties, rects: layout.rects, lines: layout.lines }, layout);
      this.said.textContent = "";
    } catch (error) {
      if (!(error instanceof LayoutFailed)) throw error;
      if (asked === this.#asked && !this.signal.aborted) this.said.textContent = `The picture cannot be drawn (${error.message}). The table says what it would show.`;
    } finally {
      clearTimeout(late);
    }
  }

  #open(/** @type {"all"|Set<number>} */ opened) {
    this.#opened = opened;
    return this.#arrange(true);
  }

  #toggle(/** @type {import("./view.js").Item} */ item) {
    if (item.component === null || this.#network === null) return;
    if (item.kind === "component") this.#open(new Set([...(this.#opened === "all" ? [] : this.#opened), item.component]));
    else if (this.#opened !== "all") this.#open(new Set([...this.#opened].filter((component) => component !== item.component)));
  }

  async #reveal(/** @type {number} */ id) {
    const unit = this.#network?.units.find((one) => one.id === id);
    if (unit === undefined) return;
    const closed = this.#opened !== "all" && unit.component !== null && !this.#opened.has(unit.component);
    if (closed) await this.#open(new Set([.../** @type {Set<number>} */ (this.#opened), /** @type {number} */ (unit.component)]));
    this.picture.lookAt(this.#view?.items.findIndex((item) => item.key === `u${id}`) ?? -1);
    this.picture.canvas.focus();
  }

  #describe(/** @type {import("./painter.js").Scene} */ scene, /** @type {import("./painter.js").Marked} */ marked) {
    if (marked.item >= 0) {
      const item = scene.items[marked.item];
      const component = this.plan?.components.find((/** @type {any} */ one) => one.id === item.component) ?? null;
      return itemCard(item, component, item.kind === "unit" && this.#opened !== "all");
    }
    const tie = scene.ties[marked.tie];
    const [from, to] = [scene.items[tie.from], scene.items[tie.to]];
    const reasons = this.reasons;
    if (reasons === null) return tieCard(tie, from, to, () => null, "");
    if (tie.cut) reasons.linger();
    const state = { unasked: "Stay here to ask why", asking: "Asking why …", failed: reasons.failure }[reasons.state];
    const answered = reasons.document === null ? state : "The explanation says nothing of this tensor.";
    return tieCard(tie, from, to, (tensor) => reasons.textOf(tensor, from.node, to.node), answered);
  }
}
