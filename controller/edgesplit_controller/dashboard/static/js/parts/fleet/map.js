/**
 * The fleet as a map: nodes as cards, each direction of a link as a lane, tensors moving along it.
 *
 * Its one rule: a page where nothing changes draws nothing; a link's figures stand on its lane while there are few links, and in the
 * table beneath always. Not here: tensors on their way (streams.js).
 */

import { nodeVariable } from "../../core/colours.js";
import { linkKey } from "../../core/flows.js";
import { bytes, bytesPerSecond, percent, seconds, watts } from "../../core/format.js";
import { h, keyed, setAttribute, setText, svg } from "../../core/html.js";
import { to } from "../../core/router.js";
import { meter, nodeMark, originChip, setMeter } from "../chips.js";
import { laneBetween, placeNodes } from "./maplayout.js";
import { streamsLayer } from "./streams.js";

const MOST_LABELS = 24;
const LEAST_LABELLED = 50;
const LONG_NAME = 13;

/**
 * @param {AbortSignal} signal ends what moves
 * @returns {{element: HTMLElement, update: (nodes: object[], links: object[], flows: Map, used: Set<string>, sources: Set<string>) => void, resize: () => void}}
 *   nodes: rows of the fleet, each with `active` (its row of the activity document) and `toned` (how it fares).
 */
export function fleetMap(signal) {
  const lanes = svg("svg", { "aria-hidden": "true" });
  const streams = streamsLayer(signal, () => element.classList.contains("resting"));
  const labels = h("div", { "aria-hidden": "true" });
  const cards = h("div", { role: "list" });
  const element = h("div", { class: "map", role: "group", "aria-label": "Map of nodes and links; the tables beneath say the same" }, lanes, streams.element, labels, cards);
  let last = null;
  let pointed = "";

  cards.addEventListener("pointerover", (event) => point(event.target.closest(".map-node")?.dataset.node ?? ""));
  cards.addEventListener("pointerleave", () => point(""));
  cards.addEventListener("focusin", (event) => point(event.target.closest(".map-node")?.dataset.node ?? ""));
  cards.addEventListener("focusout", () => point(""));

  function point(name) {
    if (name === pointed) return;
    pointed = name;
    draw();
  }

  function draw() {
    const width = element.clientWidth;
    if (!last || width === 0) return;
    const { nodes, links, flows, used, sources } = last;
    const layout = placeNodes(nodes.map((node) => node.name), sources, width, extraLines(nodes));
    element.style.height = `${layout.height}px`;
    keyed(cards, nodes, (node) => node.name, nodeCard, (card, node) => updateCard(card, node, layout, sources.has(node.name)));
    // Few links are all drawn; of many, those that are used or of the node pointed at.
    const all = layout.form === "ring" && links.length <= MOST_LABELS;
    const shown = links
      .filter((link) => layout.places.has(link.from) && layout.places.has(link.to))
      .map((link) => ({ link, key: linkKey(link.from, link.to) }))
      .filter(({ link, key }) => all || used.has(key) || link.from === pointed || link.to === pointed)
      .map((shown) => ({ ...shown, lane: laneBetween(layout.places.get(shown.link.from), layout.places.get(shown.link.to), layout.card), flow: flows.get(shown.key), used: used.has(shown.key) }));
    keyed(lanes, shown, ({ key }) => key, laneShape, updateLane);
    // A narrow map has room for those that matter; a short lane for none.
    const wanted = layout.narrow ? shown.filter(({ link, used }) => used || !link.up || link.from === pointed || link.to === pointed) : shown;
    const labelled = shown.length <= MOST_LABELS ? wanted.filter(({ lane }) => lane.length > LEAST_LABELLED) : [];
    keyed(labels, labelled, ({ key }) => key, laneLabel, updateLabel);
    streams.update(shown.filter(({ flow }) => flow));
  }

  return {
    element,
    update(nodes, links, flows, used, sources) {
      last = { nodes, links, flows, used, sources };
      draw();
    },
    resize: draw,
  };
}

/** Lines that some card has beyond the usual ones, so that all cards are alike. */
function extraLines(nodes) {
  const some = (wanted) => Number(nodes.some(wanted));
  return some((node) => node.toned.tone !== "good") + some((node) => powerOf(node).battery !== null) + some((node) => node.name.length > LONG_NAME);
}

