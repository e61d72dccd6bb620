/** What can be done with a node: leave it out of plans, take it back, end its trust, forget it. Questions say what is lost. */

import { h } from "../../core/html.js";
import { to } from "../../core/router.js";
import { session } from "../../core/session.js";
import { confirmed } from "../dialog.js";
import { performOperation } from "../task.js";

/**
 * @param {object} node a row of `splitctl nodes`
 * @param {HTMLElement} report where it is told what came of it
 * @returns {Array<{key: string, button: HTMLElement}>}
 */
export function nodeActions(node, report) {
  const drained = (node.drained_unix_s ?? null) !== null;
  return [
    drained ? action("undrain", "Take back into plans", () => undrain(node.name, report)) : action("drain", "Drain", () => drain(node.name, report)),
    ...(session?.secured ? [action("revoke", "Revoke", () => revoke(node.name, report))] : []),
    ...(node.online ? [] : [action("remove", "Remove", () => remove(node.name, report))]),
  ];
}

function action(key, text, act) {
  return { key, button: h("button", { type: "button", class: "quiet", onclick: act }, text) };
}

async function drain(name, report) {
  const sure = await confirmed({
    title: `Drain ${name}?`,
    text: "Plans leave it out from now on, and what runs there moves to other nodes. It stays in the fleet; what it is the source of stays there.",
    action: `Drain ${name}`,
    danger: false,
  });
  if (!sure) return;
  await performOperation(report, `Draining ${name}`, { op: "drain-node", name }, (document) => ({
    text: `Plans leave ${name} out now.`,
    warnings: document.models.filter((row) => row.stays).map((row) => `${row.model}: ${row.stays}`),
  }));
}

const undrain = (name, report) => performOperation(report, `Taking ${name} back`, { op: "undrain-node", name }, () => `Plans may use ${name} again.`);

async function revoke(name, report) {
  const sure = await confirmed({
    title: `Trust ${name} no more?`,
    text: "Nodes, broker and controller end its connections and take no others. Requests that it is the source of fail until it joins anew. What the fleet knows of it stays.",
    action: `Revoke ${name}`,
  });
  if (!sure) return;
  await performOperation(report, `Revoking ${name}`, { op: "revoke-certificates", role: "node", name }, (document) => `${name} is trusted no more (${document.serials.length} certificates).`);
}

async function remove(name, report) {
  const sure = await confirmed({
    title: `Forget ${name}?`,
    text: "All that the fleet knows of it is deleted: its profiles, figures and links. A node that comes back begins anew.",
    action: `Forget ${name}`,
  });
  if (!sure) return;
  const done = await performOperation(report, `Removing ${name}`, { op: "remove-node", name }, (document) => ({
    text: `${name} is forgotten.`,
    warnings: document.named_by.length > 0 ? [`Pins or forbidden nodes of ${document.named_by.join(", ")} still name it.`] : [],
  }));
  if (done && location.hash === to.node(name)) location.hash = to.fleet();
}
