"""Pins: what they select, which units they reach, what several of them leave; goals that carry them."""

from __future__ import annotations

import dataclasses

import pytest

from edgesplit.errors import InvalidInput, PlanInfeasible
from edgesplit.planning.goals import Goals, PinRule
from edgesplit_controller.graph.model_graph import GraphOperator, GraphTensor, ModelGraph, Unit
from edgesplit_controller.stating.goals import goals_text, with_forbidden, with_pin, without_forbidden, without_pin
from edgesplit_controller.stating.pinning import allowed_nodes, check_rule, reach, selected

NAMES = ("conv0", "relu0", "conv1", "relu1")


def operator(name: str, reads: str, writes: str) -> GraphOperator:
    return GraphOperator(name=name, op_type="Relu", inputs=(reads,), outputs=(writes,), weight_bytes=0, flops=0)


def unit(name: str, *operators: str, at_source: bool = False) -> Unit:
    return Unit(name=name, operators=operators, inputs=(), outputs=(), at_source=at_source)


def graph(*, stays: bool = False) -> ModelGraph:
    """A chain of four operators in two units; the last may have to stay on the source."""
    tensors: dict[str, GraphTensor] = {}
    return ModelGraph(
        sha256="",
        proto=None,  # type: ignore[arg-type]  # pins look at names only
        operators=tuple(
            operator(name, "x" if index == 0 else NAMES[index - 1], name) for index, name in enumerate(NAMES)
        ),
        tensors=tensors,
        inputs=("x",),
        outputs=("relu1",),
        units=(unit("conv0", "conv0", "relu0"), unit("conv1", "conv1", "relu1", at_source=stays)),
    )


def pattern(text: str, *nodes: str) -> PinRule:
    return PinRule(kind="pattern", pattern=text, nodes=nodes)


@pytest.mark.parametrize(
    ("rule", "operators"),
    [
        (pattern("relu*"), ("relu0", "relu1")),
        (pattern("Relu*"), ()),
        (pattern("conv[1-9]"), ("conv1",)),
        (PinRule(kind="first", first=3), ("conv0", "relu0", "conv1")),
        (PinRule(kind="input"), ("conv0",)),
    ],
)
def test_a_pin_selects_operators_by_name_place_or_input(rule: PinRule, operators: tuple[str, ...]) -> None:
    assert selected(graph(), rule) == operators


def test_a_name_with_brackets_selects_itself() -> None:
    odd = dataclasses.replace(graph(), operators=(operator("conv[0]", "x", "y"), operator("conv0", "y", "z")))
    assert selected(odd, pattern("conv[0]")) == ("conv[0]", "conv0")


@pytest.mark.parametrize("rule", [pattern("dense*"), PinRule(kind="first", first=0), PinRule(kind="first", first=5)])
def test_a_pin_that_selects_nothing_is_refused(rule: PinRule) -> None:
    with pytest.raises(InvalidInput, match="m"):
        check_rule("m", graph(), rule)
    check_rule("m", graph(), PinRule(kind="first", first=4))


def test_a_pin_on_one_operator_pins_its_unit_and_says_so() -> None:
    row = reach(graph(), pattern("relu1", "edge"), "device")
    assert (row.selector, row.nodes, row.operators, row.units, row.also) == (
        "relu1",
        ("edge",),
        ("relu1",),
        ("conv1",),
        ("conv1",),
    )
    assert reach(graph(), PinRule(kind="input"), "device").nodes == ("device",)
    assert reach(graph(), PinRule(kind="input"), None).nodes == ()


USABLE = ("device", "edge", "cloud")


def test_of_several_pins_on_a_unit_all_hold() -> None:
    rules = (pattern("conv*", "edge", "cloud"), pattern("relu1", "cloud", "device"))
    assert allowed_nodes("m", graph(), rules, "device", USABLE) == {"conv0": ("edge", "cloud"), "conv1": ("cloud",)}
    with pytest.raises(PlanInfeasible, match=r"unit conv1 contradict each other \(conv\* .*edge, cloud; relu1"):
        allowed_nodes("m", graph(), (rules[0], pattern("relu1", "device")), "device", USABLE)


def test_pins_follow_the_source_and_units_that_stay_there() -> None:
    rule = PinRule(kind="first", first=1)
    assert allowed_nodes("m", graph(stays=True), (rule,), "edge", USABLE) == {"conv1": ("edge",), "conv0": ("edge",)}
    with pytest.raises(PlanInfeasible, match="depends on the data"):
        allowed_nodes("m", graph(stays=True), (pattern("conv1", "cloud"),), "edge", USABLE)


def test_a_pin_to_nodes_of_which_none_can_be_used_is_named() -> None:
    rules = (pattern("conv1", "edge", "cloud"),)
    assert allowed_nodes("m", graph(), rules, "device", ("device", "cloud")) == {"conv1": ("cloud",)}
    with pytest.raises(PlanInfeasible, match="conv1 is pinned to edge, cloud, which no plan can use now"):
        allowed_nodes("m", graph(), rules, "device", ("device",))
    assert allowed_nodes("m", graph(), (pattern("gone*", "edge"),), "device", ("device",)) == {}


def test_pins_are_replaced_and_lifted_by_their_selector() -> None:
    goals = Goals()
    for rule in (pattern("a*", "edge"), PinRule(kind="first", first=2), PinRule(kind="input"), pattern("a*", "cloud")):
        goals = with_pin(goals, rule)
    assert [pin.selector for pin in goals.pins] == ["--first 2", "--input", "a*"]
    assert goals.pins[-1].nodes == ("cloud",)
    assert [pin.selector for pin in with_pin(goals, PinRule(kind="first", first=9)).pins][-1] == "--first 9"
    assert len(without_pin(goals, "a*").pins) == len(without_pin(goals, "--first").pins) == 2
    assert [pin.selector for pin in without_pin(goals, "--input").pins] == ["--first 2", "a*"]
    assert without_pin(goals, None).pins == ()
    with pytest.raises(InvalidInput, match=r"'b\*': the pins are --first 2, --input, a\*"):
        without_pin(goals, "b*")
    with pytest.raises(InvalidInput, match="there are no pins"):
        without_pin(Goals(), "a*")


def test_forbidden_nodes_are_kept_once_and_lifted() -> None:
    goals = with_forbidden(with_forbidden(with_forbidden(Goals(), "edge"), "cloud"), "edge")
    assert goals.forbidden == ("cloud", "edge")
    assert without_forbidden(goals, "edge").forbidden == ("cloud",)
    text = goals_text(with_pin(goals, PinRule(kind="input")))
    assert text == "latency 1, energy 0, noise at most 0, pinned: --input on the source, not on cloud, edge"
