/** Page of a model: its network with the plan, the timeline, noise, energy, and why it is split so. */

import { getJson } from "../core/ask.js";
import { UNKNOWN, clock, joules, number, perSecond, seconds } from "../core/format.js";
import { h, setText } from "../core/html.js";
import { to } from "../core/router.js";
import { Gantt } from "../gantt.js";
import { joined } from "../graph/network.js";
import { NetworkPanel } from "../graph/panel.js";
import { planBars } from "../charts/bars.js";
import { energyChart } from "../charts/energy.js";
import { energyText, latencyText, pair, rateText, requestsText, spreadBar } from "../model/figures.js";
import { noiseChart } from "../charts/noise.js";
import { watchPlan } from "../model/plan-watch.js";
import { Reasons } from "../model/reasons.js";
import { whySection } from "../model/why.js";

/** @param {{name: string}} params */
export const title = (params) => params.name;

/**
 * @param {HTMLElement} element
 * @param {{name: string}} params
 * @param {{signal: AbortSignal}} needs
 */
export function mount(element, { name }, { signal }) {
  const why = h("div");
  const reasons = new Reasons(
    name,
    () => {
      panel.refresh();
      why.replaceChildren(whySection(reasons));
    },
    signal,
  );
  const panel = new NetworkPanel({ reasons, signal });
  const gantt = new Gantt({ name: "Timeline of a request", idle: "Point at a bar, or walk with the arrow keys, to read what it is." });
  const lead = h("div", { class: "model-lead" }, h("p", { class: "loading" }, "Asking for the plan …"));
  const networkSaid = h("p", { class: "loading" }, "Reading the network …");
  const network = section("Network", networkSaid, panel.element);
  const timeline = section("Timeline of a request", gantt.element, h("p", null, h("a", { href: to.trace(name) }, "Follow one request as it really went")));
  const [noise, energy, lost, sources] = [h("div"), h("div"), h("div"), h("div")];
  const elsewhere = section("Its sources", sources);
  const figures = h("div", { class: "columns two" }, section("Noise against its bound", noise), section("Energy of a request by node", energy));
  const planned = [timeline, figures, section("Why", why), section("If a node is lost", lost), elsewhere];
  element.append(lead, network, ...planned);
  panel.element.hidden = true;
  planned.forEach((part) => (part.hidden = true));

  /** @type {any} */
  let graph = null;
  /** @type {any} */
  let plan = null;
  let shown = "";
  const show = () => {
    if (graph === null) return;
    // A plan's figures are new every few seconds, its network only with another epoch.
    const key = `${graph.sha256} ${plan?.epoch}`;
    if (key !== shown) panel.show(joined(graph, plan), plan);
    else panel.plan = plan;
    shown = key;
  };
  const read = async () => {
    try {
      graph = await getJson(`api/models/${encodeURIComponent(name)}/graph`, { signal });
      networkSaid.hidden = true;
      panel.element.hidden = false;
      show();
    } catch (error) {
      if (!signal.aborted) failed(networkSaid, error);
    }
  };
  read();
  watchPlan(name, {
    signal,
    onPlan(found) {
      if (graph === null && plan !== null && plan.epoch !== found.epoch) read();
      plan = found;
      planned.forEach((part) => (part.hidden = false));
      reasons.epoch = found.epoch;
      elsewhere.hidden = found.sources.length < 2;
      const { components: _, timeline: __, ...figuresOf } = found;
      fill(lead, figuresOf, () => leadOf(found));
      show();
      gantt.show(planBars(found), marksOf(found));
      fill(noise, [found.noise, found.goals.max_noise, found.measured.noise], () => [noiseChart(found)]);
      fill(energy, found.energy_per_node, () => [energyChart(found)]);
      fill(lost, found.fallbacks, () => [fallbacks(found)]);
      fill(sources, found.sources, () => [sourcesTable(found.sources)]);
    },
    onFailure(error) {
      if (plan !== null && error.code === "controller-unreachable") return; // the page says so above, and what is shown stays
      plan = null;
      planned.forEach((part) => (part.hidden = true));
      fill(lead, [error.code, error.text], () => (error.code === "not-deployed" ? notDeployed() : [h("p", { class: "problem bad" }, error.text ?? error.message)]));
      show();
    },
  });
  why.replaceChildren(whySection(reasons));
}

