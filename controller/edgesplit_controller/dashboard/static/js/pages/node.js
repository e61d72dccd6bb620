/** A node: how it fares now, its figures over the last hour, its links, how fast it computes, and what happened to it. */

import { ask, getJson } from "../core/ask.js";
import { nodeSlot } from "../core/colours.js";
import { ago, bytes, bytesPerSecond, number, percent, seconds, watts } from "../core/format.js";
import { History } from "../core/history.js";
import { h, keyed, setText } from "../core/html.js";
import { to } from "../core/router.js";
import { mayChange } from "../core/session.js";
import { store } from "../core/store.js";
import { nodeLink, originChip } from "../parts/chips.js";
import { chart } from "../parts/chart.js";
import { eventTable, selected } from "../parts/events.js";
import { powerOf } from "../parts/fleet/map.js";
import { nodeActions } from "../parts/operate/nodeactions.js";
import { stateOf } from "../parts/fleet/nodestate.js";
import { table } from "../parts/table.js";
import { failure } from "../parts/task.js";

const LARGE_FLEET = 100;

export const title = (params) => params.name;

export async function mount(element, params, { signal }) {
  const { name } = params;
  const notice = h("div");
  const why = h("ul", { class: "problems" });
  const facts = h("dl", { class: "facts" });
  const set = h("dl", { class: "small-facts" });
  const report = h("div", { role: "status" });
  const actions = h("div", { class: "row-actions" });
  const charts = h("div", { class: "charts" });
  const links = table(linkColumns(name));
  const speeds = table(SPEED_COLUMNS);
  const events = eventTable("Nothing was told of this node yet.");
  element.append(
    notice,
    why,
    facts,
    actions,
    report,
    h("section", { "aria-labelledby": "hour" }, h("h2", { id: "hour" }, "Last hour"), charts),
    h(
      "div",
      { class: "columns two" },
      h("section", { "aria-labelledby": "links" }, h("h2", { id: "links" }, "Links"), links.element),
      h("section", { "aria-labelledby": "speeds" }, h("h2", { id: "speeds" }, "How fast it computes"), speeds.element),
    ),
    h("section", { "aria-labelledby": "set" }, h("h2", { id: "set" }, "Machine"), set),
    h("section", { "aria-labelledby": "told" }, h("h2", { id: "told" }, "What happened"), events.element),
  );

  let history = new History();
  let drawn = [];
  let whole = null;
  try {
    history = new History(await getJson(`api/history/nodes/${encodeURIComponent(name)}`, { signal }));
  } catch (error) {
    if (signal.aborted) return;
    notice.replaceChildren(failure(error));
  }
  if ((store.get("fleet")?.nodes.length ?? 0) > LARGE_FLEET) readWhole();

  /** The stream of a large fleet leaves out what only this page shows. */
  async function readWhole() {
    try {
      whole = (await ask({ op: "list-nodes" }, { signal })).find((node) => node.name === name) ?? null;
      draw();
    } catch (error) {
      if (!signal.aborted) notice.replaceChildren(failure(error));
    }
  }

  function draw() {
    const fleet = store.get("fleet");
    const activity = store.get("activity");
    const row = fleet?.nodes.find((node) => node.name === name);
    if (!row) {
      facts.replaceChildren(h("p", { class: "empty" }, fleet ? "No node of this name is known: it was removed, or never registered." : "Waiting for the controller's first word …"));
      return;
    }
    const node = { ...row, ...detailsOf(whole), active: activity?.nodes.find((active) => active.name === name) ?? null };
    drawFacts(facts, node);
    drawMachine(set, node);
    keyed(why, stateOf(node).why, (sentence) => sentence, (sentence) => h("li", { class: "problem warning" }, sentence), () => undefined);
    const offered = nodeActions(node, report);
    keyed(actions, mayChange() ? offered : [], (action) => action.key, (action) => action.button, () => undefined);
    const own = (fleet.links ?? activity?.links ?? []).filter((link) => link.from === name || link.to === name);
    links.update(own);
    speeds.update(Object.entries(node.speeds ?? {}).map(([model, speed]) => ({ model, ...speed })));
    if (activity) {
      history.add(activity.at_unix_s, figuresOf(node, own, name));
      const keys = chartKeys(history);
      if (keys.join() !== drawn.map(({ key }) => key).join()) {
        drawn = build(history, name, node, keys, signal);
        charts.replaceChildren(...drawn.map(({ element }) => element));
      }
      for (const { update, curves } of drawn) update(history.x, curves.map(({ key }) => history.column(key)));
    }
  }

  store.watch("fleet", draw, signal);
  store.watch("activity", draw, signal);
  store.watch("event", (all) => events.update(selected(all, { node: name })), signal);
  if (!store.get("fleet")) draw();
}

