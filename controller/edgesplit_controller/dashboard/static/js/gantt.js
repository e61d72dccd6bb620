/**
 * Gantt chart: a lane for each node and each link, predicted bars over measured ones.
 *
 * Owns: the chart's element, its keys and its axis. Its rule: bars are placed in percent, so that no script runs when a window is resized;
 * everything is a button in one tab stop, and says of itself what it shows. Not here: which bars there are (charts/bars.js).
 */

import { nodeVariable } from "./core/colours.js";
import { seconds } from "./core/format.js";
import { h, keyed, setText } from "./core/html.js";
import { nodeMark } from "./parts/chips.js";

/**
 * @typedef {object} Bar
 * @property {string} lane Name of its lane.
 * @property {string[]} nodes One; of a link its two ends.
 * @property {"compute"|"encode"|"decode"|"transfer"} kind
 * @property {number} startS [s]
 * @property {number} endS [s]
 * @property {boolean} measured Else predicted.
 * @property {string} says One sentence.
 *
 * @typedef {{name: string, nodes: string[], bars: Bar[]}} Lane
 * @typedef {{atS: number, text: string, measured: boolean}} Mark A moment of the whole request.
 */

const MOST_TICKS = 6;
const ZOOMS = [1, 2, 4, 8, 16];

/**
 * Lanes of nodes, then those of links, each by its first bar.
 *
 * @param {Bar[]} bars
 * @returns {Lane[]}
 */
export function lanesOf(bars) {
  /** @type {Map<string, Lane>} */
  const lanes = new Map();
  const order = [...bars].sort((a, b) => a.nodes.length - b.nodes.length || a.startS - b.startS);
  for (const bar of order) {
    const lane = lanes.get(bar.lane) ?? { name: bar.lane, nodes: bar.nodes, bars: [] };
    lanes.set(bar.lane, lane);
    lane.bars.push(bar);
  }
  return [...lanes.values()];
}

/**
 * Round moments from 0 on, at most so many.
 *
 * @param {number} endS [s]
 * @returns {number[]} [s]
 */
export function ticksOf(endS, most = MOST_TICKS) {
  if (!(endS > 0)) return [0];
  const least = endS / most;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= least * (1 - 1e-9)) ?? 10 * power;
  const ticks = [];
  for (let index = 0; index * step <= endS * (1 + 1e-9); index += 1) ticks.push(Number((index * step).toPrecision(12)));
  return ticks;
}

export class Gantt {
  #endS = 0;
  #zoom = 0;
  /** @type {Lane[]} */
  #lanes = [];

