import assert from "node:assert/strict";
import { test } from "node:test";

const STATIC = new URL("../../../controller/edgesplit_controller/dashboard/static/js/", import.meta.url);
globalThis.document = { baseURI: "http://127.0.0.1/", hidden: false, addEventListener: () => undefined };
const { History } = await import(new URL("core/history.js", STATIC));
const { routeOf, to } = await import(new URL("core/router.js", STATIC));
const { store } = await import(new URL("core/store.js", STATIC));
const { stateOf } = await import(new URL("parts/fleet/nodestate.js", STATIC));
const { bySite } = await import(new URL("parts/fleet/sites.js", STATIC));
const { sorted } = await import(new URL("parts/table.js", STATIC));
const { selected } = await import(new URL("parts/events.js", STATIC));
const { stateOfCertificate } = await import(new URL("parts/operate/certificates.js", STATIC));
const { bandsOf, lastOf } = await import(new URL("parts/chart.js", STATIC));
const { failedPerSecond } = await import(new URL("pages/live.js", STATIC));

test("an address leads to its page, whatever a name holds", () => {
  for (const name of ["yolo", "<img src=x onerror=alert(1)>", "a/b?c#d", "Geschwindigkeitsbegrenzungseinrichtung", "100 %"]) {
    for (const [address, module] of [[to.node(name), "node"], [to.model(name), "model"], [to.whatIf(name), "whatif"], [to.frontier(name), "frontier"], [to.trace(name), "trace"], [to.live(name), "live"]]) {
      const route = routeOf(address);
      assert.equal(route.module, module);
      assert.equal(route.params.name, name);
    }
  }
  assert.equal(routeOf("").module, "fleet");
  assert.equal(routeOf(to.events({ model: "a&b" })).params.query.get("model"), "a&b");
  assert.equal(routeOf("#/nowhere"), null);
  assert.equal(routeOf("#/node/%E0%A4%A"), null);
});

test("handlers hear of changes, and of many events once", async () => {
  const heard = [];
  const off = store.on("event", (events) => heard.push(events.length));
  store.take("event", { kind: "a" }, "1");
  store.take("event", { kind: "b" }, "2");
  store.take("event", { kind: "b" }, "2");
  await Promise.resolve();
  assert.deepEqual(heard, [2]);
  off();
  store.take("event", { kind: "c" }, "3");
  await Promise.resolve();
  assert.deepEqual(heard, [2]);
});

test("a hidden tab hears nothing until it is seen, then the last alone", async () => {
  const heard = [];
  store.on("fleet", (fleet) => heard.push(fleet.number));
  document.hidden = true;
  store.take("fleet", { number: 1 });
  store.take("fleet", { number: 2 });
  await Promise.resolve();
  assert.deepEqual(heard, []);
  document.hidden = false;
  store.take("status", { ok: true });
  await Promise.resolve();
  assert.deepEqual(heard, [2]);
});

test("another controller's events begin anew", async () => {
  store.take("serving", { controller_instance: "a" });
  store.take("event", { kind: "old" }, "77");
  store.take("serving", { controller_instance: "b" });
  store.take("event", { kind: "new" }, "1");
  await Promise.resolve();
  assert.deepEqual(store.get("event").map((event) => event.kind), ["new"]);
});

test("what a handler throws keeps no other from hearing", async () => {
  const heard = [];
  const spoken = console.error;
  console.error = () => undefined;
  store.on("models", () => { throw new Error("cannot draw"); });
  store.on("models", (models) => heard.push(models));
  store.take("models", []);
  await Promise.resolve();
  console.error = spoken;
  assert.deepEqual(heard, [[]]);
});

test("a history has gaps where nothing was measured", () => {
  const history = new History({ at_unix_s: [10, 20], series: { load: [1, null] } });
  history.add(30, { load: 3, power: 5 });
  history.add(30, { load: 9 });
  history.add(40, {});
  assert.deepEqual(history.x, [10, 20, 30, 40]);
  assert.deepEqual(history.column("load"), [1, null, 3, null]);
  assert.deepEqual(history.column("power"), [null, null, 5, null]);
  assert.deepEqual(history.column("unheard"), [null, null, null, null]);
  assert.equal(lastOf(history.column("load")), 3);
});

