/** Studies: what is supposed, the operations that follow, weights that lead to a plan. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { roundSteps } from "../../../controller/edgesplit_controller/dashboard/static/js/charts/curve.js";
import {
  fromQuery,
  isNothing,
  linkKey,
  logSteps,
  nearestStep,
  nothing,
  notForSetting,
  setWeightsOperation,
  whatIfOperation,
} from "../../../controller/edgesplit_controller/dashboard/static/js/model/supposition.js";
import { between } from "../../../controller/edgesplit_controller/dashboard/static/js/model/figures.js";
import { seconds } from "../../../controller/edgesplit_controller/dashboard/static/js/core/format.js";
import { weightsTo } from "../../../controller/edgesplit_controller/dashboard/static/js/model/weights.js";

test("what was not touched is left out, and no limit is not the same as an untouched one", () => {
  const supposed = { ...nothing(), maxNoise: null, minRate: 5 };
  assert.deepEqual(whatIfOperation("m", supposed), { op: "what-if", name: "m", links: [], without: [], max_noise: { value: null }, min_rate: { value: 5 } });
  assert.deepEqual(setWeightsOperation("m", supposed, true), { op: "set-weights", model: "m", dry_run: true, max_noise: { value: null }, min_rate: { value: 5 } });
});

test("links and nodes are supposed and never set, and are said to be so", () => {
  const supposed = { ...nothing(), bandwidths: { [linkKey("a>b", "c")]: 2e6 }, without: ["edge"] };
  assert.deepEqual(whatIfOperation("m", supposed).links, [{ from: "a>b", to: "c", bandwidth_bytes_per_s: 2e6 }]);
  assert.equal(setWeightsOperation("m", supposed, false), null);
  const [link, node] = notForSetting(supposed);
  assert.match(link, /a>b → c stays as it is measured: 2 MB\/s/);
  assert.match(node, /^edge stays/);
});

test("a limit of 0 is a goal, and nothing touched is nothing supposed", () => {
  assert.ok(isNothing(nothing()));
  assert.ok(!isNothing({ ...nothing(), maxNoise: 0 }));
});

test("goals in an address are taken over, and what makes no sense is not", () => {
  assert.deepEqual(fromQuery(new URLSearchParams("latency=0.3&energy=0.7&rate=5")), { ...nothing(), weights: { latency: 0.3, energy: 0.7 }, minRate: 5 });
  assert.deepEqual(fromQuery(new URLSearchParams("latency=x&energy=-1&rate=0")), nothing());
  assert.deepEqual(fromQuery(new URLSearchParams("latency=0&energy=0")), nothing());
});

test("a slider's scale grows by factors, and the present value has its nearest step", () => {
  const steps = [0, ...logSteps(0.001, 1, 4), null];
  assert.equal(steps[1], 0.001);
  assert.equal(steps.at(-2), 1);
  assert.equal(steps[nearestStep(steps, 0.0105)], 0.01);
  assert.equal(steps[nearestStep(steps, null)], null);
  assert.equal(steps[nearestStep(steps, 0)], 0);
});

/** Score as the planner has it: shares of the ranges, weighted. */
function bestUnder(points, energy) {
  const [first, last] = [points[0], points.at(-1)];
  const score = (point) => ((1 - energy) * (point.latency_s - first.latency_s)) / (last.latency_s - first.latency_s) + (energy * (point.energy_j - last.energy_j)) / (first.energy_j - last.energy_j);
  return points.reduce((best, point, index) => (score(point) < score(points[best]) - 1e-12 ? index : best), 0);
}

test("the weights that are offered make their plan the best, and plans behind the line have none", () => {
  const points = [[1, 10], [1.2, 6], [2, 5.4], [2.2, 3], [5, 2]].map(([latency_s, energy_j]) => ({ latency_s, energy_j }));
  const offered = points.map((_, index) => weightsTo(points, index));
  assert.equal(offered[2], null);
  offered.forEach((weights, index) => {
    if (weights === null) return;
    assert.equal(bestUnder(points, weights.energy), index);
    assert.ok(Math.abs(weights.latency + weights.energy - 1) < 1e-6);
  });
  assert.equal(offered[0].energy, 0);
  assert.equal(offered[4].energy, 1);
});

test("a single plan is had by any weights", () => {
  assert.deepEqual(weightsTo([{ latency_s: 1, energy_j: 2 }], 0), { latency: 1, energy: 0, least: 0, most: 1 });
});

test("an interval says its unit once where it is the same", () => {
  assert.equal(between(0.412, [0.398, 0.431], seconds), "412 ms (398 to 431)");
  assert.equal(between(0.99, [0.9, 1.1], seconds), "990 ms (900 ms to 1.1 s)");
  assert.equal(between(0.412, null, seconds), "412 ms");
});

test("axes have round steps within their range", () => {
  assert.deepEqual(roundSteps(0.13, 0.52, 4), [0.2, 0.3, 0.4, 0.5]);
  assert.deepEqual(roundSteps(2, 2, 4), [2]);
});
