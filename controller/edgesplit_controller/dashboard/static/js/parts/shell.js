/**
 * What stands around every page: navigation, how the fleet fares, the theme, and whether the controller is there.
 *
 * Its one rule: a page that shows what was says so: while the controller is away a line tells how old all of it is.
 */

import { chooseTheme, chosenTheme } from "../core/colours.js";
import { ago, count } from "../core/format.js";
import { h, setAttribute, setText } from "../core/html.js";
import { to } from "../core/router.js";
import { session, signOut } from "../core/session.js";
import { store } from "../core/store.js";
import { address } from "../core/ask.js";

const TABS = [
  ["plan", "Plan", to.model],
  ["live", "Live", to.live],
  ["what-if", "What if", to.whatIf],
  ["frontier", "Frontier", to.frontier],
  ["trace", "Trace", to.trace],
];
const THEMES = { system: ["◐", "as the system"], light: ["☀", "light"], dark: ["☾", "dark"] };
const GRACE_MS = 1500;

export class Shell {
  #links = new Map();
  #menu;
  #state;
  #notice;
  #timer = 0;

  /**
   * @param {HTMLElement} bar the header
   * @param {HTMLElement} notice where it says that the controller is away
   * @param {() => void} signedOut called when the session was ended
   */
  constructor(bar, notice, signedOut) {
    this.#notice = notice;
    this.#state = h("a", { class: "state", href: to.fleet() }, "…");
    this.#menu = h("details", { class: "menu" }, h("summary", null, "Models"), h("div", { class: "menu-list" }));
    const entries = [
      ["fleet", h("a", { href: to.fleet() }, "Fleet")],
      ["models", this.#menu],
      ["events", h("a", { href: to.events() }, "Events")],
      ["operate", h("a", { href: to.operate() }, "Operate")],
    ];
    for (const [section, element] of entries) this.#links.set(section, element);
    bar.replaceChildren(
      h("a", { class: "brand", href: to.fleet() }, h("img", { src: address("static/icon.svg"), alt: "", width: "22", height: "22" }), h("span", null, "edgesplit")),
      h("nav", { "aria-label": "Pages" }, entries.map(([, element]) => element)),
      h("div", { class: "bar-end" }, this.#state, themeButton(), operator(signedOut)),
    );
    document.getElementById("skip").addEventListener("click", skip);
    document.addEventListener("click", (event) => {
      if (!this.#menu.contains(event.target)) this.#menu.open = false;
    });
    bar.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#menu.open) return;
      this.#menu.open = false;
      this.#menu.querySelector("summary").focus();
    });
    store.watch("status", (status) => this.#fares(status));
    store.watch("models", (models) => this.#models(models));
    store.on("connection", () => this.#connection());
    setTimeout(() => this.#connection(), GRACE_MS);
  }

  /** A page was opened. */
  changed(route) {
    this.#menu.open = false;
    for (const [section, element] of this.#links) {
      const target = element === this.#menu ? element.querySelector("summary") : element;
      setAttribute(target, "aria-current", route?.section === section ? "page" : null);
    }
  }

  /** What stands between a page's heading and the page: the tabs of a model. */
  frame(route) {
    if (!route.tab) return null;
    return h(
      "nav",
      { class: "tabs", "aria-label": `Pages of ${route.params.name}` },
      TABS.map(([tab, title, page]) => h("a", { href: page(route.params.name), "aria-current": tab === route.tab ? "page" : null }, title)),
    );
  }

  #fares(status) {
    const errors = status.problems.filter((problem) => problem.severity === "error").length;
    const warnings = status.problems.length - errors;
    const said = [errors && count(errors, "error"), warnings && count(warnings, "warning")].filter(Boolean);
    setText(this.#state, status.ok ? "all is well" : said.join(", "));
    this.#state.className = `state ${status.ok ? "good" : errors ? "bad" : "warn"}`;
  }

  #models(models) {
    const list = this.#menu.querySelector(".menu-list");
    if (models.length === 0) {
      list.replaceChildren(h("p", null, "No model was added. ", h("a", { href: to.operate() }, "Add one")));
      return;
    }
    const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    list.replaceChildren(
      ...models.map((model) => {
        const said = model.deployed ? (model.serving ? "serves" : "does not serve") : "not deployed";
        return h("a", { href: model.deployed ? to.model(model.name) : to.operate() }, h("span", { class: "long" }, model.name), h("small", null, said));
      }),
    );
    if (focused) list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  }

  #connection() {
    clearInterval(this.#timer);
    document.body.classList.toggle("lost", !store.connected);
    if (store.connected) {
      this.#notice.replaceChildren();
      return;
    }
    const age = h("span", { "aria-hidden": "true" });
    const known = store.heardMs > 0;
    this.#notice.replaceChildren(
      h("p", { class: "lost-line" }, "The controller is not there", known ? "; shown is what it said " : ": it has stopped, or the way to it is cut", known && age, ". Trying again …"),
    );
    const tell = () => {
      if (!document.hidden) setText(age, ago((Date.now() - store.heardMs) / 1000));
    };
    tell();
    if (known) this.#timer = setInterval(tell, 1000);
  }
}

function themeButton() {
  const order = Object.keys(THEMES);
  const button = h("button", { type: "button", class: "quiet icon" });
  const show = () => {
    const [sign, name] = THEMES[chosenTheme()];
    setText(button, sign);
    setAttribute(button, "aria-label", `Colours: ${name}. Change`);
    setAttribute(button, "title", `Colours: ${name}`);
  };
  button.addEventListener("click", () => {
    chooseTheme(order[(order.indexOf(chosenTheme()) + 1) % order.length]);
    show();
  });
  show();
  return button;
}

function operator(signedOut) {
  if (!session?.secured) return null;
  const leave = async () => {
    await signOut();
    signedOut();
  };
  return h("span", { class: "operator" }, h("span", { class: "long", title: "Signed in as this operator" }, session.operator ?? "operator"), h("button", { type: "button", class: "quiet", onclick: leave }, "Sign out"));
}

function skip(event) {
  // The address is the router's: a plain link to #main would ask for a page of that name.
  event.preventDefault();
  document.getElementById("main").focus();
}
