/** Small signs: where a figure comes from, how something fares, which node is meant, how full something is. */

import { nodeSign, nodeVariable } from "../core/colours.js";
import { h } from "../core/html.js";
import { to } from "../core/router.js";

const ORIGINS = {
  measured: ["measured", "read from a sensor or timed while it happened"],
  modelled: ["modelled", "computed from a model of the machine, not read from a sensor"],
  predicted: ["predicted", "what the plan expects, before anything is measured"],
  configured: ["configured", "a figure of the node's configuration; it knows nothing of the load"],
  missing: ["missing", "never measured"],
};

/** Where a figure comes from; nothing where that is not known. */
export function originChip(origin) {
  if (!origin) return null;
  const [word, meaning] = ORIGINS[origin] ?? [origin, ""];
  return h("abbr", { class: `chip origin-${origin}`, title: meaning }, word);
}

/** How something fares: a word on a ground that says it, too. @param {"good"|"warn"|"bad"|"idle"} tone */
export const badge = (text, tone = "idle", title = null) => h("span", { class: `badge ${tone}`, title }, text);

/** A node's colour with its initials; says nothing to who reads by ear, for its name stands beside it. */
export const nodeMark = (name) => h("span", { class: "mark", "aria-hidden": "true", style: { "--node": nodeVariable(name) } }, nodeSign(name));

/** A link to a node, with its mark. */
export const nodeLink = (name) => h("a", { class: "node-link", href: to.node(name) }, nodeMark(name), h("span", { class: "long" }, name));

/** How full something is. @param {number|null} fraction 0 to 1 */
export function meter(fraction, label, tone = "") {
  const share = fraction === null || fraction === undefined ? 0 : Math.min(1, Math.max(0, fraction));
  return h("span", { class: `meter ${tone}`, role: "img", "aria-label": label }, h("span", { style: { transform: `scaleX(${share})` } }));
}

/** Change how full a meter shows something to be. */
export function setMeter(element, fraction, label, tone = "") {
  const share = fraction === null || fraction === undefined ? 0 : Math.min(1, Math.max(0, fraction));
  const transform = `scaleX(${share.toFixed(3)})`;
  if (element.firstElementChild.style.transform !== transform) element.firstElementChild.style.transform = transform;
  if (element.getAttribute("aria-label") !== label) element.setAttribute("aria-label", label);
  if (element.className !== `meter ${tone}`) element.className = `meter ${tone}`;
}
