import assert from "node:assert/strict";
import { test } from "node:test";

import { fractionsOf } from "../../../controller/edgesplit_controller/dashboard/static/js/parts/fleet/streams.js";
import { dotsFor, flowsOf, usedLinks } from "../../../controller/edgesplit_controller/dashboard/static/js/core/flows.js";

const transfer = (from, to, tensor) => ({ kind: "transfer", from, to, tensor, start_s: 0, end_s: 1 });
const plans = new Map([
  ["yolo", { epoch: 7, timeline: [{ kind: "compute", node: "device" }, transfer("device", "edge", "a"), transfer("device", "edge", "b"), transfer("edge", "device", "c")] }],
  ["sound", { epoch: 2, timeline: [transfer("device", "edge", "z")] }],
]);

test("each transfer of a plan is one tensor a request", () => {
  const flows = flowsOf([{ name: "yolo", epoch: 7, requests_per_s: 3 }, { name: "sound", epoch: 2, requests_per_s: 0.5 }], plans);
  assert.equal(flows.get("device:edge").perSecond, 6.5);
  assert.deepEqual(flows.get("device:edge").tensors, ["a", "b", "z"]);
  assert.deepEqual([...flows.get("device:edge").models], ["yolo", "sound"]);
  assert.equal(flows.get("edge:device").perSecond, 3);
});

test("a plan that does not answer now sends nothing", () => {
  assert.equal(flowsOf([{ name: "yolo", epoch: 8, requests_per_s: 3 }], plans).size, 0);
  assert.equal(flowsOf([{ name: "yolo", epoch: 7, requests_per_s: 0 }], plans).size, 0);
  assert.equal(flowsOf([{ name: "unknown", epoch: 1, requests_per_s: 3 }], plans).size, 0);
});

test("links of plans are used whether or not anything is asked", () => {
  assert.deepEqual([...usedLinks(plans)], ["device:edge", "edge:device"]);
});

test("as many dots pass as tensors do, up to eight at once", () => {
  for (const rate of [0.2, 1, 2.5, 4.9]) {
    const { count, durationS } = dotsFor(rate);
    assert.ok(Math.abs(count / durationS - rate) < 1e-9, `${rate}: ${count} in ${durationS} s`);
  }
  assert.deepEqual(dotsFor(200), { count: 8, durationS: 1.6 });
  assert.deepEqual(dotsFor(0), { count: 0, durationS: 0 });
});

test("dots follow each other evenly, arrive at the rate of tensors, and begin again", () => {
  const dots = dotsFor(2);
  const at = fractionsOf(dots, 10);
  assert.equal(at.length, dots.count);
  assert.ok(at.every((fraction) => fraction >= 0 && fraction < 1));
  const apart = [...at].sort().map((fraction, index, all) => ((all[(index + 1) % all.length] - fraction + 1) % 1) || 1);
  assert.ok(apart.every((gap) => Math.abs(gap - 1 / dots.count) < 1e-9));
  const later = fractionsOf(dots, 10 + dots.durationS);
  later.forEach((fraction, index) => assert.ok(Math.abs(fraction - at[index]) < 1e-9));
});
