/**
 * Tensors on their way, as dots along lanes of the map.
 *
 * Its one rule: all dots step together, four times a second, for every picture that a browser draws of the map costs it five milliseconds
 * where it has no graphics processor. Nobody there, nothing moves.
 */

import { dotsFor } from "../../core/flows.js";
import { h, keyed } from "../../core/html.js";

const STEP_MS = 250;
const RATE_TOLERANCE = 0.2;

/**
 * How far each dot of a lane is, 0 to 1, so that they follow each other evenly and as many arrive as tensors do.
 * @param {{count: number, durationS: number}} dots
 * @param {number} atS [s]
 * @returns {number[]}
 */
export function fractionsOf({ count, durationS }, atS) {
  return Array.from({ length: count }, (_, index) => (atS / durationS + index / count) % 1);
}

/**
 * @param {AbortSignal} signal ends the movement
 * @param {() => boolean} rests whether nobody is there
 * @returns {{element: HTMLElement, update: (shown: Array<{key: string, lane: object, flow: {perSecond: number}}>) => void}}
 */
export function streamsLayer(signal, rests) {
  const element = h("div", { "aria-hidden": "true" });
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const timer = setInterval(() => {
    if (document.hidden || calm.matches || rests()) return;
    const nowS = performance.now() / 1000;
    for (const stream of element.children) step(stream, nowS);
  }, STEP_MS);
  signal.addEventListener("abort", () => clearInterval(timer));

  function step(stream, nowS) {
    fractionsOf(stream.dots, nowS).forEach((fraction, index) => (stream.children[index].style.transform = `translateX(${(fraction * stream.laneLength).toFixed(1)}px)`));
  }

  function updateStream(stream, { lane, flow }) {
    const place = `translate(${lane.x1.toFixed(1)}px, ${lane.y1.toFixed(1)}px) rotate(${lane.angle.toFixed(4)}rad)`;
    if (stream.style.transform !== place) stream.style.transform = place;
    stream.laneLength = lane.length;
    const shown = stream.rate ?? 0;
    // Another rhythm puts all dots elsewhere, which is seen: not for every breath of a rate.
    if (Math.abs(flow.perSecond - shown) <= RATE_TOLERANCE * shown) return;
    stream.rate = flow.perSecond;
    stream.dots = dotsFor(flow.perSecond);
    stream.replaceChildren(...Array.from({ length: stream.dots.count }, () => h("i")));
    step(stream, performance.now() / 1000);
  }

  return {
    element,
    update: (shown) => keyed(element, shown, ({ key }) => key, () => h("div", { class: "stream" }), updateStream),
  };
}
