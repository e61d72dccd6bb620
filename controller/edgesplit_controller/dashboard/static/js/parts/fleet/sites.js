/**
 * A large fleet by sites: one small square a node, shaded by its load, on one canvas a site.
 *
 * Its one rule: a thousand nodes are a handful of elements; the table beneath says each of them.
 */

import { cssColour } from "../../core/colours.js";
import { count, percent, watts } from "../../core/format.js";
import { h, keyed, setAttribute, setText } from "../../core/html.js";
import { to } from "../../core/router.js";
import { powerOf } from "./map.js";

const CELL = 15;
const GAP = 2;

/** Nodes by their label `site`, in alphabetical order; those without one last. @returns {Array<{site: string, nodes: object[]}>} */
export function bySite(nodes) {
  const sites = new Map();
  for (const node of nodes) {
    const site = node.labels?.site ?? "";
    if (!sites.has(site)) sites.set(site, []);
    sites.get(site).push(node);
  }
  return [...sites]
    .map(([site, members]) => ({ site, nodes: members }))
    .sort((left, right) => Number(left.site === "") - Number(right.site === "") || left.site.localeCompare(right.site, undefined, { numeric: true }));
}

/** @returns {{element: HTMLElement, update: (nodes: object[]) => void, resize: () => void}} */
export function siteMap() {
  const element = h("div", { class: "sites" });
  let last = [];

  function draw() {
    // Sizes and colours are read once for all, before anything is written: each reading after a writing lays the page out anew.
    const look = { width: element.querySelector("canvas")?.clientWidth || 200, ratio: globalThis.devicePixelRatio || 1, ...coloursNow() };
    keyed(element, bySite(last), ({ site }) => site, siteCard, (card, site) => updateSite(card, site, look));
  }

  return {
    element,
    update(nodes) {
      last = nodes;
      draw();
    },
    resize: draw,
  };
}

function siteCard() {
  const canvas = h("canvas", { role: "img" });
  const card = h("div", { class: "site" }, h("h3", { class: "long" }), h("small"), canvas);
  canvas.addEventListener("pointermove", (event) => setAttribute(canvas, "title", described(nodeAt(card, event))));
  canvas.addEventListener("click", (event) => {
    const node = nodeAt(card, event);
    if (node) location.hash = to.node(node.name);
  });
  return card;
}

function coloursNow() {
  const [accent, line, bad, warn] = ["--accent", "--line", "--bad", "--warn"].map(cssColour);
  return { accent, line, bad, warn };
}

function updateSite(card, { site, nodes }, look) {
  const [heading, said, canvas] = card.children;
  const online = nodes.filter((node) => node.online);
  const loads = online.map((node) => node.cpu_percent).filter((load) => load !== null);
  const mean = loads.length > 0 ? loads.reduce((sum, load) => sum + load, 0) / loads.length : null;
  const drawn = online.reduce((sum, node) => sum + (powerOf(node).drawn ?? 0), 0);
  setText(heading, site || "no site");
  setText(said, `${online.length} of ${count(nodes.length, "node")} online · load ${percent(mean)} · ${watts(drawn)}`);
  setAttribute(canvas, "aria-label", `${site || "no site"}: ${said.textContent}`);
  card.nodes = nodes;
  const shown = JSON.stringify([look, nodes.map((node) => [node.online, Math.round(node.cpu_percent ?? 0), node.toned.tone])]);
  if (card.shown === shown) return;
  card.shown = shown;
  paint(card, canvas, nodes, look);
}

function paint(card, canvas, nodes, { width, ratio, accent, line, bad, warn }) {
  const columns = Math.max(1, Math.floor((width + GAP) / (CELL + GAP)));
  const height = Math.ceil(nodes.length / columns) * (CELL + GAP);
  card.columns = columns;
  const pixels = { width: Math.round(width * ratio), height: Math.round(height * ratio) };
  if (canvas.width !== pixels.width || canvas.height !== pixels.height) {
    Object.assign(canvas, pixels);
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  nodes.forEach((node, index) => {
    const x = (index % columns) * (CELL + GAP);
    const y = Math.floor(index / columns) * (CELL + GAP);
    context.globalAlpha = 1;
    if (!node.online) {
      context.strokeStyle = bad;
      context.strokeRect(x + 1, y + 1, CELL - 2, CELL - 2);
      context.beginPath();
      context.moveTo(x + 4, y + 4);
      context.lineTo(x + CELL - 4, y + CELL - 4);
      context.stroke();
      return;
    }
    context.fillStyle = line;
    context.fillRect(x, y, CELL, CELL);
    context.globalAlpha = Math.min(1, (node.cpu_percent ?? 0) / 100);
    context.fillStyle = accent;
    context.fillRect(x, y, CELL, CELL);
    context.globalAlpha = 1;
    if (node.toned.tone === "warn") {
      context.fillStyle = warn;
      context.fillRect(x + CELL - 5, y, 5, 5);
    }
  });
}

function nodeAt(card, event) {
  const column = Math.floor(event.offsetX / (CELL + GAP));
  if (column >= card.columns) return null;
  return card.nodes[Math.floor(event.offsetY / (CELL + GAP)) * card.columns + column] ?? null;
}

const described = (node) => (node ? `${node.name}: ${node.toned.text}, load ${percent(node.cpu_percent)}` : null);
