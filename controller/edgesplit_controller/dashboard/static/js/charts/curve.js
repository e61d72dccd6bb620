/**
 * A frontier as a curve whose points are chosen by click or key.
 *
 * Owns: scales and the SVG. Its rule: one tab stop, arrows go from point to point; the chosen point and the active plan are told by shape as
 * well as by colour. Not here: what a point's plan is (../pages/frontier.js).
 */

import { h, svg } from "../core/html.js";

const HEIGHT = 320;
const MARGIN = { left: 76, right: 24, top: 18, bottom: 46 };

/**
 * @typedef {object} Axis
 * @property {string} name
 * @property {(row: any) => number} value
 * @property {(value: number) => string} text
 */

/**
 * Round steps over a range: 1, 2 or 5 times a power of ten apart.
 *
 * @param {number} low
 * @param {number} high
 * @param {number} most
 * @returns {number[]}
 */
export function roundSteps(low, high, most) {
  if (!(high > low)) return [low];
  const least = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= least * (1 - 1e-9)) ?? 10 * power;
  const steps = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) steps.push(Number((index * step).toPrecision(12)));
  return steps;
}

export class Curve {
  /** @type {any[]} */
  #rows = [];
  #active = /** @type {any} */ (null);
  #chosen = -1;

  /**
   * @param {{x: Axis, y: Axis}} axes
   * @param {(index: number) => void} choose
   * @param {AbortSignal} signal
   */
  constructor({ x, y }, choose, signal) {
    this.x = x;
    this.y = y;
    this.choose = choose;
    this.element = h("div", { class: "curve", tabindex: "0", role: "listbox", "aria-label": `Plans that trade ${x.name} for ${y.name}` });
    this.element.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step === undefined || this.#rows.length === 0) return;
      event.preventDefault();
      this.choose(Math.min(this.#rows.length - 1, Math.max(0, this.#chosen + step)));
    });
    const observer = new ResizeObserver(() => this.#draw());
    observer.observe(this.element);
    signal.addEventListener("abort", () => observer.disconnect());
  }

  /**
   * @param {any[]} rows FrontierRows in their order.
   * @param {any} active The active plan.
   * @param {number} chosen Index of a row; -1: none.
   */
  show(rows, active, chosen) {
    this.#rows = rows;
    this.#active = active;
    this.#chosen = chosen;
    this.#draw();
  }

  #draw() {
    const width = this.element.clientWidth;
    if (width === 0 || this.#rows.length === 0) return;
    const all = this.#rows.some((row) => row.active) ? this.#rows : [...this.#rows, this.#active];
    const across = scale(all.map(this.x.value), MARGIN.left, width - MARGIN.right);
    const up = scale(all.map(this.y.value), HEIGHT - MARGIN.bottom, MARGIN.top);
    const at = (/** @type {any} */ row) => ({ x: across.at(this.x.value(row)), y: up.at(this.y.value(row)) });
    const points = this.#rows.map(at);
    // The active plan's own figures are those of its making: where it is one of the points, that is where it is now.
    const here = at(this.#rows.find((row) => row.active) ?? this.#active);
    const diamond = `M${here.x} ${here.y - 14}l14 14l-14 14l-14 -14z`;
    this.element.replaceChildren(
      svg(
        "svg",
        { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` },
        roundSteps(across.low, across.high, Math.max(2, Math.floor(width / 150))).map((value) => [
          svg("line", { class: "grid", x1: across.at(value), x2: across.at(value), y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }),
          svg("text", { class: "tick", x: across.at(value), y: HEIGHT - MARGIN.bottom + 16, "text-anchor": "middle" }, this.x.text(value)),
        ]),
        roundSteps(up.low, up.high, 5).map((value) => [
          svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: up.at(value), y2: up.at(value) }),
          svg("text", { class: "tick", x: MARGIN.left - 8, y: up.at(value) + 4, "text-anchor": "end" }, this.y.text(value)),
        ]),
        svg("text", { class: "axis-name", x: width - MARGIN.right, y: HEIGHT - 8, "text-anchor": "end" }, `${this.x.name} →`),
        svg("text", { class: "axis-name", x: 4, y: 12 }, `↑ ${this.y.name}`),
        svg("polyline", { class: "frontier-line", points: points.map((point) => `${point.x},${point.y}`).join(" ") }),
        svg("path", { class: "active-plan", d: diamond }, svg("title", null, "The active plan")),
        points.map((point, index) => this.#point(point, index)),
      ),
    );
  }

  #point(/** @type {{x: number, y: number}} */ point, /** @type {number} */ index) {
    const row = this.#rows[index];
    const chosen = index === this.#chosen;
    const words = `${this.x.text(this.x.value(row))}, ${this.y.text(this.y.value(row))}${row.active ? ", the active plan" : ""}`;
    return svg(
      "g",
      { class: chosen ? "point chosen" : "point", role: "option", "aria-selected": String(chosen), "aria-label": words, onclick: () => this.choose(index) },
      svg("title", null, words),
      svg("circle", { class: "reach", cx: point.x, cy: point.y, r: 14 }),
      svg("circle", { class: row.status === "optimal" ? "dot" : "dot unproven", cx: point.x, cy: point.y, r: chosen ? 8 : 5.5 }),
    );
  }
}

/**
 * @param {number[]} values
 * @param {number} from [px]
 * @param {number} to [px]
 */
function scale(values, from, to) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = (most - least || Math.abs(most) || 1) * 0.08;
  const [low, high] = [Math.max(0, least - room), most + room];
  return { low, high, at: (/** @type {number} */ value) => Number((from + ((value - low) / (high - low)) * (to - from)).toFixed(2)) };
}
