/**
 * Layouts of networks, computed in a worker and kept by the model's digest.
 *
 * Owns: the worker, and the last layouts. Its rule: one layout is computed at a time; who asks again has given up what was asked before. A
 * layout depends on the network, its grouping, what is opened and the shape of the screen, and on nothing that changes while it serves.
 */

import { groupingKey } from "./network.js";

/** @typedef {import("./network.js").Network} Network */
/** @typedef {import("./view.js").View} View */
/** @typedef {import("./arrange.js").Layout} Layout */

const MOST_KEPT = 24;
/** Shapes of the screen that a layout is made for: a window that is dragged must not be laid out at every pixel. */
const ASPECTS = [0.6, 0.9, 1.3, 1.8, 2.4, 3.2];

/** @type {Map<string, Layout>} */
const kept = new Map();
/** @type {Worker|null} */
let worker = null;
/** @type {((reason: Error) => void)|null} */
let giveUp = null;
let last = 0;

/** That no layout could be computed. */
export class LayoutFailed extends Error {}

/**
 * @param {number} aspect Width over height.
 * @returns {number} The nearest one that layouts are made for.
 */
export function roundedAspect(aspect) {
  return ASPECTS.reduce((best, one) => (Math.abs(Math.log(one / aspect)) < Math.abs(Math.log(best / aspect)) ? one : best));
}

/**
 * @param {Network} network
 * @param {View} view
 * @param {number} aspect One of `roundedAspect`.
 * @returns {Promise<Layout>}
 * @throws {LayoutFailed} The library is missing or failed, or another layout was asked for meanwhile.
 */
export async function layoutOf(network, view, aspect) {
  const opened = view.opened === "all" ? "all" : view.opened.join(",");
  const key = `${network.sha256} ${groupingKey(network)} ${opened} ${aspect}`;
  const there = kept.get(key);
  if (there !== undefined) return there;
  const layout = await computed({
    kinds: view.items.map((item) => item.kind),
    groups: view.items.map((item) => item.component ?? -1),
    ties: view.ties.map(({ from, to, cut }) => ({ from, to, cut })),
    aspect,
  });
  kept.set(key, layout);
  if (kept.size > MOST_KEPT) kept.delete(/** @type {string} */ (kept.keys().next().value));
  return layout;
}

/**
 * @param {import("./arrange.js").Request} request
 * @returns {Promise<Layout>}
 */
function computed(request) {
  if (giveUp !== null) {
    worker?.terminate();
    worker = null;
    giveUp(new LayoutFailed("another layout was asked for"));
  }
  worker ??= new Worker(new URL("../layout-worker.js", import.meta.url), { type: "module" });
  const asked = worker;
  last += 1;
  const id = last;
  return new Promise((resolve, reject) => {
    const done = () => {
      asked.onmessage = null;
      asked.onerror = null;
      giveUp = null;
    };
    giveUp = (reason) => {
      done();
      reject(reason);
    };
    asked.onmessage = (message) => {
      if (message.data.id !== id) return;
      done();
      if (message.data.layout !== undefined) resolve(message.data.layout);
      else reject(new LayoutFailed(message.data.failure));
    };
    asked.onerror = (event) => {
      done();
      worker = null;
      reject(new LayoutFailed(event.message || "the layout could not be computed"));
    };
    asked.postMessage({ id, request });
  });
}
