"""The paths that CONTRIBUTING.md names for a newcomer lead where it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| `([\w/]+\.py)` \|$", PAGE, re.MULTILINE)
DOES = {
    "a tensor's bytes become a frame": "def encode_frame",
    "a link's bandwidth is estimated": "class LinkEstimator",
    "the decision that a new plan is worth a switch": "def decide",
    "a unit's time is predicted": "def ",
    "a peer counts as lost": "class Liveness",
    "a blob is verified": "def adopt_verified",
    "the noise bound is enforced in the solver": "def limit_noise",
    "`splitctl pin` is carried out": "def _pin",
}


@pytest.mark.parametrize(("what", "path"), ROWS)
def test_a_thing_is_done_where_the_page_says(what: str, path: str) -> None:
    assert DOES[what] in (ROOT / path).read_text(encoding="utf-8")


def test_every_thing_has_its_row() -> None:
    assert {what for what, _ in ROWS} == set(DOES)
