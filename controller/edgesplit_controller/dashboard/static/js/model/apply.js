/**
 * Setting goals from the page: first what would result, then the change itself.
 *
 * Owns: this dialogue. Its rule: nothing is set before the plan that would serve was shown (`set-weights` as a dry run), and what cannot be set
 * is said beforehand. Not here: which goals (supposition.js).
 */

import { ask } from "../core/ask.js";
import { count } from "../core/format.js";
import { h } from "../core/html.js";
import { mayChange } from "../core/session.js";
import { plansTable } from "./figures.js";
import { notForSetting, setWeightsOperation } from "./supposition.js";

/** @typedef {import("./supposition.js").Supposition} Supposition */

export class ApplyPanel {
  /**
   * @param {string} name Of the model.
   * @param {{signal: AbortSignal, applied: () => void}} needs Called when goals were set.
   */
  constructor(name, { signal, applied }) {
    this.name = name;
    this.signal = signal;
    this.applied = applied;
    this.element = h("section", { class: "apply", "aria-live": "polite" });
  }

  /** Offer to set what is supposed. */
  offer(/** @type {Supposition} */ supposed) {
    const operation = setWeightsOperation(this.name, supposed, true);
    const refused = notForSetting(supposed);
    const button = h("button", { type: "button", class: "primary", onclick: () => this.#preview(supposed) }, "Apply these goals …");
    if (operation === null || !mayChange()) button.setAttribute("disabled", "");
    this.element.replaceChildren(
      button,
      operation === null ? h("p", { class: "muted" }, refused.length > 0 ? "No goal was changed, so that there is nothing to apply." : "Move a goal, and it can be applied.") : "",
      operation !== null && !mayChange() ? h("p", { class: "muted" }, "This session may look and not change anything: sign in as an operator with splitctl dashboard.") : "",
      refusals(refused),
    );
  }

  clear() {
    this.element.replaceChildren();
  }

  async #preview(/** @type {Supposition} */ supposed) {
    this.element.replaceChildren(h("p", { class: "busy" }, "Planning what would serve …"));
    const rows = await this.#asked(setWeightsOperation(this.name, supposed, true), supposed);
    if (rows === null) return;
    const [row] = rows;
    const said = row?.changed ? "Another assignment would serve." : "The assignment would stay as it is; only the goals would be others.";
    this.element.replaceChildren(
      h("p", null, said),
      row?.then ? plansTable("With the links and nodes as they are", [{ title: "Serves", plan: row.now }, { title: "Would serve", plan: row.then }]) : "",
      refusals(notForSetting(supposed)),
      h("div", { class: "buttons" }, h("button", { type: "button", class: "primary", onclick: () => this.#set(supposed) }, "Set these goals"), h("button", { type: "button", onclick: () => this.offer(supposed) }, "Leave it")),
    );
    /** @type {HTMLElement|null} */ (this.element.querySelector("button.primary"))?.focus();
  }

  async #set(/** @type {Supposition} */ supposed) {
    const progress = h("p", { class: "busy" }, "Setting goals …");
    this.element.replaceChildren(progress);
    const rows = await this.#asked(setWeightsOperation(this.name, supposed, false), supposed, (text) => progress.replaceChildren(text));
    if (rows === null) return;
    this.applied();
    this.element.replaceChildren(
      ...rows.map((/** @type {any} */ row) => h("p", { class: "done" }, `${row.model}: epoch ${row.epoch} serves${row.changed ? ", with another assignment" : ", with the same assignment"}.`)),
      ...rows.flatMap((/** @type {any} */ row) => row.warnings.map((/** @type {string} */ text) => h("p", { class: "problem" }, text))),
    );
  }

  /**
   * @param {{op: string}|null} operation
   * @param {Supposition} supposed
   * @param {(text: string) => void} [progress]
   */
  async #asked(operation, supposed, progress) {
    if (operation === null) return null;
    try {
      return await ask(operation, { signal: this.signal, progress });
    } catch (error) {
      if (this.signal.aborted) return null;
      this.element.replaceChildren(h("p", { class: "problem bad" }, error.text ?? error.message), h("button", { type: "button", onclick: () => this.offer(supposed) }, "Back"));
      return null;
    }
  }
}

/** @param {string[]} refused */
function refusals(refused) {
  if (refused.length === 0) return "";
  return h("details", { class: "not-applied", open: true }, h("summary", null, `${count(refused.length, "supposition")} cannot be applied`), h("ul", null, refused.map((text) => h("li", null, text))));
}
