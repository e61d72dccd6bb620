"""Rows that come, go and move under somebody who is at one of them with the keyboard."""

from __future__ import annotations

from playwright.sync_api import Browser

from bench.dashboard.chromium import view
from bench.dashboard.fed_documents import fed_documents
from bench.dashboard.fed_server import fed_server

FOLLOWED = """async (orders) => {
  const { h, keyed } = await import(new URL("static/js/core/html.js", document.baseURI));
  const list = h("ul");
  document.querySelector("main").append(list);
  const show = (names) => keyed(list, [...names], (name) => name, (name) => h("li", null, h("a", { href: "#/" }, name)), () => undefined);
  show("abcd");
  const at = [...list.querySelectorAll("a")].find((one) => one.textContent === "c");
  at.focus();
  return orders.map((names) => {
    show(names);
    return [list.textContent, document.activeElement === at];
  });
}"""


def test_the_focus_stays_at_a_row_that_stays(browser: Browser) -> None:
    orders = ["bcd", "xbcd", "dcbx", "c", "abcd", "cab"]
    with fed_server(fed_documents()) as base, view(browser) as opened:
        opened.open(base, "fleet")
        assert opened.page.evaluate(FOLLOWED, orders) == [[names, True] for names in orders]
        assert opened.complaints == []
