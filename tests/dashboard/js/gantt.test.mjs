/** Gantt charts: bars of plans and traces, lanes, ticks. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { planBars, traceBars } from "../../../controller/edgesplit_controller/dashboard/static/js/charts/bars.js";
import { lanesOf, ticksOf } from "../../../controller/edgesplit_controller/dashboard/static/js/gantt.js";

const PLAN = {
  components: [{ id: 0, node: "device", operators: ["a"], measured_s: 0.02 }, { id: 1, node: "edge", operators: ["b", "c"], measured_s: null }],
  timeline: [
    { kind: "compute", start_s: 0, end_s: 0.01, node: "device", component: 0 },
    { kind: "transfer", start_s: 0.01, end_s: 0.03, from: "device", to: "edge", tensor: "t" },
    { kind: "compute", start_s: 0.03, end_s: 0.05, node: "edge", component: 1 },
  ],
};

test("a component that was measured has a measured bar from where it is predicted to begin, and others have none", () => {
  const bars = planBars(PLAN);
  assert.deepEqual(bars.map((bar) => [bar.lane, bar.measured, bar.startS, bar.endS]), [
    ["device", false, 0, 0.01],
    ["device", true, 0, 0.02],
    ["device → edge", false, 0.01, 0.03],
    ["edge", false, 0.03, 0.05],
  ]);
  assert.match(bars[0].says, /device computes component 0 \(1 operator\): predicted 10 ms.*measured lately 20 ms/);
});

test("lanes of nodes stand above those of links, each by its first bar", () => {
  assert.deepEqual(lanesOf(planBars(PLAN)).map((lane) => lane.name), ["device", "edge", "device → edge"]);
});

test("a trace's steps are measured bars beside predicted ones, and one that the plan has not says so", () => {
  const step = { kind: "compute", node: "device", from: null, to: null, epoch: 1, component: 0, tensors: [], nbytes: 0, waited_s: 0.001, start_s: 0.001, end_s: 0.004, predicted_start_s: null, predicted_end_s: null };
  const bars = traceBars({ steps: [step], predicted: PLAN.timeline });
  assert.deepEqual(bars.map((bar) => bar.measured), [true, false, false, false]);
  assert.match(bars[0].says, /measured 3 ms.*waiting 1 ms for other requests; the plan has no such step/);
});

test("ticks are round, begin at 0, and are few", () => {
  assert.deepEqual(ticksOf(0.05), [0, 0.01, 0.02, 0.03, 0.04, 0.05]);
  assert.deepEqual(ticksOf(0), [0]);
  for (const end of [1e-6, 0.0317, 0.9, 7, 123]) assert.ok(ticksOf(end).length <= 7 && ticksOf(end).length >= 3, `${end}`);
});
