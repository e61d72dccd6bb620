"""What plans hold on nodes, of which the planning shapes of a model share what is the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Operator
from edgesplit_controller.stating.held_weights import held_weights

NODES = {"small": "device", "large": "edge"}


def plan(node_of: dict[str, str], quantized: frozenset[str] = frozenset(), sha256: str = "a") -> Any:
    """What is asked of a plan: two operators of 8 and 80 bytes."""
    operators = tuple(
        Operator(name=name, time_s={}, weight_bytes=nbytes) for name, nbytes in (("small", 8.0), ("large", 80.0))
    )
    return SimpleNamespace(
        sha256=sha256, problem=SimpleNamespace(operators=operators), assignment=Assignment(node_of, quantized)
    )


def test_shapes_of_a_model_share_weights_and_models_do_not() -> None:
    here = {"small": "device", "large": "device"}
    plans = [("m", plan(NODES)), ("m@2", plan(here)), ("m@3", plan(here)), ("other", plan(here, sha256="b"))]
    held = held_weights(plans, model="m@3", sha256="a")
    assert held.taken_bytes == {"device": 88.0 + 88.0, "edge": 80.0}
    assert held.shared == {"device": {("small", False), ("large", False)}, "edge": {("large", False)}}


def test_weights_in_int8_are_others_and_so_are_those_of_another_file() -> None:
    plans = [("m", plan(NODES, frozenset({"large"}))), ("m@2", plan(NODES)), ("m@3", plan(NODES, sha256="older"))]
    held = held_weights(plans, model="m", sha256="a")
    assert held.taken_bytes == {"device": 16.0, "edge": 20.0 + 80.0 + 80.0}
    assert held.shared["edge"] == {("large", True), ("large", False)}
    assert held_weights(plans, model="m", sha256="older").shared["edge"] == {("large", False)}