/** What the signs of the map mean. */
export function mapLegend() {
  const line = (kind) => svg("svg", { viewBox: "0 0 30 8", "aria-hidden": "true" }, svg("line", { x1: 0, y1: 4, x2: 30, y2: 4, class: `lane ${kind}` }));
  return h(
    "ul",
    { class: "map-legend" },
    h("li", null, line("used"), "used by a plan; dots are its tensors, at the measured rate of requests; they rest while nobody is at the page"),
    h("li", null, line(""), "not used now"),
    h("li", null, line("missing"), "never measured"),
    h("li", null, line("down"), "does not answer"),
    h("li", null, "Bandwidth and one-way latency are ", originChip("measured")),
  );
}

function nodeCard(node) {
  const card = h(
    "a",
    { class: "map-node", href: to.node(node.name), "data-node": node.name, style: { "--node": nodeVariable(node.name) } },
    h("span", { class: "name" }, nodeMark(node.name), h("span", { class: "long" }, node.name)),
    h("span", { class: "said" }),
    h("span", { class: "said cpu" }, meter(null, ""), h("span")),
    h("span", { class: "said memory" }),
    h("span", { class: "said power" }, h("span"), h("span")),
    h("span", { class: "said battery" }),
  );
  return h("div", { role: "listitem" }, card);
}

function updateCard(item, node, layout, isSource) {
  const card = item.firstElementChild;
  const place = layout.places.get(node.name);
  card.style.left = `${place.x}px`;
  card.style.top = `${place.y}px`;
  card.style.width = `${layout.card.width}px`;
  card.style.height = `${layout.card.height}px`;
  card.className = `map-node${node.online ? "" : " away"}${isSource ? " source" : ""}`;
  const [, state, cpu, memory, power, battery] = card.children;
  setText(state, node.toned.text);
  state.className = `said ${node.toned.tone}`;
  cpu.hidden = memory.hidden = power.hidden = !node.online;
  state.hidden = node.online && node.toned.tone === "good";
  const load = node.cpu_percent;
  setMeter(cpu.firstElementChild, load === null ? null : load / 100, `load ${percent(load)}`, load > 90 ? "warn" : "");
  setText(cpu.lastElementChild, percent(load));
  setText(memory, `${bytes(node.memory_available_bytes)} free`);
  const { drawn, origin, battery: left } = powerOf(node);
  setText(power.firstElementChild, watts(drawn));
  battery.hidden = left === null || !node.online;
  setText(battery, left === null ? "" : `battery ${percent(100 * left)}`);
  if (power.dataset.origin !== (origin ?? "")) {
    power.dataset.origin = origin ?? "";
    power.lastElementChild.replaceChildren(...[originChip(origin)].filter(Boolean));
  }
}

/** What a node draws and where that is known from. @returns {{drawn: number|null, origin: string|null, battery: number|null}} [W, -, 1] */
export function powerOf(node) {
  const read = node.active?.drawn_w ?? null;
  return {
    drawn: read ?? node.compute_w,
    origin: read !== null ? "measured" : node.compute_w === null ? null : node.power_origin,
    battery: node.active?.battery_fraction ?? null,
  };
}

function laneShape() {
  return svg("g", null, svg("line"), svg("path", { d: "M0 0 L-8 -3.5 L-8 3.5 Z" }));
}

function kindOf({ link, used }) {
  if (!link.up) return "down";
  return `${used ? "used" : ""}${link.bandwidth_bytes_per_s === null ? " missing" : ""}`.trim();
}

function updateLane(group, shown) {
  const [line, arrow] = group.children;
  const { lane } = shown;
  const kind = kindOf(shown);
  for (const end of ["x1", "y1", "x2", "y2"]) setAttribute(line, end, lane[end].toFixed(1));
  setAttribute(line, "class", `lane ${kind}`);
  setAttribute(arrow, "class", `arrow ${kind}`);
  setAttribute(arrow, "transform", `translate(${lane.x2.toFixed(1)} ${lane.y2.toFixed(1)}) rotate(${((lane.angle * 180) / Math.PI).toFixed(1)})`);
}

function laneLabel() {
  return h("div", { class: "lane-label" }, h("b"), h("span"), h("span", { class: "rate" }));
}

function updateLabel(label, { link, lane, flow }) {
  label.className = `lane-label ${link.up ? "" : "down"}`;
  label.style.left = `${lane.label.x}px`;
  label.style.top = `${lane.label.y}px`;
  setText(label.children[0], link.up ? bytesPerSecond(link.bandwidth_bytes_per_s) : "down");
  setText(label.children[1], seconds(link.latency_s));
  setText(label.children[2], flow ? `${flow.perSecond < 9.95 ? flow.perSecond.toFixed(1) : flow.perSecond.toFixed(0)} tensors/s` : "");
}
