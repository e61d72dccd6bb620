/** Start of the page: who looks, the stream, the routes. */

import { address } from "./core/ask.js";
import { followSystemTheme, meetNodes } from "./core/colours.js";
import { h } from "./core/html.js";
import { startRouter } from "./core/router.js";
import { openSession, readSession } from "./core/session.js";
import { store } from "./core/store.js";
import { Shell } from "./parts/shell.js";

const main = document.getElementById("main");

followSystemTheme();
begin();

async function begin() {
  let session;
  try {
    session = await openSession();
  } catch (error) {
    explain("Not signed in", error.text ?? error.message, "Run splitctl dashboard again: a ticket opens the page once, within a minute.");
    return;
  }
  if (session === null) {
    signedOut();
    return;
  }
  const shell = new Shell(document.getElementById("bar"), document.getElementById("notice"), signedOut);
  // Before any page draws a node, so that all who look at the fleet see the same colours.
  store.on("fleet", (fleet) => meetNodes(fleet.nodes.map((node) => node.name)));
  const router = startRouter(main, shell);
  store.on("serving", restartedOr(router.again));
  store.refused = async () => {
    // Away or refused: the former is the shell's to say.
    const session = await readSession().catch(() => undefined);
    if (session === null) {
      router.leave();
      signedOut();
    }
  };
  store.start();
}

/** Another process answers: what pages asked the one before may be wrong now. */
function restartedOr(again) {
  let instance = null;
  return (serving) => {
    if (instance !== null && instance !== serving.controller_instance) again();
    instance = serving.controller_instance;
  };
}

function signedOut() {
  store.stop();
  explain("Nobody is signed in here", "This fleet is secured: only its operators see it.", "Run splitctl dashboard as one of them; it opens this page with a ticket.");
}

function explain(title, ...sentences) {
  document.getElementById("bar").replaceChildren(h("span", { class: "brand" }, h("img", { src: address("static/icon.svg"), alt: "", width: "22", height: "22" }), "edgesplit"));
  document.title = `${title} – edgesplit`;
  main.replaceChildren(h("h1", { tabindex: "-1" }, title), ...sentences.map((sentence) => h("p", null, sentence)));
}
