"""Settings of all tests: timing never decides, CI draws the same examples every time, and no test is left out unseen.

Which were left out and which files failed is written to what EDGESPLIT_SKIPS and EDGESPLIT_FAILED name, for tests/all.sh.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from demo.fleet import LocalFleet
from tests.skips import Skip, unexpected
from tests.warm_splitctl import WarmSplitctl

# pytest-xdist tells its processes how wide the terminal is; pages of splitctl are as wide as it takes unless a test says else.
os.environ.pop("COLUMNS", None)
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

skips: list[Skip] = []
failed: list[str] = []


def note(report: pytest.CollectReport | pytest.TestReport) -> None:
    """Keep what was left out, a test or a whole file; what is expected to fail is none of it."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        skips.append(Skip(report.nodeid, " ".join(reason.removeprefix("Skipped: ").split())))
    if report.failed:
        failed.append(report.nodeid.partition("::")[0])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    note(report)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Tests for root are left out by their mark (pyproject.toml), and told all the same; who picks tests knows the others."""
    skips.extend(Skip(item.nodeid, "needs root") for item in items if item.get_closest_marker("root"))


def append(variable: str, lines: Sequence[str]) -> None:
    """Write lines to the end of the file that an environment variable names, if it is set."""
    if (name := os.environ.get(variable)) is not None:
        with Path(name).open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    append("EDGESPLIT_SKIPS", [f"{skip.test}\t{skip.reason}" for skip in skips])
    append("EDGESPLIT_FAILED", list(dict.fromkeys(failed)))
    if os.environ.get("CI") and unexpected(skips) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("CI"):
        for skip in unexpected(skips):
            terminalreporter.write_line(f"FAILED {skip.test} - left out, in CI: {skip.reason}", red=True)


@pytest.fixture(scope="session", autouse=True)
def _quick_questions() -> Iterator[None]:
    """Fleets of tests are asked without starting an interpreter each time."""
    with WarmSplitctl() as run, pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalFleet, "run", run)
        yield
