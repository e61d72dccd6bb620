import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

globalThis.document = { baseURI: "http://127.0.0.1:7481/below/" };
const { AskError, address, ask, getJson } = await import("../../../controller/edgesplit_controller/dashboard/static/js/core/ask.js");
const fetched = globalThis.fetch;

afterEach(() => {
  globalThis.fetch = fetched;
});

/** A body that comes in these pieces. */
function answering(pieces, options = {}) {
  const asked = [];
  globalThis.fetch = async (url, request) => {
    asked.push({ url, request });
    const body = new ReadableStream({
      start(controller) {
        for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
        controller.close();
      },
    });
    return new Response(body, options);
  };
  return asked;
}

test("progress and the document come out of lines, however they are cut", async () => {
  const whole = '{"kind":"progress","text":"planning","fraction":0.5}\n{"kind":"progress","text":"more"}\n{"kind":"result","value":{"model":"größe"}}\n';
  for (let size = 1; size < whole.length; size += 7) {
    const asked = answering(whole.match(new RegExp(`[^]{1,${size}}`, "g")));
    const heard = [];
    const value = await ask({ op: "show-plan", name: "m" }, { progress: (text, fraction) => heard.push([text, fraction]) });
    assert.deepEqual(value, { model: "größe" });
    assert.deepEqual(heard, [["planning", 0.5], ["more", null]]);
    assert.equal(asked[0].url, "http://127.0.0.1:7481/below/api/operations");
    assert.equal(asked[0].request.headers["X-Edgesplit"], "dashboard");
    assert.deepEqual(JSON.parse(asked[0].request.body), { op: "show-plan", name: "m" });
  }
});

test("a failure is the controller's sentence", async () => {
  answering(['{"kind":"failure","text":"there is no model m","code":"unknown-model","exit_code":1}\n']);
  await assert.rejects(ask({ op: "show-plan", name: "m" }), (error) => error instanceof AskError && error.text === "there is no model m" && error.code === "unknown-model");
});

test("an answer that ends too early is a failure", async () => {
  answering(['{"kind":"progress","text":"planning","fraction":null}\n']);
  await assert.rejects(ask({ op: "show-plan", name: "m" }), { code: "controller-unreachable" });
});

test("a refusal's sentence is shown, a proxy's page is not", async () => {
  answering(['{"error":{"code":"not-trusted","message":"you are signed out"}}'], { status: 403 });
  await assert.rejects(getJson("api/history/nodes/a"), { text: "you are signed out", code: "not-trusted" });
  answering(["<html><b>502</b></html>"], { status: 502, statusText: "Bad Gateway" });
  await assert.rejects(getJson("api/history/nodes/a"), { text: "the controller answered 502 Bad Gateway" });
});

test("a controller that is away is a sentence, an abort is none", async () => {
  globalThis.fetch = async () => {
    throw new TypeError("failed to fetch");
  };
  await assert.rejects(ask({ op: "list-nodes" }), { code: "controller-unreachable" });
  globalThis.fetch = async () => {
    throw new DOMException("stopped", "AbortError");
  };
  await assert.rejects(ask({ op: "list-nodes" }), { name: "AbortError" });
});

test("addresses are below the page's own", () => {
  assert.equal(address("/api/session"), "http://127.0.0.1:7481/below/api/session");
});