  /** @param {{name: string, idle: string}} words Accessible name, and what stands below while nothing is looked at. */
  constructor({ name, idle }) {
    this.idle = idle;
    this.axis = h("div", { class: "gantt-axis", "aria-hidden": "true" });
    this.lanes = h("div", { class: "gantt-lanes" });
    this.marks = h("div", { class: "gantt-marks" });
    this.says = h("p", { class: "gantt-says", "aria-live": "polite" }, idle);
    this.nearer = h("button", { type: "button", class: "small", onclick: () => this.#zoomBy(1) }, "Wider");
    this.farther = h("button", { type: "button", class: "small", onclick: () => this.#zoomBy(-1), disabled: true }, "Narrower");
    const inner = h("div", { class: "gantt-inner" }, this.axis, this.lanes, this.marks);
    const scroller = h("div", { class: "gantt-scroller" }, inner);
    this.inner = inner;
    this.element = h(
      "div",
      { class: "gantt", role: "group", "aria-label": name },
      h("div", { class: "gantt-tools" }, legend(), h("span", { class: "gantt-zoom" }, this.nearer, " ", this.farther)),
      scroller,
      this.says,
    );
    this.lanes.addEventListener("focusin", (event) => this.#look(event.target));
    this.lanes.addEventListener("pointerover", (event) => this.#look(event.target));
    this.lanes.addEventListener("pointerleave", () => setText(this.says, this.idle));
    this.lanes.addEventListener("keydown", (event) => this.#key(event));
  }

  /**
   * @param {Bar[]} bars
   * @param {Mark[]} [marks]
   */
  show(bars, marks = []) {
    this.#endS = Math.max(0, ...bars.map((bar) => bar.endS), ...marks.map((mark) => mark.atS)) || 1;
    this.#lanes = lanesOf(bars);
    keyed(this.lanes, this.#lanes, (lane) => lane.name, laneElement, (element, lane) => this.#fill(element, lane));
    const first = this.lanes.querySelector(".gantt-bar");
    if (first !== null && this.lanes.querySelector('.gantt-bar[tabindex="0"]') === null) first.setAttribute("tabindex", "0");
    this.axis.replaceChildren(...ticksOf(this.#endS).map((tick) => h("span", { style: { left: this.#share(tick) } }, seconds(tick))));
    this.marks.replaceChildren(
      ...marks.map((mark) => h("span", { class: mark.measured ? "gantt-mark measured" : "gantt-mark", style: { left: this.#share(mark.atS) }, title: mark.text })),
    );
  }

  /** @param {number} atS [s] */
  #share(atS) {
    return `${((100 * atS) / this.#endS).toFixed(3)}%`;
  }

  #fill(/** @type {HTMLElement} */ element, /** @type {Lane} */ lane) {
    const track = /** @type {HTMLElement} */ (element.lastElementChild);
    const rows = lane.bars.map((bar, index) => ({ bar, key: `${bar.measured ? "m" : "p"}${index}` }));
    keyed(
      track,
      rows,
      (row) => row.key,
      () => h("button", { type: "button", tabindex: "-1" }),
      (button, { bar }) => {
        button.className = `gantt-bar ${bar.kind} ${bar.measured ? "measured" : "predicted"}`;
        button.setAttribute("aria-label", bar.says);
        button.style.setProperty("--from", nodeVariable(bar.nodes[0]));
        button.style.setProperty("--to", nodeVariable(bar.nodes[bar.nodes.length - 1]));
        button.style.left = this.#share(bar.startS);
        button.style.width = this.#share(bar.endS - bar.startS);
      },
    );
  }

  #look(/** @type {EventTarget|null} */ target) {
    if (target instanceof HTMLElement && target.classList.contains("gantt-bar")) setText(this.says, target.getAttribute("aria-label") ?? "");
  }

  #zoomBy(/** @type {number} */ step) {
    this.#zoom = Math.min(ZOOMS.length - 1, Math.max(0, this.#zoom + step));
    this.inner.style.setProperty("--zoom", String(ZOOMS[this.#zoom]));
    this.farther.toggleAttribute("disabled", this.#zoom === 0);
    this.nearer.toggleAttribute("disabled", this.#zoom === ZOOMS.length - 1);
  }

  /** Arrows walk along a lane and from lane to lane. */
  #key(/** @type {KeyboardEvent} */ event) {
    const here = /** @type {HTMLElement} */ (event.target);
    const tracks = [...this.lanes.querySelectorAll(".gantt-track")];
    const lane = tracks.indexOf(/** @type {Element} */ (here.parentElement));
    const leftOf = (/** @type {Element} */ bar) => parseFloat(/** @type {HTMLElement} */ (bar).style.left);
    const left = leftOf(here);
    const near = (/** @type {Element|undefined} */ track) =>
      [...(track?.children ?? [])].sort((a, b) => Math.abs(leftOf(a) - left) - Math.abs(leftOf(b) - left))[0];
    const inOrder = [...(here.parentElement?.children ?? [])].sort((a, b) => leftOf(a) - leftOf(b));
    const at = inOrder.indexOf(here);
    const next = { ArrowRight: inOrder[at + 1], ArrowLeft: inOrder[at - 1], ArrowDown: near(tracks[lane + 1]), ArrowUp: near(tracks[lane - 1]) }[event.key];
    if (!(next instanceof HTMLElement)) return;
    event.preventDefault();
    here.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }
}

function laneElement(/** @type {Lane} */ lane) {
  const signs = lane.nodes.map((node) => nodeMark(node));
  return h("div", { class: "gantt-lane" }, h("div", { class: "gantt-name", title: lane.name }, ...signs, lane.name), h("div", { class: "gantt-track" }));
}

function legend() {
  const sample = (/** @type {string} */ kind, /** @type {string} */ text) => h("span", { class: "legend-entry" }, h("span", { class: `sample ${kind}` }), text);
  return h("div", { class: "graph-legend" }, sample("predicted", "predicted"), sample("measured", "measured"), sample("coding", "coding"), sample("transfer", "on a link"));
}