test("epochs are bands until the next", () => {
  const history = new History({ at_unix_s: [0], series: {}, epochs: [{ epoch: 4, from_unix_s: 0 }] });
  history.serve(4, 5);
  history.serve(null, 6);
  history.serve(9, 7);
  assert.deepEqual(bandsOf(history.epochs, 20), [{ label: "4", from: 0, to: 7 }, { label: "9", from: 7, to: 20 }]);
  assert.deepEqual(bandsOf([{ epoch: null, from_unix_s: 1 }], 2), [{ label: "none", from: 1, to: 2 }]);
});

test("failures are counted within an epoch alone", () => {
  assert.equal(failedPerSecond({ epoch: 1, failed: 2, atS: 10 }, { epoch: 1, failed: 6 }, 12), 2);
  assert.equal(failedPerSecond({ epoch: 1, failed: 2, atS: 10 }, { epoch: 2, failed: 6 }, 12), null);
  assert.equal(failedPerSecond(null, { epoch: 2, failed: 6 }, 12), null);
});

test("a node's state names the gravest", () => {
  const node = { online: true, warnings: [], failing: [], drained_unix_s: null };
  assert.equal(stateOf(node).tone, "good");
  assert.equal(stateOf({ ...node, online: false, last_seen_s: 130 }).text, "offline, seen 2 min ago");
  assert.equal(stateOf({ ...node, drained_unix_s: 5 }).text, "drained");
  assert.equal(stateOf({ ...node, refused: "another protocol" }).tone, "bad");
  assert.deepEqual(stateOf({ ...node, insecure: true, warnings: ["slow"] }).why.length, 2);
});

test("nodes are grouped by site, those without one last", () => {
  const groups = bySite([{ labels: {} }, { labels: { site: "s10" } }, { labels: { site: "s2" } }, {}]);
  assert.deepEqual(groups.map(({ site, nodes }) => [site, nodes.length]), [["s2", 1], ["s10", 1], ["", 2]]);
});

test("rows without a value come last, whichever way they are sorted", () => {
  const column = { cell: (row) => row.figure };
  const rows = [{ figure: 2 }, { figure: null }, { figure: 10 }];
  assert.deepEqual(sorted(rows, column, false).map((row) => row.figure), [2, 10, null]);
  assert.deepEqual(sorted(rows, column, true).map((row) => row.figure), [10, 2, null]);
});

test("events are selected by level, kind, model with its sources, and either end of a link", () => {
  const events = [
    { level: "info", kind: "link-changed", model: "", node: "a", origin: "a", data: { to: "b" }, text: "Slower" },
    { level: "warning", kind: "fallback-engaged", model: "yolo~cam", node: "", origin: "cam", data: {}, text: "lost" },
  ];
  assert.deepEqual(selected(events, {}).map((event) => event.kind), ["fallback-engaged", "link-changed"]);
  assert.equal(selected(events, { level: "warning" }).length, 1);
  assert.equal(selected(events, { model: "yolo" }).length, 1);
  assert.equal(selected(events, { node: "b" }).length, 1);
  assert.equal(selected(events, { text: "slow" }).length, 1);
  assert.equal(selected(events, { kind: "nothing" }).length, 0);
});

test("a certificate that should have renewed itself is worth a look", () => {
  const day = 86_400;
  const row = { issued_unix_s: 0, expires_unix_s: 30 * day, revoked_unix_s: null };
  assert.equal(stateOfCertificate(row, 19 * day).tone, "good");
  assert.equal(stateOfCertificate(row, 20.5 * day).tone, "good");
  assert.equal(stateOfCertificate(row, 22 * day).tone, "warn");
  assert.equal(stateOfCertificate(row, 31 * day).text, "ended");
  assert.equal(stateOfCertificate({ ...row, revoked_unix_s: 5 }, 10).text, "revoked");
});
