"""The changelog goes by releases: what is unreleased first, then versions with their days, newest first."""

from __future__ import annotations

import datetime
import re
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d{2}-\d{2})")


def releases(text: str) -> list[tuple[tuple[int, int, int], datetime.date]]:
    """Versions and days of the headings; `Unreleased` may stand before them and nothing else among them."""
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    if headings[:1] == ["Unreleased"]:
        headings = headings[1:]
    found = [RELEASE.fullmatch(heading) for heading in headings]
    assert None not in found, headings
    return [
        ((int(one[1]), int(one[2]), int(one[3])), datetime.date.fromisoformat(one[4]))
        for one in found
        if one is not None
    ]


def test_releases_stand_newest_first_and_the_package_is_the_newest_or_on_the_way_to_the_next() -> None:
    found = releases((REPOSITORY / "CHANGELOG.md").read_text())
    versions, days = [version for version, _ in found], [day for _, day in found]
    assert versions == sorted(set(versions), reverse=True)
    assert days == sorted(days, reverse=True)
    packaged = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    latest = ".".join(map(str, versions[0]))
    development = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)\.dev\d+", packaged)
    if development is None:
        assert latest == packaged
    else:  # on the way to the release that it names
        assert (int(development[1]), int(development[2]), int(development[3])) > versions[0]


@pytest.mark.parametrize(
    "headings",
    ["## 0.1.0", "## 0.1.0 - soon", "## 0.1.0 - 2026-11-26\n## Unreleased", "## Next\n## 0.1.0 - 2026-11-26"],
)
def test_a_heading_of_another_form_is_noticed(headings: str) -> None:
    with pytest.raises(AssertionError):
        releases(f"# Changelog\n\n{headings}\n")
