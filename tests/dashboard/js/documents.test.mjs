/** Documents that a controller really answered about the shipped model (fixtures/), as pages read them. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { planBars, traceBars } from "../../../controller/edgesplit_controller/dashboard/static/js/charts/bars.js";
import { lanesOf } from "../../../controller/edgesplit_controller/dashboard/static/js/gantt.js";
import { joined } from "../../../controller/edgesplit_controller/dashboard/static/js/graph/network.js";
import { viewOf } from "../../../controller/edgesplit_controller/dashboard/static/js/graph/view.js";
import { weightsTo } from "../../../controller/edgesplit_controller/dashboard/static/js/model/weights.js";

const read = (name) => JSON.parse(readFileSync(new URL(`../fixtures/${name}.json`, import.meta.url), "utf8"));

test("every unit of the network has its place in the plan", () => {
  const network = joined(read("graph"), read("plan"));
  assert.ok(network.units.every((unit) => unit.node !== null));
  const counted = new Map();
  for (const unit of network.units) counted.set(unit.node, (counted.get(unit.node) ?? 0) + unit.operators.length);
  for (const [node, share] of Object.entries(read("plan").per_node)) assert.equal(counted.get(node) ?? 0, share.operators, node);
  assert.equal(network.units.filter((unit) => unit.int8).length, read("plan").quantized.length);
});

test("what a what-if says of its plan is a network and a chart, as a plan's are", () => {
  const found = read("what-if");
  const network = joined(read("graph"), found.placed, read("plan"));
  const used = Object.entries(found.then.per_node).filter(([, share]) => share.operators > 0).map(([node]) => node);
  assert.deepEqual(new Set(network.units.map((unit) => unit.node)), new Set(used));
  assert.ok(network.units.some((unit) => unit.was !== null));
  const bars = planBars(found.placed);
  assert.equal(bars.length, found.placed.timeline.length);
  assert.equal(Math.max(...bars.map((bar) => bar.endS)), found.then.latency_s);
});

test("every cut that is explained is a tie of the picture, and the other way round", () => {
  const network = joined(read("graph"), read("plan"));
  const nodeOf = new Map([...network.units, ...network.ends].map((place) => [place.id, place.node]));
  const cut = (tensor, from, to) => `${tensor} ${from} ${to}`;
  const shown = new Set(network.edges.filter((edge) => edge.cut).map((edge) => cut(edge.tensor, nodeOf.get(edge.from), nodeOf.get(edge.to))));
  const explained = new Set(read("explain").cuts.map((one) => cut(one.tensor, one.from, one.to)));
  assert.deepEqual([...shown].sort(), [...explained].sort());
});

test("the codecs of the plan are on the picture", () => {
  const view = viewOf(joined(read("graph"), read("plan")), []);
  assert.deepEqual([...new Set(view.ties.flatMap((tie) => tie.codecs))], [...new Set(Object.values(read("plan").codecs))]);
});

test("the plan's chart has a lane for each node and link of its timeline", () => {
  const places = new Set(read("plan").timeline.map((entry) => (entry.kind === "transfer" ? `${entry.from} → ${entry.to}` : entry.node)));
  assert.deepEqual(new Set(lanesOf(planBars(read("plan"))).map((lane) => lane.name)), places);
});

test("a trace has as many bars as steps and predictions, and none ends before it begins", () => {
  const trace = read("trace");
  const bars = traceBars(trace);
  assert.equal(bars.length, trace.steps.length + trace.predicted.length);
  assert.ok(bars.every((bar) => bar.endS >= bar.startS && bar.says.length > 0));
});

test("each plan at an end of the frontier is had by a weight", () => {
  const { points } = read("frontier");
  assert.equal(weightsTo(points, 0).energy, 0);
  assert.equal(weightsTo(points, points.length - 1).energy, 1);
});
