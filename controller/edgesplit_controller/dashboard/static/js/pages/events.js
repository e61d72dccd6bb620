/** Events: what happened and why, live, and further back on demand. */

import { ask } from "../core/ask.js";
import { h } from "../core/html.js";
import { store } from "../core/store.js";
import { field } from "../parts/dialog.js";
import { eventTable, selected } from "../parts/events.js";
import { failure } from "../parts/task.js";

const EARLIER = 2000;

export const title = () => "Events";

export function mount(element, params, { signal }) {
  const level = h("select", null, ["info", "warning", "error"].map((name) => h("option", { value: name }, name === "info" ? "all" : name === "warning" ? "warnings and errors" : "errors")));
  const kind = choice();
  const model = choice();
  const node = choice();
  const text = h("input", { type: "search" });
  const rows = eventTable("Nothing happened that this selects.");
  const report = h("div");
  const more = h("button", { type: "button", onclick: fetchEarlier }, `Fetch the last ${EARLIER}`);
  element.append(
    h("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() }, field("Level", level), field("Kind", kind), field("Model", model), field("Node", node), field("Words", text), more),
    report,
    rows.element,
  );
  level.value = params.query.get("level") ?? "info";
  let earlier = [];

  function all() {
    const live = store.get("event") ?? [];
    if (earlier.length === 0) return live;
    const known = new Set(live.map(keyOf));
    return [...earlier.filter((event) => !known.has(keyOf(event))), ...live];
  }

  function draw() {
    const events = all();
    offer(kind, events.map((event) => event.kind), params.query.get("kind"));
    offer(model, events.map((event) => event.model), params.query.get("model"));
    offer(node, events.map((event) => event.node), params.query.get("node"));
    rows.update(selected(events, { level: level.value, kind: kind.value, model: model.value, node: node.value, text: text.value }));
  }

  async function fetchEarlier() {
    more.disabled = true;
    try {
      earlier = await ask({ op: "list-events", limit: EARLIER }, { signal });
      report.replaceChildren();
      more.hidden = true;
      draw();
    } catch (error) {
      if (!signal.aborted) report.replaceChildren(failure(error));
    } finally {
      more.disabled = false;
    }
  }

  for (const control of [level, kind, model, node]) control.addEventListener("change", draw);
  text.addEventListener("input", draw);
  store.watch("event", draw, signal);
  if (!store.get("event")) draw();
}

const keyOf = (event) => `${event.at_unix_s} ${event.origin} ${event.kind} ${event.text}`;

const choice = () => h("select", null, h("option", { value: "" }, "all"));

/** Offer what there is to choose from, and keep what is chosen. */
function offer(select, values, first) {
  const wanted = [...new Set(values.filter(Boolean))].sort();
  if (first && !wanted.includes(first)) wanted.push(first);
  const shown = [...select.options].slice(1).map((option) => option.value);
  if (wanted.length === shown.length && wanted.every((value, index) => value === shown[index])) return;
  const chosen = select.dataset.met ? select.value : (first ?? "");
  select.dataset.met = "true";
  select.replaceChildren(h("option", { value: "" }, "all"), ...wanted.map((value) => h("option", { value }, value)));
  select.value = chosen;
}
