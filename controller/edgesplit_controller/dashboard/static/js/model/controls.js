/**
 * Controls of a what-if: sliders on scales that people think in, with their value in words.
 *
 * Owns: the elements. Its rule: a slider that was not moved changes nothing; a double click, or its button, takes back what was moved.
 */

import { h, setText } from "../core/html.js";
import { nearestStep } from "./supposition.js";

let sliders = 0;

/**
 * A slider over given steps.
 *
 * @template {number|null} T
 * @param {object} needs
 * @param {string|Node} needs.label
 * @param {T[]} needs.steps
 * @param {T} needs.now What holds now; shown until the slider is moved, also where no step is equal to it.
 * @param {T|undefined} needs.supposed
 * @param {(value: T) => string} needs.text
 * @param {(value: T|undefined) => void} needs.changed Undefined: as it is.
 */
export function slider({ label, steps, now, supposed, text, changed }) {
  sliders += 1;
  const id = `supposed-${sliders}`;
  const output = h("output", { for: id });
  const back = h("button", { type: "button", class: "quiet", "aria-label": "As it is", title: "As it is" }, "↺");
  const input = /** @type {HTMLInputElement} */ (h("input", { type: "range", id, min: "0", max: String(steps.length - 1), step: "1" }));
  const show = (/** @type {T|undefined} */ value) => {
    const words = value === undefined ? `${text(now)}, as it is` : text(value);
    setText(output, words);
    input.setAttribute("aria-valuetext", words);
    back.toggleAttribute("disabled", value === undefined);
    input.classList.toggle("moved", value !== undefined);
  };
  const reset = () => {
    input.value = String(nearestStep(steps, now));
    show(undefined);
  };
  reset();
  if (supposed !== undefined) {
    input.value = String(nearestStep(steps, supposed));
    show(supposed);
  }
  input.addEventListener("input", () => {
    const value = steps[Number(input.value)];
    show(value);
    changed(value);
  });
  back.addEventListener("click", () => {
    reset();
    changed(undefined);
    input.focus();
  });
  return h("div", { class: "slider" }, h("label", { for: id }, label), input, back, output);
}

/**
 * @param {string} label
 * @param {boolean} checked
 * @param {(checked: boolean) => void} changed
 */
export function tick(label, checked, changed) {
  const input = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox" }));
  input.checked = checked;
  input.addEventListener("change", () => changed(input.checked));
  return h("label", { class: "tick" }, input, " ", label);
}
