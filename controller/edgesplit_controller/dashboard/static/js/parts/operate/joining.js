/**
 * Letting a machine or a person join: the one line to run there.
 *
 * Its one rule: the token is drawn here and shown once; the controller is told its digest alone.
 */

import { ask } from "../../core/ask.js";
import { clock } from "../../core/format.js";
import { h } from "../../core/html.js";
import { session } from "../../core/session.js";
import { field } from "../dialog.js";
import { failure } from "../task.js";
import { check } from "./addmodel.js";
import { drawToken } from "./jointoken.js";

const PROGRAMS = { node: "edgesplit-agent join", operator: "splitctl login" };

/** @returns {HTMLElement} */
export function joinForm() {
  if (!session?.secured) return plain();
  if (!session.authority) return byCommand();
  const kind = h("select", null, h("option", { value: "node" }, "a machine, as a node"), h("option", { value: "operator" }, "a person, as an operator"));
  const name = h("input", { required: true, pattern: "[A-Za-z0-9._\\-]+", maxlength: "63", autocomplete: "off", spellcheck: "false" });
  const replaces = h("input", { type: "checkbox" });
  const report = h("div", { class: "report", role: "status", "aria-live": "polite" });
  const submit = h("button", { type: "submit", class: "primary" }, "Show the command");
  const form = h("form", { class: "form" }, h("div", { class: "form-row" }, field("Who joins", kind), field("Under the name", name)), check("It has that name already and gets a new key", replaces), h("div", { class: "buttons" }, submit));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      const { token, digest } = await drawToken(session.authority);
      const offer = await ask({ op: "give-join-token", kind: kind.value, name: name.value, digest, replaces: replaces.checked });
      const where = offer.kind === "node" ? `on ${offer.name}` : `as ${offer.name}`;
      report.replaceChildren(
        h("p", null, `Run this ${where}, once, before ${clock(offer.expires_unix_s)}; whoever has it may join:`),
        commandLine(`${PROGRAMS[offer.kind]} ${offer.url} --token ${token}`),
      );
    } catch (error) {
      report.replaceChildren(failure(error));
    } finally {
      submit.disabled = false;
    }
  });
  return h("div", null, form, report);
}

/** A command to run elsewhere, and a button that copies it. */
export function commandLine(text) {
  const code = h("code", null, text);
  const copy = h("button", { type: "button", onclick: copied }, "Copy");
  async function copied() {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      // Browsers give the clipboard to pages they trust alone: the text is selected, for a key to copy it.
      getSelection().selectAllChildren(code);
      copy.textContent = "Selected: press Ctrl-C";
    }
  }
  return h("div", { class: "command" }, code, copy);
}

function byCommand() {
  return h("div", null, h("p", null, "An operator's machine makes the line that lets a node join:"), commandLine("splitctl node add NAME"));
}

function plain() {
  return h("div", null, h("p", null, "This fleet has no authority, so that whoever reaches the broker is in it. Install the agent on the machine, name it and the broker in its configuration, and start it:"), commandLine("edgesplit-agent --config /etc/edgesplit/agent.toml"), h("p", null, h("small", null, "splitctl ca init on the controller's machine makes the fleet a secured one.")));
}
