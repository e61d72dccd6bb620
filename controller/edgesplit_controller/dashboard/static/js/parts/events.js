/** Events as a table: when, what, of whom, and the figures behind it on demand. */

import { clock, number } from "../core/format.js";
import { h } from "../core/html.js";
import { to } from "../core/router.js";
import { nodeLink } from "./chips.js";
import { table } from "./table.js";

const LEVELS = ["info", "warning", "error"];

/** Events that a selection takes, the newest first. @param {{level?: string, kinds?: string, model?: string, node?: string, text?: string}} wanted */
export function selected(events, { level = "info", kind = "", model = "", node = "", text = "" }) {
  const words = text.trim().toLowerCase();
  return events
    .filter(
      (event) =>
        LEVELS.indexOf(event.level) >= LEVELS.indexOf(level) &&
        (!kind || event.kind === kind) &&
        (!model || event.model === model || event.model.split(/[~@]/)[0] === model) &&
        (!node || [event.node, event.origin, event.data?.from, event.data?.to].includes(node)) &&
        (!words || `${event.kind} ${event.text} ${event.model} ${event.node}`.toLowerCase().includes(words)),
    )
    .reverse();
}

/** @returns {{element: HTMLElement, update: (events: object[]) => void}} newest first */
export function eventTable(empty) {
  return table({
    caption: "Events",
    key: (event) => `${event.at_unix_s} ${event.origin} ${event.kind} ${event.text}`,
    empty,
    columns: [
      { title: "When", value: (event) => event.at_unix_s, cell: (event) => ({ key: "", draw: () => h("time", { datetime: isoTime(event.at_unix_s), class: "figure" }, clock(event.at_unix_s)) }) },
      { title: "What", value: (event) => event.kind, cell: (event) => ({ key: "", draw: () => h("span", { class: `kind ${event.level}` }, event.level === "info" ? "" : h("span", { class: "unseen" }, `${event.level}: `), event.kind) }) },
      { title: "Reason", value: (event) => event.text, cell: (event) => ({ key: "", draw: () => [h("span", { class: "long reason" }, event.text), figures(event.data)].filter(Boolean) }) },
      { title: "Model", value: (event) => event.model, cell: (event) => ({ key: "", draw: () => (event.model ? h("a", { class: "long", href: to.live(event.model) }, event.model) : "") }) },
      { title: "Node", value: (event) => event.node || event.origin, cell: (event) => ({ key: "", draw: () => (event.node ? nodeLink(event.node) : h("small", null, event.origin)) }) },
    ],
  });
}

function isoTime(atUnixS) {
  const at = new Date(atUnixS * 1000);
  return Number.isNaN(at.getTime()) ? "" : at.toISOString();
}

function figures(data) {
  const entries = Object.entries(data ?? {}).filter(([, value]) => value !== null && value !== "");
  if (entries.length === 0) return null;
  return h(
    "details",
    { class: "figures" },
    h("summary", null, h("small", null, "figures")),
    h("dl", { class: "small-facts" }, entries.map(([key, value]) => h("div", null, h("dt", null, key), h("dd", null, typeof value === "number" ? number(value) : String(value))))),
  );
}
