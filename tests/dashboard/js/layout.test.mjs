/** Layout of networks of any depth; with dagre as the page has it, where that was fetched (make dashboard). */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";

import { arranged } from "../../../controller/edgesplit_controller/dashboard/static/js/graph/arrange.js";
import { joined } from "../../../controller/edgesplit_controller/dashboard/static/js/graph/network.js";
import { slicesOf } from "../../../controller/edgesplit_controller/dashboard/static/js/graph/pieces.js";
import { viewOf } from "../../../controller/edgesplit_controller/dashboard/static/js/graph/view.js";

const LIBRARY = new URL("../../../controller/edgesplit_controller/dashboard/static/vendor/dagre.esm.js", import.meta.url);
const skip = existsSync(LIBRARY) ? false : "dagre was not fetched";

/** A network of blocks, branches and shortcuts; the same for the same size. */
function deepNetwork(count) {
  let state = 7;
  const random = () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state / 2 ** 32;
  };
  const units = Array.from({ length: count }, (_, id) => ({ id, name: `u${id}`, operators: [`u${id}`], kinds: ["Conv"], flops: 1, weight_bytes: 1 }));
  const pairs = new Set();
  for (let id = 0; id + 1 < count; id += 1) {
    pairs.add(`${id} ${id + 1}`);
    if (random() < 0.2) pairs.add(`${id} ${Math.min(count - 1, id + 2 + Math.floor(random() * 3))}`);
    if (random() < 0.02) pairs.add(`${id} ${Math.min(count - 1, id + 5 + Math.floor(random() * 40))}`);
  }
  const edges = [...pairs].map((pair) => pair.split(" ").map(Number)).map(([from, to]) => ({ from, to, tensor: `t${from}`, nbytes: 8 }));
  const inputs = [{ tensor: "x", nbytes: 1, units: [0] }];
  const outputs = [{ tensor: "y", nbytes: 1, units: [count - 1] }];
  const third = Math.floor(count / 3);
  const names = units.map((unit) => unit.name);
  const components = [names.slice(0, third), names.slice(third, 2 * third), names.slice(2 * third)].map((operators, id) => ({ id, node: ["device", "edge", "cloud"][id], operators }));
  return joined({ sha256: "ab", units, edges, inputs, outputs }, { source: "device", components, quantized: [], codecs: {} });
}

function requestOf(network, opened, aspect) {
  const view = viewOf(network, opened);
  return { kinds: view.items.map((item) => item.kind), groups: view.items.map((item) => item.component ?? -1), ties: view.ties, aspect };
}

for (const [count, aspect] of [[40, 1.8], [650, 1.8], [650, 0.6], [1852, 2.4]]) {
  test(`${count} units are laid out without overlaps, in about the shape of a screen of ${aspect}`, { skip }, async () => {
    const dagre = await import(LIBRARY);
    const request = requestOf(deepNetwork(count), "all", aspect);
    const layout = arranged(dagre, request);
    assert.equal(layout.rects.length, count + 2);
    const byLeft = layout.rects.map((rect, index) => ({ ...rect, index })).sort((a, b) => a.x - b.x);
    byLeft.forEach((one, place) => {
      for (let next = place + 1; next < byLeft.length && byLeft[next].x < one.x + one.width - 1e-6; next += 1) {
        const other = byLeft[next];
        assert.ok(one.y + one.height <= other.y + 1e-6 || other.y + other.height <= one.y + 1e-6, `${one.index} and ${other.index} overlap`);
      }
    });
    if (count >= 650) {
      const shape = layout.width / layout.height / aspect;
      assert.ok(shape > 0.5 && shape < 2, `${layout.width} by ${layout.height}`);
    }
    layout.lines.forEach((points, index) => {
      const { from, to } = request.ties[index];
      const [start, end] = [points[0], points.at(-1)];
      assert.ok(Math.abs(start.x - layout.rects[from].x - layout.rects[from].width) < 1e-6 && Math.abs(end.x - layout.rects[to].x) < 1e-6);
    });
  });
}

test("whatever is opened, a view has no edge backwards within a row", { skip }, async () => {
  const dagre = await import(LIBRARY);
  const network = deepNetwork(120);
  for (const opened of [[], [0], [1, 2]]) {
    const request = requestOf(network, opened, 3.2);
    const { rects } = arranged(dagre, request);
    for (const { from, to } of request.ties) {
      const below = rects[to].y > rects[from].y + rects[from].height;
      assert.ok(rects[to].x >= rects[from].x + rects[from].width - 1e-6 || below, `${from} to ${to} with ${opened} open`);
    }
  }
});

test("slices hold every box once, lead forward only, and are cut where few ties cross", () => {
  // Diamonds in a row: between two of them one tie crosses, inside two do.
  const ties = [];
  for (let start = 0; start < 300; start += 4) {
    ties.push([start, start + 1], [start, start + 2], [start + 1, start + 3], [start + 2, start + 3], [start + 3, start + 4]);
  }
  const pairs = ties.map(([from, to]) => ({ from, to }));
  const slices = slicesOf(301, pairs, 50);
  assert.deepEqual(slices.flat().sort((a, b) => a - b), Array.from({ length: 301 }, (_, index) => index));
  assert.ok(slices.length > 4 && slices.every((slice) => slice.length <= 75));
  const sliceOf = new Map(slices.flatMap((slice, number) => slice.map((box) => [box, number])));
  assert.ok(pairs.every(({ from, to }) => sliceOf.get(from) <= sliceOf.get(to)));
  const crossing = pairs.filter(({ from, to }) => sliceOf.get(from) !== sliceOf.get(to));
  assert.equal(crossing.length, slices.length - 1);
});
