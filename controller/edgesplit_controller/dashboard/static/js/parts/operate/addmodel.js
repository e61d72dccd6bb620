/** Adding a model: its files, what is measured of it, and how far that is. */

import { ask } from "../../core/ask.js";
import { count } from "../../core/format.js";
import { h } from "../../core/html.js";
import { upload } from "../../core/upload.js";
import { field } from "../dialog.js";
import { perform } from "../task.js";

/** @returns {HTMLElement} the form and its report */
export function addModelForm() {
  const name = h("input", { required: true, pattern: "[A-Za-z0-9._\\-]+", maxlength: "200", autocomplete: "off", spellcheck: "false" });
  const file = h("input", { type: "file", accept: ".onnx", required: true });
  const external = h("input", { type: "file", multiple: true });
  const calibration = h("input", { type: "file", accept: ".npz" });
  const quantizable = h("input", { type: "number", min: "0", max: "64", value: "12" });
  const exclude = h("input", { autocomplete: "off", spellcheck: "false" });
  const replace = h("input", { type: "checkbox" });
  const complete = h("input", { type: "checkbox" });
  const report = h("div", { class: "report", role: "status", "aria-live": "polite" });
  const submit = h("button", { type: "submit", class: "primary" }, "Add model");
  const form = h(
    "form",
    { class: "form" },
    field("Model (.onnx)", file),
    field("Name", name, "Letters, digits, - _ and dots."),
    h(
      "details",
      null,
      h("summary", null, "Weights beside it, calibration, int8"),
      field("Files that hold its weights", external, "Where the model keeps weights outside the .onnx file: all of them, under the names it uses."),
      field("Calibration (.npz)", calibration, "One array for each input, the first axis its samples. Without it noise is measured on random inputs, which is a worse guess."),
      h("div", { class: "form-row" }, field("Operators that may run in int8, at most", quantizable), field("Never in int8", exclude, "Names of operators, with commas between them.")),
      check("Replace the model of this name", replace, "Its plans, goals and profiles are made anew."),
      check("Wait until int8 and codecs are measured", complete, "Otherwise it can be deployed in float as soon as nodes have timed it; the rest follows."),
    ),
    h("div", { class: "buttons" }, submit),
  );
  file.addEventListener("change", () => {
    const chosen = file.files[0]?.name.replace(/\.onnx$/i, "").replace(/[^A-Za-z0-9._-]+/g, "-");
    if (chosen && !name.value) name.value = chosen;
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    const done = await perform(report, `Adding ${name.value}`, add, said);
    submit.disabled = false;
    if (done) form.reset();
  });

  async function add(tools) {
    const operation = {
      op: "add-model",
      name: name.value,
      file: await upload(file.files[0], tools),
      external: {},
      calibration: calibration.files[0] ? await upload(calibration.files[0], tools) : null,
      max_quantizable: quantizable.valueAsNumber,
      exclude: exclude.value.split(",").map((word) => word.trim()).filter(Boolean),
      replace: replace.checked,
      wait: complete.checked ? "all" : "ready",
    };
    for (const part of external.files) operation.external[part.name] = await upload(part, tools);
    return ask(operation, tools);
  }

  return h("div", null, form, report);
}

/** A box to tick, its name behind it. */
export function check(label, control, help) {
  const element = field(label, control, help);
  element.classList.add("check");
  element.prepend(control);
  return element;
}

function said(document) {
  const rest = document.stage === "float" ? "; int8 and codecs are being measured in the background" : "";
  const missing = document.not_profiled.map((row) => `${row.node} has not timed it${row.reason ? `: ${row.reason}` : ""}`);
  return {
    text: `${document.name} is added: ${count(document.operators, "operator")} in ${count(document.units, "unit")}, timed by ${document.profiled.join(", ") || "no node yet"}${rest}.`,
    warnings: [...document.warnings, ...missing],
  };
}
