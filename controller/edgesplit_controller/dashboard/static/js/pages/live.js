/** What a model does now: requests, latency, energy and errors over the last hour, with epochs as bands, and why each began. */

import { getJson } from "../core/ask.js";
import { count, joules, number, perSecond, seconds } from "../core/format.js";
import { History } from "../core/history.js";
import { h, keyed, setText } from "../core/html.js";
import { store } from "../core/store.js";
import { originChip } from "../parts/chips.js";
import { bandsOf, chart } from "../parts/chart.js";
import { eventTable, selected } from "../parts/events.js";
import { failure } from "../parts/task.js";

export const title = (params) => params.name;

export async function mount(element, params, { signal }) {
  const { name } = params;
  const facts = h("dl", { class: "facts" });
  const notice = h("div");
  const charts = h("div", { class: "charts" });
  const rows = eventTable("Nothing was told of this model yet.");
  element.append(
    notice,
    facts,
    h("section", { "aria-labelledby": "curves" }, h("h2", { id: "curves" }, "Last hour; numbered bands are epochs"), charts),
    h("section", { "aria-labelledby": "why" }, h("h2", { id: "why" }, "What happened, and why"), rows.element),
  );

  let history = new History();
  let drawn = [];
  let failedBefore = null;

  async function fetchHistory() {
    try {
      history = new History(await getJson(`api/history/models/${encodeURIComponent(name)}`, { signal }));
    } catch (error) {
      if (signal.aborted) return;
      // Without what was, curves begin now.
      notice.replaceChildren(failure(error));
    }
    drawn = build(history, signal);
    charts.replaceChildren(...drawn.map(({ element }) => element));
    draw();
  }

  function draw() {
    const until = history.x.at(-1) ?? Date.now() / 1000;
    const bands = bandsOf(history.epochs, until);
    for (const { update, keys } of drawn) update(history.x, keys.map((key) => history.column(key)), bands);
  }

  function take(activity) {
    const row = activity.models.find((model) => model.name === name);
    drawFacts(facts, row);
    if (!row) return;
    history.add(activity.at_unix_s, {
      requests_per_s: row.requests_per_s,
      latency_p50_s: row.latency_p50_s,
      latency_p95_s: row.latency_p95_s,
      latency_p99_s: row.latency_p99_s,
      predicted_latency_s: row.predicted_latency_s,
      energy_j: row.energy_j,
      predicted_energy_j: row.predicted_energy_j,
      failed_per_s: failedPerSecond(failedBefore, row, activity.at_unix_s),
    });
    failedBefore = { epoch: row.epoch, failed: row.failed, atS: activity.at_unix_s };
    history.serve(row.epoch, activity.at_unix_s);
    draw();
  }

  await fetchHistory();
  if (signal.aborted) return;
  store.watch("activity", take, signal);
  store.watch("event", (events) => rows.update(selected(events, { model: name })), signal);
}

/** Failed since the document before; null where another plan counts since then. [1/s] */
export function failedPerSecond(before, row, atS) {
  if (!before || before.epoch !== row.epoch || row.failed < before.failed || atS <= before.atS) return null;
  return (row.failed - before.failed) / (atS - before.atS);
}

function build(history, signal) {
  const specifications = [
    { title: "Requests", format: perSecond, curves: [{ key: "requests_per_s", label: "answered", colour: "--accent", origin: "measured" }] },
    {
      title: "Latency",
      format: seconds,
      curves: [
        { key: "latency_p50_s", label: "median", colour: "--accent", origin: "measured" },
        { key: "latency_p95_s", label: "p95", colour: "--warn", origin: "measured" },
        { key: "latency_p99_s", label: "p99", colour: "--bad", origin: "measured" },
        { key: "predicted_latency_s", label: "plan", colour: "--muted", origin: "predicted", dashed: true },
      ],
    },
    {
      title: "Energy of a request",
      format: joules,
      curves: [
        { key: "energy_j", label: "all nodes", colour: "--accent", origin: history.origin.energy_j ?? null },
        { key: "predicted_energy_j", label: "plan", colour: "--muted", origin: "predicted", dashed: true },
      ],
    },
    { title: "Failed requests", format: (value) => (value === null ? number(value) : `${number(value)}/s`), curves: [{ key: "failed_per_s", label: "failed", colour: "--bad", origin: "measured" }], most: 0.1 },
  ];
  return specifications.map((specification) => ({ ...chart({ ...specification, signal }), keys: specification.curves.map(({ key }) => key) }));
}

function drawFacts(facts, row) {
  const shown = row
    ? [
        ["requests", perSecond(row.requests_per_s)],
        ["median latency", seconds(row.latency_p50_s), "measured"],
        ["99 of 100 within", seconds(row.latency_p99_s), "measured"],
        ["latency of the plan", seconds(row.predicted_latency_s), "predicted"],
        ["energy of a request", joules(row.energy_j), row.energy_origin],
        ["failed since this epoch", row.failed === 0 ? "none" : count(row.failed, "request")],
        ["epoch", row.epoch === null ? "does not serve" : String(row.epoch)],
      ]
    : [["state", "not deployed"]];
  keyed(
    facts,
    shown,
    ([key]) => key,
    ([key]) => h("div", null, h("dt", null, key), h("dd", null, h("span"), " ", h("small"))),
    (element, [, text, origin]) => {
      const [value, chip] = element.lastElementChild.children;
      setText(value, text);
      if (chip.textContent !== (origin ?? "")) chip.replaceChildren(...[originChip(origin)].filter(Boolean));
    },
  );
}
