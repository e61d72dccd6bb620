/** The fleet: what is wrong, nodes and links as a live map, what serves; tables beneath that say the same. */

import { flowsOf, linkKey, usedLinks } from "../core/flows.js";
import { ago, bytes, bytesPerSecond, count, joules, percent, perSecond, seconds, watts } from "../core/format.js";
import { h, keyed, setText } from "../core/html.js";
import { Plans } from "../core/plans.js";
import { to } from "../core/router.js";
import { store } from "../core/store.js";
import { badge, nodeLink, originChip } from "../parts/chips.js";
import { fleetMap, mapLegend, powerOf } from "../parts/fleet/map.js";
import { MOST_NODES } from "../parts/fleet/maplayout.js";
import { stateOf } from "../parts/fleet/nodestate.js";
import { restWhileAlone } from "../parts/fleet/rest.js";
import { siteMap } from "../parts/fleet/sites.js";
import { table } from "../parts/table.js";

export const title = () => "Fleet";

export function mount(element, _params, { signal }) {
  const problems = h("ul", { class: "problems" });
  const facts = h("dl", { class: "facts" });
  const place = h("div");
  const legend = mapLegend();
  const models = h("div", { class: "cards" });
  const noModels = h("p", { class: "empty" }, "No model is deployed. ", h("a", { href: to.operate() }, "Add or deploy one"));
  const map = fleetMap(signal);
  const sites = siteMap();
  const nodeTable = table(nodeColumns());
  const linkTable = table(linkColumns());
  element.append(
    problems,
    facts,
    h(
      "div",
      { class: "columns fleet-top" },
      h("section", { "aria-labelledby": "map-title" }, h("h2", { id: "map-title", class: "unseen" }, "Map"), place, legend),
      h("section", { "aria-labelledby": "serves-title" }, h("h2", { id: "serves-title" }, "What serves"), models, noModels),
    ),
    h("section", { "aria-labelledby": "nodes-title" }, h("h2", { id: "nodes-title" }, "Nodes"), nodeTable.element),
    h("section", { "aria-labelledby": "links-title" }, h("h2", { id: "links-title" }, "Links"), linkTable.element),
  );

  restWhileAlone(map.element, signal);
  const plans = new Plans(signal, draw);
  let waiting = 0;

  function draw() {
    // Several documents of one second are drawn once.
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(drawNow);
  }

  function drawNow() {
    const fleet = store.get("fleet");
    const activity = store.get("activity");
    if (!fleet) {
      facts.replaceChildren(h("p", { class: "loading" }, "Waiting for the controller's first word …"));
      return;
    }
    const active = new Map((activity?.nodes ?? []).map((row) => [row.name, row]));
    const nodes = fleet.nodes.map((node) => ({ ...node, active: active.get(node.name) ?? null, toned: stateOf(node) }));
    const rows = activity?.models ?? [];
    plans.follow(rows);
    const flows = flowsOf(rows, plans.known);
    const used = usedLinks(plans.known);
    const links = (fleet.links ?? activity?.links ?? []).map((link) => ({ ...link, flow: flows.get(linkKey(link.from, link.to)) ?? null, used: used.has(linkKey(link.from, link.to)) }));
    drawFacts(facts, nodes, rows);
    const large = nodes.length > MOST_NODES;
    const shown = nodes.length === 0 ? noNodes() : large ? sites.element : map.element;
    if (place.firstElementChild !== shown && !(nodes.length === 0 && place.firstElementChild?.className === "empty panel")) place.replaceChildren(shown);
    legend.hidden = large || nodes.length === 0;
    if (large) sites.update(nodes);
    else map.update(nodes, links, flows, used, new Set(rows.map((row) => row.source)));
    keyed(models, rows, (row) => row.name, modelCard, updateModel);
    noModels.hidden = rows.length > 0;
    nodeTable.update(nodes);
    linkTable.update(links);
  }

  const sizes = new ResizeObserver(() => {
    if (!document.hidden) draw();
  });
  sizes.observe(place);
  window.addEventListener("themechange", draw);
  store.watch("fleet", draw, signal);
  store.watch("activity", draw, signal);
  store.watch("status", (status) => keyed(problems, status.problems, (problem) => problem.severity + problem.what, problemRow, () => undefined), signal);
  if (!store.get("fleet")) draw();
  return () => {
    cancelAnimationFrame(waiting);
    sizes.disconnect();
    window.removeEventListener("themechange", draw);
  };
}

function problemRow(problem) {
  return h("li", { class: `problem ${problem.severity}` }, problem.what, h("span", { class: "do" }, problem.do));
}

function noNodes() {
  return h("p", { class: "empty panel" }, "No node has registered yet. ", h("a", { href: to.operate({ part: "join" }) }, "Join one"), ", or start edgesplit-agent where it is configured.");
}

function drawFacts(facts, nodes, models) {
  const online = nodes.filter((node) => node.online);
  const drawn = online.map((node) => powerOf(node)).filter(({ drawn }) => drawn !== null);
  const rows = [
    { key: "nodes", name: "nodes online", text: `${online.length} of ${nodes.length}` },
    { key: "models", name: "models served", text: String(models.filter((model) => model.epoch !== null).length) },
    { key: "requests", name: "requests", text: perSecond(models.reduce((sum, model) => sum + model.requests_per_s, 0)) },
    { key: "serving", name: "drawn by serving", text: watts(nodes.reduce((sum, node) => sum + (node.active?.serving_w ?? 0), 0)) },
    { key: "drawn", name: "drawn by nodes", text: watts(drawn.length > 0 ? drawn.reduce((sum, { drawn }) => sum + drawn, 0) : null), origin: weakest(drawn.map(({ origin }) => origin)) },
  ];
  if (facts.querySelector("p")) facts.replaceChildren();
  keyed(
    facts,
    rows,
    (row) => row.key,
    (row) => h("div", null, h("dt", null, row.name), h("dd", null, h("span"), " ", h("small"))),
    (element, row) => {
      const [value, origin] = element.lastElementChild.children;
      setText(value, row.text);
      if (origin.textContent !== (row.origin ?? "")) origin.replaceChildren(...[originChip(row.origin)].filter(Boolean));
    },
  );
}

