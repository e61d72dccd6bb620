import assert from "node:assert/strict";
import { test } from "node:test";

import * as format from "../../../controller/edgesplit_controller/dashboard/static/js/core/format.js";

test("an unknown figure is a dash", () => {
  for (const of of [format.bytes, format.seconds, format.watts, format.joules, format.percent, format.number, format.ago, format.span, format.perSecond]) {
    assert.equal(of(null), "–");
    assert.equal(of(undefined), "–");
    assert.equal(of(Number.NaN), "–");
  }
});

test("no request is idle, and some are counted a second", () => {
  assert.equal(format.perSecond(0), "idle");
  assert.equal(format.perSecond(2.4999), "2.5/s");
});

test("ages use the largest unit that leaves at least one", () => {
  assert.equal(format.ago(0.4), "now");
  assert.equal(format.ago(59.9), "59 s ago");
  assert.equal(format.ago(60), "1 min ago");
  assert.equal(format.ago(7300), "2 h ago");
  assert.equal(format.ago(200_000), "2 d ago");
});

test("a time of another day has its date", () => {
  const noon = new Date(2026, 4, 3, 12, 0, 5).getTime();
  assert.equal(format.clock(noon / 1000, noon), "12:00:05");
  assert.equal(format.clock(noon / 1000, noon + 86_400_000), "2026-05-03 12:00:05");
  assert.equal(format.clock(1e300), "–");
});

test("nouns follow their number", () => {
  assert.equal(format.count(1, "node"), "1 node");
  assert.equal(format.count(0, "node"), "0 nodes");
});
