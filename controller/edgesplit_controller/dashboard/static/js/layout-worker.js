/**
 * Worker that lays networks out, so that the page stays at hand meanwhile.
 *
 * Its rule: one message in, `{id, request}`, one out, `{id, layout}` or `{id, failure}`. Not here: the layout (graph/arrange.js).
 */

import { arranged } from "./graph/arrange.js";

/** @type {Promise<any>|null} */
let library = null;

self.onmessage = async (message) => {
  const { id, request } = message.data;
  try {
    library ??= import("../vendor/dagre.esm.js");
    self.postMessage({ id, layout: arranged(await library, request) });
  } catch (error) {
    self.postMessage({ id, failure: error instanceof Error ? error.message : String(error) });
  }
};
