import assert from "node:assert/strict";
import { test } from "node:test";

import { laneBetween, placeNodes } from "../../../controller/edgesplit_controller/dashboard/static/js/parts/fleet/maplayout.js";

const named = (count) => Array.from({ length: count }, (_, index) => `node-${index}`);

for (const width of [340, 760, 1240]) {
  for (const count of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 31, 60]) {
    test(`${count} cards on ${width} px lie inside the map and on no other`, () => {
      const { card, height, places } = placeNodes(named(count), new Set(["node-1"]), width, 3);
      assert.equal(places.size, count);
      const all = [...places.values()];
      for (const { x, y } of all) {
        assert.ok(x - card.width / 2 >= 0 && x + card.width / 2 <= width, `x ${x}, card ${card.width}`);
        assert.ok(y - card.height / 2 >= 0 && y + card.height / 2 <= height, `y ${y} of ${height}, card ${card.height}`);
      }
      all.forEach((one, index) => {
        for (const other of all.slice(index + 1)) {
          assert.ok(Math.abs(one.x - other.x) >= card.width || Math.abs(one.y - other.y) >= card.height, `${JSON.stringify(one)} and ${JSON.stringify(other)} of ${JSON.stringify(card)}`);
        }
      });
    });
  }
}

test("a source stands on the left of a wide map and on top of a narrow one", () => {
  const wide = placeNodes(["cloud", "device", "edge"], new Set(["device"]), 900).places;
  assert.ok(wide.get("device").x < wide.get("cloud").x && wide.get("device").x < wide.get("edge").x);
  const narrow = placeNodes(["cloud", "device", "edge"], new Set(["device"]), 350).places;
  assert.ok(narrow.get("device").y < narrow.get("cloud").y && narrow.get("device").y < narrow.get("edge").y);
});

test("above sixty nodes sites are drawn", () => {
  assert.equal(placeNodes(named(61), new Set(), 900).form, "sites");
});

test("both directions of a link lie apart, each ending before the card it goes to", () => {
  const card = { width: 100, height: 60 };
  const there = laneBetween({ x: 100, y: 100 }, { x: 500, y: 100 }, card);
  const back = laneBetween({ x: 500, y: 100 }, { x: 100, y: 100 }, card);
  assert.ok(Math.abs(there.y1 - back.y1) >= 10);
  assert.ok(there.x1 >= 150 && there.x2 <= 450);
  assert.ok(Math.abs(there.length - (there.x2 - there.x1)) < 1e-9);
  assert.ok(Math.abs(there.label.x - back.label.x) > 80);
});