/** What a large fleet's rows are without. */
function detailsOf(whole) {
  if (!whole) return {};
  const { advertise, version, runtime, speeds, providers, steadiness, power_sensor, clock_offset_s, labels, failing, warnings } = whole;
  return { advertise, version, runtime, speeds, providers, steadiness, power_sensor, clock_offset_s, labels, failing, warnings };
}

function figuresOf(node, links, name) {
  const values = {
    cpu_percent: node.cpu_percent,
    memory_available_bytes: node.memory_available_bytes,
    compute_w: node.compute_w,
    transmit_w: node.transmit_w,
    battery_fraction: node.active?.battery_fraction ?? null,
  };
  for (const link of links.filter((link) => link.from === name)) {
    values[`bandwidth:${link.to}`] = link.up ? link.bandwidth_bytes_per_s : null;
    values[`latency:${link.to}`] = link.up ? link.latency_s : null;
  }
  return values;
}

/** Charts that have anything to show. */
function chartKeys(history) {
  const has = (prefix) => history.keys.some((key) => key.startsWith(prefix));
  const some = (key) => history.series.has(key) && history.column(key).some((value) => value !== null);
  return ["load", "memory", "power", ...(some("battery_fraction") ? ["battery"] : []), ...(has("bandwidth:") ? ["bandwidth", "latency"] : [])];
}

function build(history, name, node, keys, signal) {
  const origin = (key) => history.origin[key] ?? powerOf(node).origin;
  const peers = (prefix) =>
    history.keys
      .filter((key) => key.startsWith(prefix))
      .slice(0, 12)
      .map((key) => ({ key, label: `to ${key.slice(prefix.length)}`, colour: `--node-${nodeSlot(key.slice(prefix.length))}`, origin: "measured" }));
  const specifications = {
    load: { title: "Load of all cores", format: percent, most: 100, curves: [{ key: "cpu_percent", label: "load", colour: "--accent", origin: "measured" }] },
    memory: { title: "Free memory", format: bytes, curves: [{ key: "memory_available_bytes", label: "free", colour: "--accent", origin: "measured" }] },
    power: {
      title: "Power",
      format: watts,
      curves: [
        { key: "compute_w", label: "drawn by computing", colour: "--accent", origin: origin("compute_w") },
        { key: "transmit_w", label: "by sending", colour: "--warn", origin: history.origin.transmit_w ?? "configured", dashed: true },
      ],
    },
    battery: { title: "Battery", format: (value) => percent(value === null ? null : 100 * value), most: 1, curves: [{ key: "battery_fraction", label: "left", colour: "--good", origin: "measured" }] },
    bandwidth: { title: "Bandwidth", format: bytesPerSecond, curves: peers("bandwidth:") },
    latency: { title: "Latency, one way", format: seconds, curves: peers("latency:") },
  };
  return keys.map((key) => ({ key, curves: specifications[key].curves, ...chart({ ...specifications[key], signal }) }));
}

