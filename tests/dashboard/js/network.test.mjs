/** The network with its plan: joining, grouping, layout, folding, finding. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { fitted, showing, under, zoomed } from "../../../controller/edgesplit_controller/dashboard/static/js/graph/camera.js";
import { chainsOf } from "../../../controller/edgesplit_controller/dashboard/static/js/graph/pieces.js";
import { folded } from "../../../controller/edgesplit_controller/dashboard/static/js/graph/fold.js";
import { groupingKey, joined } from "../../../controller/edgesplit_controller/dashboard/static/js/graph/network.js";
import { placesOf, stepped } from "../../../controller/edgesplit_controller/dashboard/static/js/graph/places.js";
import { unitsLike } from "../../../controller/edgesplit_controller/dashboard/static/js/graph/table.js";
import { viewOf } from "../../../controller/edgesplit_controller/dashboard/static/js/graph/view.js";

const unit = (id, name, operators = [name]) => ({ id, name, operators, kinds: ["Conv"], flops: 10, weight_bytes: 4 });
const GRAPH = {
  model: "m",
  sha256: "ab",
  units: [unit(0, "a", ["a", "a2"]), unit(1, "b"), unit(2, "c"), unit(3, "d")],
  edges: [
    { from: 0, to: 1, tensor: "t", nbytes: 100 },
    { from: 0, to: 2, tensor: "t", nbytes: 100 },
    { from: 1, to: 3, tensor: "u", nbytes: 50 },
    { from: 2, to: 3, tensor: "v", nbytes: 7 },
  ],
  inputs: [{ tensor: "x", nbytes: 9, units: [0] }],
  outputs: [{ tensor: "y", nbytes: 3, units: [3] }],
};
const PLAN = {
  source: "device",
  components: [
    { id: 0, node: "device", operators: ["a", "a2"] },
    { id: 1, node: "edge", operators: ["b", "c"] },
    { id: 2, node: "device", operators: ["d"] },
  ],
  quantized: ["b"],
  codecs: { t: "int8" },
};

test("a unit has the node of its operators, int8 where the plan says so, and edges between nodes are cuts with their codec", () => {
  const network = joined(GRAPH, PLAN);
  assert.deepEqual(network.units.map((one) => [one.node, one.component, one.int8]), [["device", 0, false], ["edge", 1, true], ["edge", 1, false], ["device", 2, false]]);
  assert.deepEqual(network.edges.map((edge) => [edge.cut, edge.codec]), [[false, null], [true, "int8"], [true, "int8"], [true, null], [true, null], [false, null]]);
  assert.deepEqual(network.nodes, ["device", "edge"]);
});

test("held against another plan, units say where they come from, and components how many do", () => {
  const before = { ...PLAN, components: [{ id: 0, node: "device", operators: ["a", "a2", "b"] }, { id: 1, node: "cloud", operators: ["c", "d"] }] };
  const network = joined(GRAPH, PLAN, before);
  assert.deepEqual(network.units.map((one) => one.was), [null, "device", "cloud", "cloud"]);
  const items = viewOf(network, []).items.filter((item) => item.kind === "component");
  assert.deepEqual(items.map((item) => [item.moved, item.was]), [[0, []], [2, ["device", "cloud"]], [1, ["cloud"]]]);
  assert.ok(joined(GRAPH, PLAN, PLAN).units.every((one) => one.was === null));
  assert.ok(joined(GRAPH, PLAN).units.every((one) => one.was === null));
});

test("without a plan nothing is cut and nothing has a node", () => {
  const network = joined(GRAPH, null);
  assert.ok(network.edges.every((edge) => !edge.cut) && network.units.every((one) => one.node === null && one.component === null));
});

test("an input that is needed elsewhere than at the source crosses a link", () => {
  const away = { ...PLAN, components: [{ id: 0, node: "edge", operators: ["a", "a2", "b", "c", "d"] }] };
  const cuts = joined(GRAPH, away).edges.filter((edge) => edge.cut);
  assert.deepEqual(cuts.map((edge) => edge.tensor), ["x", "y"]);
});

test("a codec is told of tensors that cross a link only", () => {
  const together = { ...PLAN, components: [{ id: 0, node: "device", operators: ["a", "a2", "b", "c", "d"] }] };
  assert.ok(joined(GRAPH, together).edges.every((edge) => edge.codec === null));
});

test("closed components are one item each, and a tensor that two of their units read is counted once", () => {
  const view = viewOf(joined(GRAPH, PLAN), []);
  assert.deepEqual(view.items.map((item) => [item.key, item.units.length, item.int8]), [["e-1", 0, 0], ["c0", 1, 0], ["c1", 2, 1], ["c2", 1, 0], ["e-2", 0, 0]]);
  assert.deepEqual(view.ties.map((tie) => [tie.from, tie.to, tie.nbytes, tie.codecs]), [[0, 1, 9, []], [1, 2, 100, ["int8"]], [2, 3, 57, []], [3, 4, 3, []]]);
});

test("an opened component is its units, the others stay closed", () => {
  const view = viewOf(joined(GRAPH, PLAN), [1]);
  assert.deepEqual(view.items.map((item) => item.key), ["e-1", "c0", "u1", "u2", "c2", "e-2"]);
  assert.deepEqual(view.opened, [1]);
  assert.deepEqual(viewOf(joined(GRAPH, PLAN), "all").items.map((item) => item.key), ["e-1", "u0", "u1", "u2", "u3", "e-2"]);
});

test("another grouping has another key, and the same one the same", () => {
  const moved = { ...PLAN, components: [PLAN.components[0], { id: 1, node: "edge", operators: ["b", "c", "d"] }] };
  assert.equal(groupingKey(joined(GRAPH, PLAN)), groupingKey(joined(GRAPH, { ...PLAN, codecs: {} })));
  assert.notEqual(groupingKey(joined(GRAPH, PLAN)), groupingKey(joined(GRAPH, moved)));
});

test("every item is in one chain, chains end at branches and where neighbours may not be joined", () => {
  const ties = [[0, 1], [1, 2], [2, 3], [2, 4], [3, 5], [4, 5], [5, 6]].map(([from, to]) => ({ from, to }));
  assert.deepEqual(chainsOf(7, ties, () => true), [[0, 1, 2], [3], [4], [5, 6]]);
  assert.deepEqual(chainsOf(7, ties, (from) => from !== 0), [[0], [1, 2], [3], [4], [5, 6]]);
});

test("a long strip is folded into rows of about the screen's shape, in reading order and without overlaps", () => {
  const rects = Array.from({ length: 100 }, (_, index) => ({ x: index * 130, y: (index % 3) * 40, width: 104, height: 30 }));
  const lines = rects.slice(1).map((_, index) => ({ from: index, to: index + 1, points: [{ x: 0, y: 0 }, { x: 1, y: 1 }] }));
  const result = folded(rects, lines, 1.5);
  assert.ok(result.rows > 3);
  const ratio = result.width / result.height;
  assert.ok(ratio > 0.75 && ratio < 3, `${ratio}`);
  for (let a = 0; a < 100; a += 1) {
    for (let b = a + 1; b < 100; b += 1) {
      const [one, other] = [result.rects[a], result.rects[b]];
      const apart = one.x + one.width <= other.x || other.x + other.width <= one.x || one.y + one.height <= other.y || other.y + other.height <= one.y;
      assert.ok(apart, `${a} and ${b} overlap`);
    }
  }
  result.lines.forEach((line) => {
    if (result.rects[line.to].y > result.rects[line.from].y + 100) {
      assert.equal(line.points.length, 6);
      assert.deepEqual(line.points[5], { x: result.rects[line.to].x, y: result.rects[line.to].y + 15 });
    }
  });
});

test("what fits in one row stays as it is", () => {
  const rects = [{ x: 0, y: 0, width: 100, height: 60 }, { x: 130, y: 0, width: 100, height: 60 }];
  assert.equal(folded(rects, [], 1.6).rects, rects);
});

test("a zoomed camera keeps the point under the pointer where it is", () => {
  const camera = { scale: 0.5, dx: 10, dy: -20 };
  const at = { x: 200, y: 100 };
  const nearer = zoomed(camera, 1.7, at);
  assert.ok(Math.abs(under(camera, at).x - under(nearer, at).x) < 1e-9 && Math.abs(under(camera, at).y - under(nearer, at).y) < 1e-9);
});

test("a fitted camera shows all, and showing a box brings it into view, large enough to be read", () => {
  const screen = { width: 400, height: 300 };
  const camera = fitted({ width: 4000, height: 1000 }, screen);
  const [from, until] = [under(camera, { x: 0, y: 0 }), under(camera, { x: 400, y: 300 })];
  assert.ok(from.x <= 0 && from.y <= 0 && until.x >= 4000 && until.y >= 1000);
  const box = { x: 3900, y: 900, width: 100, height: 30 };
  const near = showing(camera, box, screen);
  assert.ok(near.scale >= 0.6);
  assert.ok(box.x * near.scale + near.dx >= 0 && (box.x + box.width) * near.scale + near.dx <= 400);
});

test("the box under a point is found, and the nearest line where there is none", () => {
  const rects = [{ x: 0, y: 0, width: 100, height: 30 }, { x: 1000, y: 400, width: 100, height: 30 }];
  const places = placesOf(rects, [[{ x: 100, y: 15 }, { x: 1000, y: 415 }]]);
  assert.equal(places.boxAt({ x: 1050, y: 410 }), 1);
  assert.equal(places.boxAt({ x: 500, y: 10 }), -1);
  assert.equal(places.lineAt({ x: 550, y: 218 }, 7), 0);
  assert.equal(places.lineAt({ x: 550, y: 260 }, 7), -1);
});

test("arrows follow tensors and reach the rows above and below", () => {
  const rects = [[0, 0], [130, 0], [130, 60], [260, 30]].map(([x, y]) => ({ x, y, width: 100, height: 30 }));
  const ties = [[0, 1], [0, 2], [1, 3], [2, 3]].map(([from, to]) => ({ from, to }));
  const picture = { rects, ties };
  assert.equal(stepped(picture, 0, "right"), 1);
  assert.equal(stepped(picture, 1, "down"), 2);
  assert.equal(stepped(picture, 3, "left"), 1);
  assert.equal(stepped(picture, 3, "right"), 3);
});

test("units are found by name, type and node", () => {
  const network = joined(GRAPH, PLAN);
  assert.deepEqual(unitsLike(network, "EDGE").map((one) => one.name), ["b", "c"]);
  assert.deepEqual(unitsLike(network, "a2").map((one) => one.name), ["a"]);
  assert.equal(unitsLike(network, " ").length, 4);
});
