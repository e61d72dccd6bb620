"""The table of all MQTT topics, and what follows from it for whoever checks, permits and removes messages.

Owns: which rows there are: those that stand beside the types of their messages. Its rule: nobody lists topics again;
docs/protocol.md is made from this table too. Not here: what a row says (`mqtt/topic.py`),
the connection (`mqtt/bus.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from edgesplit.control import (
    archive_messages,
    event_messages,
    figure_messages,
    inquiry_messages,
    noise_messages,
    plan_messages,
    profile_messages,
    registration_messages,
    trust_messages,
)
from edgesplit.mqtt import bus
from edgesplit.mqtt.topic import ROOT, Program, Topic
from edgesplit.operations import exchange

__all__ = [
    "ABOUT_NODES",
    "TABLE",
    "Right",
    "access_rules",
    "everything_of_node",
    "node_of",
    "signed_rows",
    "topics_of_node",
    "written_by",
]

_MODULES = (
    registration_messages,
    profile_messages,
    plan_messages,
    figure_messages,
    inquiry_messages,
    noise_messages,
    archive_messages,
    event_messages,
    trust_messages,
    exchange,
    bus,
)
Right = Literal["read", "write", "readwrite"]
_NODE = "nodes/{node}/"

TABLE: tuple[Topic[Any], ...] = tuple(
    # A module may name another's row: each counts once.
    dict.fromkeys(row for module in _MODULES for row in vars(module).values() if isinstance(row, Topic))
)
ABOUT_NODES: tuple[Topic[Any], ...] = tuple(row for row in TABLE if row.pattern.startswith(_NODE))
"""Topics below `nodes/NODE/`, and below that one for each model where the pattern names one."""


def signed_rows() -> tuple[Topic[Any], ...]:
    """The topics whose messages are signed in a fleet with an authority."""
    return tuple(row for row in TABLE if row.signer is not None)


def written_by(program: Program) -> tuple[Topic[Any], ...]:
    """The topics that only programs of this kind write."""
    return tuple(row for row in TABLE if row.writers == (program,))


def access_rules(program: Program, node: str) -> tuple[tuple[Right, str], ...]:
    """What a program may do, and below which topic filter: what a broker has to let it do, and need not let it do more.

    Args:
        program: Its kind.
        node: What stands for the node's name in an agent's rules.
    """
    if program == "controller":
        return (("readwrite", f"{ROOT}/#"),)
    own = {"node": node, "origin": node} if program == "agent" else {}
    rules: list[tuple[Right, str]] = []
    for row in TABLE:
        everywhere = row.filter()
        here = row.of(*(own.get(name, "+") for name in row.placeholders))
        if program in row.writers:
            rules.append(("write", here))
        if program in row.readers:
            rules.append(("read", everywhere if row.pattern == "nodes/{node}/status" else here))
    return tuple(rules)


def topics_of_node(node: str, models: Iterable[str]) -> tuple[str, ...]:
    """Every topic there may be of a node, given the models there may be."""
    of_models = [row for row in ABOUT_NODES if "model" in row.placeholders]
    return (
        *(row.of(node) for row in ABOUT_NODES if "model" not in row.placeholders),
        *(row.of(node, model) for model in models for row in of_models),
    )


def everything_of_node(node: str) -> str:
    """Topic filter of everything of a node, kinds of other releases among it."""
    return f"{ROOT}/nodes/{node}/#"


def node_of(topic: str) -> str:
    """The node that a topic is about; empty for any other."""
    below = topic.removeprefix(f"{ROOT}/nodes/")
    return below.partition("/")[0] if below != topic else ""
