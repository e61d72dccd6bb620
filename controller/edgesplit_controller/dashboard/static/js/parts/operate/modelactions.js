/** What can be done with a model: deploy it, change its goals, pause its planning, end it, remove it. */

import { AskError, ask } from "../../core/ask.js";
import { joules, number, seconds } from "../../core/format.js";
import { h } from "../../core/html.js";
import { store } from "../../core/store.js";
import { confirmed, field, formDialog } from "../dialog.js";
import { failure, perform, performOperation } from "../task.js";

/**
 * @param {{name: string, deployed: boolean, paused: boolean, source: string|null}} model a row of the stream's models
 * @param {HTMLElement} report where it is told what came of it
 * @returns {HTMLElement[]} buttons
 */
export function modelActions(model, report) {
  const button = (text, act) => h("button", { type: "button", class: "quiet", onclick: act }, text);
  return [
    button(model.deployed ? "Move …" : "Deploy …", () => deploy(model)),
    button("Goals …", () => changeGoals(model.name, report)),
    ...(model.deployed ? [model.paused ? button("Resume", () => resume(model.name, report)) : button("Pause", () => pause(model.name, report)), button("End serving", () => undeploy(model.name, report))] : []),
    button("Remove", () => remove(model, report)),
  ];
}

function deploy(model) {
  const names = (store.get("fleet")?.nodes ?? []).filter((node) => node.online && !node.refused).map((node) => node.name);
  const list = h("datalist", { id: "deploy-sources" }, names.map((name) => h("option", { value: name })));
  const source = h("input", { required: true, list: list.id, value: model.source ?? names[0] ?? "", autocomplete: "off", spellcheck: "false" });
  const on = h("input", { autocomplete: "off", spellcheck: "false", placeholder: "site=home,role!=gateway" });
  formDialog({
    title: `Deploy ${model.name}`,
    fields: [
      field("Source", source, "The node where its requests arise; a pattern such as cam* plans for each that matches."),
      list,
      field("On", on, "Which nodes plans may use beside it, by their labels; empty: those of its site, and nodes without one."),
    ],
    action: model.deployed ? "Move" : "Deploy",
    submit: async (_form, report) => {
      const operation = { op: "deploy-model", name: model.name, source: source.value.trim(), on: on.value.trim() };
      // What serves now stays to be read.
      await performOperation(report, `Planning and preparing ${model.name}`, operation, deployed);
      return false;
    },
  });
}

function deployed(document) {
  return {
    text: `${document.model} serves epoch ${document.epoch} after ${seconds(document.seconds)}${document.reason ? ` (${document.reason})` : ""}.`,
    warnings: document.warnings,
  };
}

async function changeGoals(name, report) {
  let goals;
  try {
    goals = (await ask({ op: "show-model", name })).goals;
  } catch (error) {
    report.replaceChildren(failure(error));
    return;
  }
  const limit = (value) => h("input", { type: "number", step: "any", min: "0", value: value ?? "", placeholder: "no limit" });
  const weight = (value) => h("input", { type: "number", step: "any", min: "0", required: true, value: value ?? 0 });
  const latency = weight(goals?.latency_weight ?? 1);
  const energy = weight(goals?.energy_weight ?? 0);
  const noise = limit(goals ? goals.max_noise : 0);
  const rate = limit(goals?.min_rate_hz);
  const device = limit(goals?.device_energy_limit_j);
  const wanted = (dryRun) => ({
    op: "set-weights",
    model: name,
    latency: latency.valueAsNumber,
    energy: energy.valueAsNumber,
    max_noise: { value: numberOrNull(noise) },
    min_rate: { value: numberOrNull(rate) },
    device_energy_j: { value: numberOrNull(device) },
    dry_run: dryRun,
  });
  const preview = h("button", { type: "button" }, "What would result");
  const dialog = formDialog({
    title: `Goals of ${name}`,
    fields: [
      h("div", { class: "form-row" }, field("Weight of latency", latency), field("Weight of energy", energy)),
      field("Noise at most", noise, "0: float only; empty: no bound."),
      h("div", { class: "form-row" }, field("Requests a second at least", rate), field("Energy of the source at most [J]", device)),
    ],
    action: "Set and plan",
    submit: async (_form, report) => {
      await perform(report, `Planning ${name}`, (tools) => ask(wanted(false), tools), (rows) => rows.map(changed).join(" "));
      return false;
    },
  });
  preview.addEventListener("click", () => {
    const place = dialog.querySelector(".report");
    perform(place, `Planning ${name}`, (tools) => ask(wanted(true), tools), compared);
  });
  dialog.querySelector(".buttons").prepend(preview);
}

const numberOrNull = (input) => (input.value === "" ? null : input.valueAsNumber);

const changed = (row) => (row.epoch === 0 ? `Goals of ${row.model} are stored; it is not deployed.` : `${row.model} serves epoch ${row.epoch}, ${row.changed ? "another plan" : "the same plan as before"}.`);

function compared(rows) {
  const [row] = rows;
  if (!row?.then || !row.now) throw new AskError("the model is not deployed, so that no plan would result: set the goals, or deploy it first");
  const pair = (now, then, format) => `${format(now)} now, ${format(then)} then`;
  return {
    text: `Predicted: latency ${pair(row.now.latency_s, row.then.latency_s, seconds)}; energy ${pair(row.now.energy_j, row.then.energy_j, joules)}; noise ${pair(row.now.noise, row.then.noise, number)}. ${row.changed ? "Another plan" : "The same plan"} would serve.`,
    warnings: row.warnings,
  };
}

const pause = (name, report) => performOperation(report, `Pausing ${name}`, { op: "pause-planning", model: name }, () => `${name} is not planned again by itself; fallbacks and your commands act all the same.`);

const resume = (name, report) => performOperation(report, `Resuming ${name}`, { op: "resume-planning", model: name }, () => `${name} is planned by itself again.`);

async function undeploy(name, report) {
  const sure = await confirmed({ title: `End serving ${name}?`, text: "Requests for it are refused from then on. The model and its goals stay.", action: "End serving" });
  if (sure) await performOperation(report, `Ending ${name}`, { op: "undeploy-model", name }, (document) => `${document.model} no longer serves; its last epoch was ${document.epoch}.`);
}

async function remove(model, report) {
  const ends = model.deployed ? "Serving ends first. " : "";
  const sure = await confirmed({ title: `Remove ${model.name}?`, text: `${ends}Its file, noise model, profiles and goals are deleted; to have it again it is uploaded and measured anew.`, action: `Remove ${model.name}` });
  if (sure) await performOperation(report, `Removing ${model.name}`, { op: "remove-model", name: model.name }, () => `${model.name} is removed.`);
}