/** @param {any} plan */
function leadOf(plan) {
  const measured = plan.measured;
  const state = plan.serving === null || plan.serving === plan.epoch ? "serving" : `epoch ${plan.serving} serves now`;
  const kind = plan.fixed ? "fixed plan" : plan.status;
  return [
    h("p", { class: "model-state" }, h("strong", null, `Epoch ${plan.epoch}`), ` from `, h("a", { href: to.node(plan.source) }, plan.source), `, ${kind}, ${state}. `, plan.reason ? `Made because ${plan.reason}.` : ""),
    plan.paused_unix_s === null ? "" : h("p", { class: "problem warn" }, `Paused since ${clock(plan.paused_unix_s)}: not planned again by itself until it is resumed.`),
    plan.battery === null ? "" : h("p", { class: plan.battery.kept ? "muted" : "problem warn" }, plan.battery.text),
    plan.concession === null ? "" : h("p", { class: "muted" }, `Simpler than the best: ${plan.concession.text}`),
    h(
      "dl",
      { class: "facts" },
      pair("Latency", latencyText(plan), seconds(measured.latency_s)),
      pair("Energy", energyText(plan), joules(measured.energy_j), measured.energy_origin),
      pair("Of it the source", joules(plan.device_energy_j), joules(measured.device_energy_j), measured.energy_origin),
      pair("Noise", number(plan.noise), number(measured.noise.mean)),
      pair("Rate", rateText(plan), measured.requests_per_s === null ? UNKNOWN : perSecond(measured.requests_per_s)),
      h("div", null, h("dt", null, "Served"), h("dd", null, requestsText(plan))),
    ),
    spreadBar(plan.per_node),
  ];
}

/** @param {any} plan */
function marksOf(plan) {
  const marks = [{ atS: plan.latency_s, text: `predicted end, ${seconds(plan.latency_s)}`, measured: false }];
  if (plan.measured.latency_s !== null) marks.push({ atS: plan.measured.latency_s, text: `measured mean, ${seconds(plan.measured.latency_s)}`, measured: true });
  return marks;
}

/** @param {any} plan */
function fallbacks(plan) {
  const rows = Object.entries(plan.fallbacks);
  if (rows.length === 0) return h("p", { class: "muted" }, "No fallback is planned yet, or none is needed: then everything runs on the source.");
  const columns = ["If lost", "Runs on", "Latency", "Energy", "State"];
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      null,
      h("thead", null, h("tr", null, columns.map((name) => h("th", { scope: "col" }, name)))),
      h(
        "tbody",
        null,
        rows.map(([node, row]) =>
          h("tr", null, h("th", { scope: "row" }, node), h("td", null, spreadBar(row.per_node)), h("td", null, latencyText(row)), h("td", null, energyText(row)), h("td", null, row.prepared ? "prepared" : "not ready yet")),
        ),
      ),
    ),
  );
}

/** @param {any[]} rows SourceRows. */
function sourcesTable(rows) {
  const columns = ["Source", "Plan", "Latency", "Measured", "Energy", "Nodes"];
  const body = rows.map((row) =>
    h("tr", null, h("th", { scope: "row" }, row.source), h("td", null, h("a", { href: to.model(row.name) }, row.name)), h("td", null, seconds(row.latency_s)), h("td", null, seconds(row.measured_latency_s)), h("td", null, joules(row.energy_j)), h("td", null, row.nodes.join(", "))),
  );
  return h("div", { class: "scroll" }, h("table", null, h("thead", null, h("tr", null, columns.map((name) => h("th", { scope: "col" }, name)))), h("tbody", null, body)));
}

function notDeployed() {
  return [h("p", null, "Not deployed: the network is known, and no plan says where it runs. ", h("a", { href: to.operate() }, "Deploy it"))];
}

function section(/** @type {string} */ name, /** @type {(Node|string)[]} */ ...children) {
  return h("section", null, h("h2", null, name), ...children);
}

/** What each part shows, so that one whose figures are the same stays as it is, with whatever has the focus in it. */
const filled = new WeakMap();

function fill(/** @type {HTMLElement} */ part, /** @type {unknown} */ value, /** @type {() => (Node|string)[]} */ make) {
  const key = JSON.stringify(value);
  if (filled.get(part) === key) return;
  filled.set(part, key);
  part.replaceChildren(...make());
}

function failed(/** @type {HTMLElement} */ said, /** @type {any} */ error) {
  said.className = "problem bad";
  said.hidden = false;
  setText(said, error.text ?? error.message);
}
