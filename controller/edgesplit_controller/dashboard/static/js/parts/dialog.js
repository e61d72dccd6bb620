/**
 * Dialogs: a question before something is lost, and forms.
 *
 * Its one rule: a dialog that asks says what is lost, and its button says what it does; the safe one has the focus.
 */

import { h } from "../core/html.js";

/**
 * Ask before something that cannot be taken back.
 * @param {{title: string, text: string|Node|Array, action: string, danger?: boolean}} question
 * @returns {Promise<boolean>}
 */
export function confirmed({ title, text, action, danger = true }) {
  return new Promise((resolve) => {
    const close = (answer) => () => {
      dialog.close();
      resolve(answer);
    };
    const keep = h("button", { type: "button", onclick: close(false) }, "Cancel");
    const act = h("button", { type: "button", class: danger ? "danger" : "primary", onclick: close(true) }, action);
    const dialog = open(title, h("p", null, text), h("div", { class: "buttons" }, keep, act));
    dialog.addEventListener("cancel", () => resolve(false));
    keep.focus();
  });
}

/**
 * A form in a dialog.
 * @param {{title: string, fields: Node|Array, action: string, submit: (form: HTMLFormElement, report: HTMLElement) => Promise<boolean>}} options
 *   `submit` does it, tells of it in `report`, and answers whether the dialog may close.
 * @returns {HTMLDialogElement}
 */
export function formDialog({ title, fields, action, submit }) {
  const report = h("div", { class: "report", role: "status", "aria-live": "polite" });
  const act = h("button", { type: "submit", class: "primary" }, action);
  const form = h("form", { method: "dialog" }, fields, report, h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close"), act));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    act.disabled = true;
    try {
      if (await submit(form, report)) dialog.close();
    } finally {
      act.disabled = false;
    }
  });
  const dialog = open(title, form);
  return dialog;
}

/**
 * A field of a form with its name, and words on what it means.
 * @param {string} label
 * @param {HTMLElement} control gets an id if it has none
 * @param {string} [help]
 */
export function field(label, control, help) {
  if (!control.id) control.id = `field-${(fieldCount += 1)}`;
  const words = help ? h("small", { id: `${control.id}-help` }, help) : null;
  if (words) control.setAttribute("aria-describedby", words.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, words);
}

let fieldCount = 0;

function open(title, ...content) {
  const heading = h("h2", { id: `dialog-${(fieldCount += 1)}` }, title);
  const dialog = h("dialog", { "aria-labelledby": heading.id }, heading, ...content);
  const before = document.activeElement;
  dialog.addEventListener("close", () => {
    dialog.remove();
    before?.focus?.();
  });
  // A page that is left takes its dialogs along.
  window.addEventListener("hashchange", () => dialog.close(), { once: true });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
