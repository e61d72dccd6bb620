/**
 * Pages by the part of the address behind `#`.
 *
 * A page's module exports `title(params)`, which becomes the heading (h1) above it, and `mount(element, params, {signal})`, which
 * fills the element, may return what cleans up, and stops when the signal aborts. Its one rule: one page is mounted at a time,
 * and the one before has been cleaned up.
 */

import { h } from "./html.js";

const ROUTES = [
  { path: /^\/$/, module: "fleet", section: "fleet" },
  { path: /^\/node\/([^/]+)$/, module: "node", section: "fleet" },
  { path: /^\/model\/([^/]+)$/, module: "model", section: "models", tab: "plan" },
  { path: /^\/model\/([^/]+)\/what-if$/, module: "whatif", section: "models", tab: "what-if" },
  { path: /^\/model\/([^/]+)\/frontier$/, module: "frontier", section: "models", tab: "frontier" },
  { path: /^\/model\/([^/]+)\/trace$/, module: "trace", section: "models", tab: "trace" },
  { path: /^\/live\/([^/]+)$/, module: "live", section: "models", tab: "live" },
  { path: /^\/events$/, module: "events", section: "events" },
  { path: /^\/operate$/, module: "operate", section: "operate" },
];

/** Addresses of pages. */
export const to = {
  fleet: () => "#/",
  node: (name) => `#/node/${encodeURIComponent(name)}`,
  model: (name) => `#/model/${encodeURIComponent(name)}`,
  whatIf: (name) => `${to.model(name)}/what-if`,
  frontier: (name) => `${to.model(name)}/frontier`,
  trace: (name, request = "") => `${to.model(name)}/trace${request ? `?request=${encodeURIComponent(request)}` : ""}`,
  live: (name) => `#/live/${encodeURIComponent(name)}`,
  events: (query = {}) => `#/events${queryText(query)}`,
  operate: (query = {}) => `#/operate${queryText(query)}`,
};

/**
 * What an address asks for.
 * @param {string} hash such as `#/node/edge?tab=links`
 * @returns {{module: string, section: string, tab?: string, params: {name: string, query: URLSearchParams}}|null}
 */
export function routeOf(hash) {
  const [path, query = ""] = (hash.replace(/^#/, "") || "/").split("?", 2);
  for (const route of ROUTES) {
    const match = route.path.exec(path);
    if (!match) continue;
    try {
      const params = { name: decodeURIComponent(match[1] ?? ""), query: new URLSearchParams(query) };
      return { module: route.module, section: route.section, tab: route.tab, params };
    } catch {
      return null;
    }
  }
  return null;
}

/**
 * Follow the address.
 * @param {HTMLElement} main where pages are mounted
 * @param {{changed: (route: object|null) => void, frame: (route: object) => Node|null}} shell hears of each page, and gives what
 *   stands between heading and page
 */
export function startRouter(main, shell) {
  let leave = () => undefined;
  let first = true;

  async function go() {
    leave();
    const ending = new AbortController();
    leave = () => ending.abort();
    const route = routeOf(location.hash);
    shell.changed(route);
    if (!route) {
      show(main, "No such page", h("p", null, "There is nothing at this address. ", h("a", { href: to.fleet() }, "Go to the fleet")));
      return;
    }
    try {
      const page = await import(`../pages/${route.module}.js`);
      if (ending.signal.aborted) return;
      const element = h("div", { class: `page page-${route.module}` });
      show(main, page.title(route.params), shell.frame(route), element);
      // Whoever reads by ear is told of the new page; at the first one the browser does it.
      if (!first) main.querySelector("h1").focus({ preventScroll: true });
      first = false;
      const cleanup = await page.mount(element, route.params, { signal: ending.signal });
      if (typeof cleanup !== "function") return;
      if (ending.signal.aborted) cleanup();
      else ending.signal.addEventListener("abort", cleanup);
    } catch (error) {
      if (ending.signal.aborted) return;
      console.error(error);
      const again = h("button", { type: "button", onclick: go }, "Try again");
      show(main, "This page could not be shown", h("p", { class: "problem error" }, error.text ?? error.message), again);
    }
  }

  window.addEventListener("hashchange", go);
  go();
  return { again: go, leave: () => leave() };
}

function show(main, title, ...content) {
  document.title = `${title} – edgesplit`;
  main.replaceChildren(h("h1", { tabindex: "-1" }, title), ...content.filter(Boolean));
  window.scrollTo(0, 0);
}

function queryText(query) {
  const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  return text ? `?${text}` : "";
}