function drawFacts(facts, node) {
  const state = stateOf(node);
  const { drawn, origin, battery } = powerOf(node);
  const shown = [
    ["state", state.text, null, state.tone],
    ["load", percent(node.cpu_percent), "measured"],
    ["free memory", bytes(node.memory_available_bytes), "measured"],
    ["draws", watts(drawn), origin],
    ["by serving, five minutes", watts(node.active?.serving_w ?? null)],
    ...(battery === null ? [] : [["battery", percent(100 * battery), "measured"]]),
    ["runs parts of", (node.active?.models ?? []).join(", ") || "nothing"],
  ];
  if (facts.querySelector("p")) facts.replaceChildren();
  keyed(
    facts,
    shown,
    ([key]) => key,
    ([key]) => h("div", null, h("dt", null, key), h("dd", null, h("span"), " ", h("small"))),
    (element, [, text, origin, tone]) => {
      const [value, chip] = element.lastElementChild.children;
      setText(value, text);
      value.className = tone ?? "";
      if (chip.textContent !== (origin ?? "")) chip.replaceChildren(...[originChip(origin)].filter(Boolean));
    },
  );
}

function drawMachine(list, node) {
  const steady = node.steadiness;
  const entries = [
    ["address", node.advertise],
    ["edgesplit", node.version],
    ["runtime", node.runtime],
    ["runs on", (node.providers ?? []).join(", ")],
    ["watts from", node.power_sensor],
    ["clock", node.clock_offset_s === null || node.clock_offset_s === undefined ? "" : `${seconds(Math.abs(node.clock_offset_s))} ${node.clock_offset_s < 0 ? "behind" : "ahead of"} the controller's`],
    ["steadiness", steady ? `${steady.regime}; spread ${percent(100 * Math.hypot(steady.seconds_spread, steady.minutes_spread))}` : ""],
    ["speed and links", node.emulated ? "emulated" : ""],
    ["labels", Object.entries(node.labels ?? {}).map(([key, value]) => `${key}=${value}`).join(", ")],
  ].filter(([, text]) => text);
  keyed(list, entries, ([key]) => key, ([key]) => h("div", null, h("dt", null, key), h("dd", { class: "long" })), (element, [, text]) => setText(element.lastElementChild, text));
}

function linkColumns(name) {
  return {
    caption: `Links of ${name}`,
    key: (link) => `${link.from}:${link.to}`,
    text: (link) => `${link.from} ${link.to}`,
    empty: "No other node is online.",
    sort: 0,
    columns: [
      { title: "Direction", header: true, value: (link) => `${link.from === name ? "to" : "from"} ${link.from === name ? link.to : link.from}`, cell: (link) => ({ key: `${link.from}:${link.to}`, draw: () => h("span", null, link.from === name ? "to " : "from ", nodeLink(link.from === name ? link.to : link.from)) }) },
      { title: "Bandwidth", figure: true, value: (link) => link.bandwidth_bytes_per_s, cell: (link) => (link.up ? bytesPerSecond(link.bandwidth_bytes_per_s) : "down") },
      { title: "±", figure: true, value: (link) => link.error ?? null, cell: (link) => percent((link.error ?? null) === null ? null : 100 * link.error) },
      { title: "Latency", figure: true, value: (link) => link.latency_s, cell: (link) => seconds(link.latency_s) },
      { title: "Age", figure: true, value: (link) => link.age_s, cell: (link) => ago(link.age_s) },
      { title: "Figures are", value: (link) => link.origin, cell: (link) => ({ key: link.origin + link.reason, draw: () => [originChip(link.origin), h("small", null, link.reason ? ` ${link.reason}` : "")] }) },
    ],
  };
}

const SPEED_COLUMNS = {
  caption: "How fast it computes each model",
  key: (row) => row.model,
  text: (row) => row.model,
  empty: "It has profiled no model.",
  sort: 0,
  columns: [
    { title: "Model", header: true, value: (row) => row.model, cell: (row) => ({ key: row.model, draw: () => h("a", { class: "long", href: to.model(row.model) }, row.model) }) },
    { title: "Whole, float", figure: true, value: (row) => row.whole_s, cell: (row) => seconds(row.whole_s) },
    { title: "Profiled", figure: true, value: (row) => row.profiled_s, cell: (row) => seconds(row.profiled_s) },
    { title: "Factor", figure: true, value: (row) => row.factor, cell: (row) => number(row.factor) },
    { title: "Rests on", value: (row) => row.origin, cell: (row) => `${row.origin}${(row.age_s ?? null) === null ? "" : `, ${ago(row.age_s)}`}` },
  ],
};
