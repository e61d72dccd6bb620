/** Operating the fleet: models and what is wanted of them, nodes in and out, who is trusted until when. */

import { ago, percent, seconds } from "../core/format.js";
import { h } from "../core/html.js";
import { to } from "../core/router.js";
import { mayChange, session } from "../core/session.js";
import { store } from "../core/store.js";
import { badge, nodeLink } from "../parts/chips.js";
import { stateOf } from "../parts/fleet/nodestate.js";
import { addModelForm } from "../parts/operate/addmodel.js";
import { certificateTable } from "../parts/operate/certificates.js";
import { joinForm } from "../parts/operate/joining.js";
import { modelActions } from "../parts/operate/modelactions.js";
import { nodeActions } from "../parts/operate/nodeactions.js";
import { table } from "../parts/table.js";
import { performOperation } from "../parts/task.js";

export const title = () => "Operate";

export function mount(element, params, { signal }) {
  const modelReport = h("div", { role: "status", "aria-live": "polite" });
  const nodeReport = h("div", { role: "status", "aria-live": "polite" });
  const models = table(modelColumns(modelReport));
  const nodes = table(nodeColumns(nodeReport));
  const certificates = session?.secured ? certificateTable(signal) : null;
  const part = (id, heading, ...content) => h("section", { id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, heading), ...content);
  element.append(
    ...[
      mayChange() ? null : h("p", { class: "problem" }, "You may look, and change nothing."),
      part("models", "Models", modelReport, models.element, mayChange() && pauseAll(modelReport)),
      part("nodes", "Nodes", nodeReport, nodes.element),
      mayChange() && h("div", { class: "columns two" }, part("add", "Add a model", addModelForm()), part("join", "Let a node join", joinForm())),
      certificates && part("certificates", "Certificates", h("p", { class: "muted" }, "Those of the controller, nodes and operators renew themselves at two thirds of their life; the broker's is written anew by splitctl broker config."), certificates.element),
    ].filter(Boolean),
  );
  certificates?.read();
  store.watch("models", (rows) => models.update(rows), signal);
  store.watch("fleet", (fleet) => nodes.update(fleet.nodes.map((node) => ({ ...node, toned: stateOf(node) }))), signal);
  const wanted = params.query.get("part");
  if (wanted) document.getElementById(wanted)?.scrollIntoView();
}

function pauseAll(report) {
  const act = (text, op, said) => h("button", { type: "button", class: "quiet", onclick: () => performOperation(report, text, { op }, () => said) }, text);
  return h("p", null, act("Pause planning of all", "pause-planning", "No model is planned again by itself; fallbacks and commands act all the same."), act("Resume planning of all", "resume-planning", "All models are planned by themselves again."));
}

function modelColumns(report) {
  const state = (row) => (row.deployed ? (row.serving ? ["serves", "good"] : ["does not serve", "bad"]) : ["not deployed", "idle"]);
  return {
    caption: "Models",
    key: (row) => row.name,
    text: (row) => row.name,
    empty: "No model was added yet.",
    sort: 0,
    columns: [
      { title: "Model", header: true, value: (row) => row.name, cell: (row) => ({ key: `${row.name} ${row.deployed}`, draw: () => (row.deployed ? h("a", { class: "long", href: to.model(row.name) }, row.name) : h("span", { class: "long" }, row.name)) }) },
      { title: "State", value: (row) => state(row)[0], cell: (row) => ({ key: `${state(row)} ${row.paused}`, draw: () => [badge(...state(row)), row.paused && badge("planning paused", "warn")] }) },
      { title: "Source", value: (row) => row.source, cell: (row) => ({ key: String(row.source), draw: () => (row.source ? nodeLink(row.source) : "") }) },
      { title: "Epoch", figure: true, value: (row) => row.epoch, cell: (row) => (row.epoch ?? "") },
      { title: "Planned", figure: true, value: (row) => row.planned_unix_s, cell: (row) => ((row.planned_unix_s ?? null) === null ? "" : ago(Math.max(0, Date.now() / 1000 - row.planned_unix_s))) },
      { title: "Being measured", cell: completionCell },
      { title: "", cell: (row) => ({ key: `${row.deployed} ${row.paused} ${row.source}`, draw: () => (mayChange() ? h("div", { class: "row-actions" }, modelActions(row, report)) : "") }) },
    ],
  };
}

function completionCell(row) {
  const completion = row.completion;
  if (!completion) return "";
  const left = completion.left_s === null ? "" : `, ${seconds(completion.left_s)} left`;
  const text = completion.reason ? `${completion.what}: ${completion.reason}` : `${completion.what} ${percent(100 * completion.fraction)}${left}`;
  return { key: text, draw: () => [h("progress", { max: "1", value: completion.fraction, "aria-label": `Measuring ${row.name}` }), h("small", { class: "long" }, ` ${text}`)] };
}

function nodeColumns(report) {
  return {
    caption: "Nodes",
    key: (row) => row.name,
    text: (row) => row.name,
    empty: "No node has registered.",
    sort: 0,
    columns: [
      { title: "Node", header: true, value: (row) => row.name, cell: (row) => ({ key: row.name, draw: () => nodeLink(row.name) }) },
      { title: "State", value: (row) => row.toned.text, cell: (row) => ({ key: row.toned.text, draw: () => badge(row.toned.text, row.toned.tone) }) },
      { title: "edgesplit", value: (row) => row.version, cell: (row) => row.version ?? "" },
      { title: "", cell: (row) => ({ key: `${row.online} ${row.drained_unix_s}`, draw: () => (mayChange() ? h("div", { class: "row-actions" }, nodeActions(row, report).map(({ button }) => button)) : "") }) },
    ],
  };
}
