"""Rows of topics: made of names and read back, complete for people, one for each message."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import edgesplit
from edgesplit.control.plan_messages import DESIRED
from edgesplit.control.registration_messages import CONTROLLER_CLAIM, CONTROLLER_STATUS, NODE_CLAIM, NODE_STATUS
from edgesplit.mqtt.topic import Topic
from edgesplit.topic_table import ABOUT_NODES, TABLE, node_of

every_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.pattern)


def rows_of_the_package() -> dict[str, Topic[Any]]:
    """Every row that a module of the shared package holds, by its name there."""
    found: dict[str, Topic[Any]] = {}
    folder = Path(edgesplit.__path__[0])
    for path in folder.rglob("*.py"):
        if "Topic(" in path.read_text():
            name = ".".join(("edgesplit", *path.relative_to(folder).with_suffix("").parts))
            found |= {key: row for key, row in vars(importlib.import_module(name)).items() if isinstance(row, Topic)}
    return found


@every_row
def test_names_make_a_topic_and_are_read_back(row: Topic[Any]) -> None:
    names = tuple(f"{name}.1" for name in row.placeholders)
    topic = row.of(*names)
    assert topic.startswith("edgesplit/1/")
    assert row.names(topic) == names
    assert "{" not in topic


def test_a_filter_leaves_open_what_is_not_named() -> None:
    assert DESIRED.filter() == "edgesplit/1/nodes/+/desired/+"
    assert DESIRED.filter("edge") == "edgesplit/1/nodes/edge/desired/+"
    assert CONTROLLER_STATUS.filter() == CONTROLLER_STATUS.of() == "edgesplit/1/controller/status"


@pytest.mark.parametrize("names", [(), ("edge",), ("edge", "m", "more")])
def test_a_topic_of_too_few_or_many_names_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="takes 2 names"):
        DESIRED.of(*names)


def test_no_row_is_left_out_of_the_table() -> None:
    assert {*rows_of_the_package().values()} == {*TABLE}


def test_no_two_rows_share_a_topic() -> None:
    assert len({row.filter() for row in TABLE}) == len(TABLE)


def test_a_row_is_named_for_the_type_of_its_messages() -> None:
    claims = {"CONTROLLER_CLAIM": CONTROLLER_CLAIM, "NODE_CLAIM": NODE_CLAIM}
    for name, row in rows_of_the_package().items():
        if name not in claims:
            assert name == re.sub(r"(?<=[a-z])(?=[A-Z])", "_", row.payload.__name__).upper()


@every_row
def test_a_row_says_all_that_people_and_programs_ask(row: Topic[Any]) -> None:
    assert row.says
    assert row.writers
    assert row.readers or row.pattern == "flush"
    assert row.retained or not (row.defended or row.cleared or row.lives_with)
    if row.retained:
        removed = row.cleared or row.lives_with is not None
        assert removed or row in ABOUT_NODES  # a node's messages go with it at the latest
    if row.lives_with is not None:
        assert row.writers == ("agent",)
        assert row.placeholders == ("node", "model")
        assert row.lives_with.placeholders[-1] == "model"


def test_a_topic_tells_which_node_it_is_about() -> None:
    assert node_of(NODE_STATUS.of("edge")) == "edge"
    assert node_of(DESIRED.of("edge", "m")) == "edge"
    assert node_of(CONTROLLER_STATUS.of()) == ""
