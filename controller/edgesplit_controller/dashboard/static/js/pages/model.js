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
  const noise = section("Noise against its bound");
  const energy = section("Energy of a request by node");
  const rest = section("If a node is lost");
  const planned = [timeline, h("div", { class: "columns two" }, noise, energy), section("Why", why), rest];
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
      lead.replaceChildren(...leadOf(found));
      show();
      gantt.show(planBars(found), marksOf(found));
      noise.replaceChildren(heading("Noise against its bound"), noiseChart(found));
      energy.replaceChildren(heading("Energy of a request by node"), energyChart(found));
      rest.replaceChildren(heading("If a node is lost"), fallbacks(found));
    },
    onFailure(error) {
      if (plan !== null && error.code === "controller-unreachable") return; // the page says so above, and what is shown stays
      plan = null;
      planned.forEach((part) => (part.hidden = true));
      lead.replaceChildren(...(error.code === "not-deployed" ? notDeployed() : [h("p", { class: "problem bad" }, error.text ?? error.message)]));
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

function notDeployed() {
  return [h("p", null, "Not deployed: the network is known, and no plan says where it runs. ", h("a", { href: to.operate() }, "Deploy it"))];
}

function section(/** @type {string} */ name, /** @type {(Node|string)[]} */ ...children) {
  return h("section", null, heading(name), ...children);
}

const heading = (/** @type {string} */ name) => h("h2", null, name);

function failed(/** @type {HTMLElement} */ said, /** @type {any} */ error) {
  said.className = "problem bad";
  said.hidden = false;
  setText(said, error.text ?? error.message);
}
