"""The dashboard in a real browser, of a real controller with three real agents: pages, changes seen, goals set, a restart outlived.

The tests share a fleet and go from what changes nothing to what changes most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from bench.dashboard.chromium import PAGES, View, view
from bench.dashboard.scene import Scene, scene
from demo.fleet import EmulatedLink
from tests.brokers import running_mosquitto
from tests.dashboard.in_browser.reading import barriers, missed_by_the_keyboard, too_wide, walk_the_network
from tests.waiting import blocking_until

WITHIN_MS = 90_000
"""Ends what hangs, and decides nothing else."""
SLOW_BYTES_PER_S = 1e5


@pytest.fixture(scope="module")
def fleet(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A model is split over it, and requests flow."""
    folder = tmp_path_factory.mktemp("fleet")
    with running_mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker, scene(folder, broker=broker) as running:
        yield running


@pytest.fixture
def shown(browser: Browser) -> Iterator[View]:
    """A page at which nothing went wrong in the end."""
    with view(browser) as opened:
        opened.page.set_default_timeout(WITHIN_MS)
        yield opened
        assert opened.complaints == []


def epoch_of(page: Page) -> int:
    """The plan that the model's page shows."""
    said = page.locator(".model-state strong").inner_text()
    return int(said.removeprefix("Epoch "))


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (380, "dark")])
def test_every_page_shows_what_it_is_for_fits_and_has_no_barrier(
    browser: Browser, fleet: Scene, width: int, scheme: Literal["light", "dark"]
) -> None:
    found: dict[str, list[str]] = {}
    with view(browser, width, scheme=scheme) as opened:
        for name in PAGES:
            opened.open(fleet.base, name, model=fleet.model, node=fleet.node)
            expect(opened.page.locator("h1")).to_have_count(1)
            assert too_wide(opened.page) == [], name
            found[name] = barriers(opened.page, contrast_alone=scheme == "light")
        ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert {name: rows for name, rows in found.items() if rows} == {}
    assert opened.complaints == []
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 24, 29)")


def test_the_keyboard_alone_reaches_everything(fleet: Scene, shown: View) -> None:
    missed: dict[str, list[str]] = {}
    for name in PAGES:
        shown.open(fleet.base, name, model=fleet.model, node=fleet.node)
        missed[name] = missed_by_the_keyboard(shown.page)
    assert {name: rows for name, rows in missed.items() if rows} == {}


def test_a_node_of_the_map_is_opened_and_the_network_is_walked_by_keys(fleet: Scene, shown: View) -> None:
    shown.open(fleet.base, "fleet")
    shown.page.locator(".map-node", has_text="edge").focus()
    shown.page.keyboard.press("Enter")
    expect(shown.page.locator("h1")).to_have_text("edge")
    shown.open(fleet.base, "model", model=fleet.model)
    walk_the_network(shown.page)


def test_tensors_move_along_links_and_stand_still_for_who_wants_that(browser: Browser, fleet: Scene) -> None:
    with view(browser) as opened:
        opened.open(fleet.base, "fleet")
        dot = opened.page.locator(".stream i").first
        expect(dot).to_be_visible(timeout=WITHIN_MS)
        expect(dot).not_to_have_attribute("style", dot.get_attribute("style") or "", timeout=WITHIN_MS)
    with view(browser, motion="reduce") as calm:
        calm.open(fleet.base, "fleet")
        expect(calm.page.locator(".lane-label .rate").filter(has_text="tensors/s").first).to_be_visible(
            timeout=WITHIN_MS
        )
        assert calm.page.evaluate("document.getAnimations().filter((one) => one.playState === 'running').length") == 0
        expect(calm.page.locator(".stream i").first).to_be_hidden()


def test_the_theme_is_chosen_and_kept(fleet: Scene, shown: View) -> None:
    shown.open(fleet.base, "fleet")
    shown.page.get_by_role("button", name=re.compile("Colours: as the system")).click()
    shown.page.get_by_role("button", name=re.compile("Colours: light")).click()
    shown.page.reload()
    expect(shown.page.locator(":root")).to_have_attribute("data-theme", "dark")


def test_goals_are_supposed_then_set(fleet: Scene, shown: View) -> None:
    before = fleet.fleet.splitctl("plan", fleet.model)
    shown.open(fleet.base, "what-if", model=fleet.model)
    shown.page.get_by_label("What counts").focus()
    shown.page.keyboard.press("End")
    expect(shown.page.locator(".verdict")).to_contain_text("plan")
    expect(shown.page.locator("table.plans thead").first).to_contain_text("Best, then")
    assert fleet.fleet.splitctl("plan", fleet.model)["goals"] == before["goals"]
    shown.page.get_by_role("button", name="Apply these goals").click()
    shown.page.get_by_role("button", name="Set these goals").click()
    expect(shown.page.locator(".done")).to_contain_text(f"{fleet.model}: epoch")
    goals = fleet.fleet.splitctl("plan", fleet.model)["goals"]
    assert (goals["latency_weight"], goals["energy_weight"]) == (0.0, 1.0)
    fleet.fleet.splitctl("set-weights", "--latency", "1", "--energy", "0", "--model", fleet.model)


def test_a_plan_that_changes_because_a_link_got_slow_is_shown_without_a_reload(fleet: Scene, shown: View) -> None:
    shown.open(fleet.base, "model", model=fleet.model)
    before = epoch_of(shown.page)
    shown.page.evaluate("window.neverReloaded = true")
    for peer in ("edge", "cloud"):
        latency_s = fleet.fleet.nodes["device"].links[peer].latency_s
        fleet.fleet.set_link("device", peer, EmulatedLink(SLOW_BYTES_PER_S, latency_s))
    blocking_until(lambda: epoch_of(shown.page) > before, "another plan on the page", within_s=WITHIN_MS / 1000)
    expect(shown.page.locator(".model-state")).to_contain_text("link device -> ")
    shown.page.evaluate("location.hash = '#/events'")
    told = shown.page.locator("tbody tr").filter(has_text="epoch-activated").filter(has_text="link device -> ")
    expect(told.first).to_be_visible()
    assert shown.page.evaluate("window.neverReloaded") is True


def test_a_restart_of_the_controller_is_told_and_outlived(browser: Browser, fleet: Scene) -> None:
    with view(browser) as opened:
        opened.open(fleet.base, "model", model=fleet.model)
        opened.page.evaluate("window.neverReloaded = true")
        assert opened.complaints == []
        fleet.fleet.end("controller")
        expect(opened.page.locator(".lost-line")).to_contain_text(
            "The controller is not there; shown is what it said", timeout=WITHIN_MS
        )
        expect(opened.page.locator(".model-state")).to_be_visible()
        fleet.fleet.start_controller()
        expect(opened.page.locator(".lost-line")).to_have_count(0, timeout=WITHIN_MS)
        opened.complaints.clear()  # that nobody answered meanwhile
        expect(opened.page.locator(".model-state strong")).to_have_text(re.compile(r"Epoch \d+"), timeout=WITHIN_MS)
        opened.page.evaluate("location.hash = '#/'")
        expect(opened.page.locator(".map-node")).to_have_count(3, timeout=WITHIN_MS)
        assert opened.page.evaluate("window.neverReloaded") is True
        assert opened.complaints == []