/** A sum is as trustworthy as its weakest part. */
function weakest(origins) {
  return ["configured", "modelled", "measured"].find((origin) => origins.includes(origin)) ?? null;
}

function modelCard(row) {
  return h(
    "article",
    { class: "card" },
    h("header", null, h("a", { class: "long", href: to.model(row.name) }, row.name), h("span")),
    h("div", { class: "pair" }, h("span"), h("span")),
    h("div", { class: "pair" }, h("span"), h("small")),
    h("div", { class: "pair" }, h("span"), h("small")),
    h("small", { class: "long" }),
    h("div", { class: "row-actions" }, h("a", { href: to.live(row.name) }, "Live"), h("span", { "aria-hidden": "true" }, " · "), h("a", { href: to.model(row.name) }, "Plan"), h("span", { "aria-hidden": "true" }, " · "), h("a", { href: to.whatIf(row.name) }, "What if")),
  );
}

function updateModel(card, row) {
  const [header, rates, latency, energy, where] = card.children;
  const state = row.epoch === null ? "does not serve" : `epoch ${row.epoch}`;
  if (header.lastElementChild.textContent !== state) header.lastElementChild.replaceChildren(badge(state, row.epoch === null ? "bad" : "good"));
  setText(rates.firstElementChild, perSecond(row.requests_per_s));
  setText(rates.lastElementChild, row.failed > 0 ? count(row.failed, "failed request") : "none failed");
  rates.lastElementChild.className = row.failed > 0 ? "bad" : "muted";
  setText(latency.firstElementChild, `${seconds(row.latency_p50_s)} median`);
  setText(latency.lastElementChild, `${seconds(row.predicted_latency_s)} predicted`);
  setText(energy.firstElementChild, row.energy_j === null ? "energy not measured yet" : `${joules(row.energy_j)} ${row.energy_origin ?? ""}`);
  setText(energy.lastElementChild, `${joules(row.predicted_energy_j)} predicted`);
  setText(where, `from ${row.source}, on ${row.nodes.join(", ")}`);
}

function nodeColumns() {
  return {
    caption: "Nodes",
    key: (node) => node.name,
    text: (node) => `${node.name} ${node.toned.text} ${Object.values(node.labels ?? {}).join(" ")}`,
    empty: "No node has registered.",
    sort: 0,
    columns: [
      { title: "Node", header: true, value: (node) => node.name, cell: (node) => ({ key: node.name, draw: () => nodeLink(node.name) }) },
      { title: "State", value: (node) => node.toned.text, cell: (node) => ({ key: node.toned.text + node.toned.why.join(), draw: () => badge(node.toned.text, node.toned.tone, node.toned.why.join("\n") || null) }) },
      { title: "Load", figure: true, value: (node) => node.cpu_percent, cell: (node) => percent(node.cpu_percent) },
      { title: "Free memory", figure: true, value: (node) => node.memory_available_bytes, cell: (node) => bytes(node.memory_available_bytes) },
      { title: "Draws", figure: true, value: (node) => powerOf(node).drawn, cell: drawnCell },
      { title: "Serving", figure: true, value: (node) => node.active?.serving_w ?? null, cell: (node) => watts(node.active?.serving_w ?? null) },
      { title: "Battery", figure: true, value: (node) => powerOf(node).battery, cell: (node) => percent(powerOf(node).battery === null ? null : 100 * powerOf(node).battery) },
      { title: "Runs", cell: (node) => (node.active?.models ?? []).join(", ") },
    ],
  };
}

function drawnCell(node) {
  const { drawn, origin } = powerOf(node);
  return { key: `${watts(drawn)} ${origin}`, draw: () => [`${watts(drawn)} `, originChip(origin)].filter(Boolean).map(asNode) };
}

const asNode = (part) => (part instanceof Node ? part : document.createTextNode(part));

function linkColumns() {
  return {
    caption: "Links",
    key: (link) => linkKey(link.from, link.to),
    text: (link) => `${link.from} ${link.to}`,
    empty: "No two nodes are online.",
    sort: 0,
    columns: [
      { title: "From", header: true, value: (link) => link.from, cell: (link) => ({ key: link.from, draw: () => nodeLink(link.from) }) },
      { title: "To", value: (link) => link.to, cell: (link) => ({ key: link.to, draw: () => nodeLink(link.to) }) },
      { title: "Bandwidth", figure: true, value: (link) => link.bandwidth_bytes_per_s, cell: (link) => (link.up ? bytesPerSecond(link.bandwidth_bytes_per_s) : "down") },
      { title: "Latency", figure: true, value: (link) => link.latency_s, cell: (link) => seconds(link.latency_s) },
      { title: "Measured", figure: true, value: (link) => link.age_s, cell: (link) => ago(link.age_s) },
      { title: "Figures are", value: (link) => link.origin, cell: (link) => ({ key: link.origin + link.reason, draw: () => [originChip(link.origin), ...(link.reason ? [h("small", null, ` ${link.reason}`)] : [])] }) },
      { title: "Tensors", figure: true, value: (link) => link.flow?.perSecond ?? null, cell: (link) => (link.flow ? `${link.flow.perSecond.toFixed(1)}/s` : link.used ? "planned" : "") },
    ],
  };
}
