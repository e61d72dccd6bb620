"""Tightening a noise model that proved wrong; the way from a report to another plan, with real MQTT."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.event_messages import Event
from edgesplit.control.noise_messages import NOISE_REPORT, NoiseReport
from edgesplit.operations.goal_operations import LimitChange, PinOperators, SetWeights
from edgesplit.operations.model_operations import ShowModel
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit.planning.goals import PinRule
from edgesplit.planning.problem import CodecOption, Constraints, NoiseModel, NoiseTerm, Operator, Problem, Tensor
from edgesplit_controller.planner.meaning.evaluation import noise_of
from edgesplit_controller.stating.noise_tightening import MOST_BREACHES, tightened, tightening_after
from edgesplit_controller.storage.deployment_state import Tightening
from tests.controller.fleet import METRIC, Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until, until_answered

NAMES = ("a", "b", "c")


def report(epoch: int = 1, samples: int = 3, mean: float = 0.5, **figures: Any) -> NoiseReport:
    return NoiseReport(
        node="device", instance="device-1", model="tiny", epoch=epoch, samples=samples, mean=mean, max=mean, **figures
    )


def problem(model: NoiseModel, max_noise: float | None) -> Problem:
    codec = CodecOption(name="fp16", bytes=1.0, noise=0.25, encode_s={}, decode_s={})
    return Problem(
        model="m",
        source="device",
        nodes=(),
        links=(),
        operators=tuple(Operator(name=name, time_s={}) for name in NAMES),
        tensors=(
            Tensor(name="t", bytes=2.0, producer="a", consumers=("b",), codecs=(codec,)),
            Tensor(name="u", bytes=2.0, producer="b", consumers=("c",)),
        ),
        noise_model=model,
        constraints=Constraints(max_noise=max_noise),
    )


SETS = [("a",), ("b",), ("c",), ("a", "b"), ("b", "c"), ("a", "b", "c")]
MODELS = st.builds(
    lambda intercept, values: NoiseModel(
        intercept=intercept,
        terms=tuple(NoiseTerm(operators=names, coefficient=value) for names, value in zip(SETS, values, strict=True)),
    ),
    st.floats(0.0, 1.0),
    st.lists(st.floats(-0.5, 2.0), min_size=len(SETS), max_size=len(SETS)),
)


@given(MODELS, st.sets(st.sampled_from(NAMES), min_size=1), st.floats(1e-3, 5.0), st.floats(1.0, 1e9))
def test_a_tightened_model_forbids_the_plan_that_broke_its_bound_and_tightening_ends_at_float(
    model: NoiseModel, quantized: set[str], bound: float, excess: float
) -> None:
    plain = problem(model, bound)
    plan = frozenset(quantized)
    tightening: Tightening | None = None
    for breach in range(1, MOST_BREACHES + 1):
        predicted = noise_of(tightened(plain, tightening), plan)
        before = tightening
        tightening = tightening_after(
            before, report(breach, mean=excess * bound), predicted=predicted, bound=bound, at_unix_s=7.0
        )
        after = tightened(plain, tightening)
        limit = after.constraints.max_noise
        assert limit is not None
        # Float only, a bound of 0, forbids it too unless the model says that it has no noise: what little a measured
        # breach then changes is that nothing noisy is planned.
        assert tightening.float_only or noise_of(after, plan) > limit + 1e-9 * max(1.0, limit)
        assert tightening.factor >= (before.factor if before is not None else 1.0)
        assert noise_of(after, frozenset()) == 0.0
    assert tightening is not None
    assert tightening.float_only
    assert tightened(plain, tightening).constraints.max_noise == 0.0
    assert tightened(problem(model, None), tightening).constraints.max_noise is None


def test_codecs_are_tightened_with_the_operators() -> None:
    model = NoiseModel(intercept=0.1, terms=(NoiseTerm(operators=("a",), coefficient=0.3),))
    tightening = tightening_after(None, report(mean=1.2), predicted=0.4, bound=0.5, at_unix_s=0.0)
    assert tightening.factor == pytest.approx(3.0)
    after = tightened(problem(model, 0.5), tightening)
    assert noise_of(after, frozenset("a")) == pytest.approx(1.2)
    codecs = after.tensors[0].codecs
    assert codecs is not None
    assert codecs[0].noise == pytest.approx(0.75)
    assert after.tensors[1].codecs is None
    assert tightened(problem(model, 0.5), None) == problem(model, 0.5)


def told(fleet: Fleet, kind: str = "noise-exceeded") -> list[Event]:
    return fleet.told(kind)


async def checked(fleet: Fleet) -> dict[str, Any] | None:
    """What is known of the noise of served requests, as `splitctl plan` has it."""
    noise: dict[str, Any] = (await fleet.client.ask(ShowPlan(name="tiny")))["measured"]["noise"]
    return noise if noise["samples"] else None


def say(fleet: Fleet, found: NoiseReport, node: str = "device") -> None:
    fleet.agents[node].bus.publish(NOISE_REPORT, found, node, "tiny")


async def deployed(fleet: Fleet, **options: Any) -> tuple[int, float]:
    """A plan that may quantize everything; its epoch and its bound."""
    added = await fleet.client.add("tiny", convolutions(), **options)
    bound = 1.2 * (added["noise_model"]["full_noise"] + added["noise_model"]["margin"])
    await fleet.client.ask(SetWeights(max_noise=LimitChange(bound)))
    await fleet.client.ask(DeployModel(name="tiny", source="device"))
    await until(lambda: fleet.agents["device"].desired["tiny"].serve is not None)
    return fleet.plan("tiny").epoch.number, bound


async def test_a_breach_is_told_tightens_the_model_and_leads_to_a_plan_that_keeps_the_bound(fleet: Fleet) -> None:
    epoch, bound = await deployed(fleet)
    shadowing = fleet.agents["device"].desired["tiny"].shadowing
    assert shadowing is not None
    assert (shadowing.requests, shadowing.every_s, shadowing.bound, shadowing.metric) == (3, 300.0, bound, "")
    assert all(fleet.agents[node].desired["tiny"].shadowing is None for node in ("cloud",))
    before = fleet.plan("tiny")
    assert before.assignment.quantized == {"conv0", "conv1", "conv2", "conv3"}
    say(fleet, report(epoch, samples=2, mean=1.5 * bound))
    shown = await until_answered(partial(checked, fleet), "a report")
    assert (shown["samples"], shown["mean"], shown["exceeds"]) == (2, 1.5 * bound, False)
    say(fleet, report(epoch, samples=3, mean=1.5 * bound, deviation=0.01 * bound, last=1.4 * bound))
    await until(lambda: fleet.plan("tiny").epoch.number > epoch)
    (event,) = told(fleet)
    assert (event.data["epoch"], event.data["bound"], event.data["measured"]) == (epoch, bound, 1.5 * bound)
    assert event.data["predicted"] == pytest.approx(before.evaluation.noise)
    after = fleet.plan("tiny")
    assert 0 < len(after.assignment.quantized) < 4
    assert after.evaluation.noise <= bound
    assert "measured noise" in after.reason
    tightening = (await fleet.client.ask(ShowModel(name="tiny")))["noise_tightening"]
    assert tightening["factor"] == pytest.approx(1.5 * bound / before.evaluation.noise)
    # The same plan is not judged twice, nor is an epoch that no longer serves.
    say(fleet, report(epoch, samples=9, mean=5 * bound))
    fresh = (await fleet.client.ask(ShowPlan(name="tiny")))["measured"]["noise"]
    assert (fresh["samples"], fresh["mean"], fresh["max"]) == (0, None, None)
    assert "not checked yet" in fresh["note"]
    assert len(told(fleet)) == 1


async def test_a_breach_that_no_int8_plan_can_heal_leads_to_float(fleet: Fleet) -> None:
    epoch, bound = await deployed(fleet)
    say(fleet, report(epoch, mean=1000 * bound))
    await until(lambda: fleet.plan("tiny").epoch.number > epoch)
    plan = fleet.plan("tiny")
    assert not plan.assignment.quantized
    assert plan.evaluation.noise == 0.0
    await until(lambda: fleet.agents["device"].desired["tiny"].serve == plan.epoch.number)
    assert fleet.agents["device"].desired["tiny"].shadowing is None
    shown = (await fleet.client.ask(ShowPlan(name="tiny")))["measured"]["noise"]
    assert "nothing to check" in shown["note"]


async def test_a_tightening_outlives_the_controller_and_ends_with_the_model(fleet: Fleet) -> None:
    epoch, bound = await deployed(fleet)
    say(fleet, report(epoch, mean=2 * bound))
    await until(lambda: fleet.plan("tiny").epoch.number > epoch)
    factor = (await fleet.client.ask(ShowModel(name="tiny")))["noise_tightening"]["factor"]
    await fleet.stop_controller()
    fleet.client.artifacts = ""
    await fleet.start_controller()
    await until(lambda: bool(fleet.client.artifacts))
    await until(lambda: len(fleet.registry.online()) == 3)
    assert (await fleet.client.ask(ShowModel(name="tiny")))["noise_tightening"]["factor"] == factor
    quantized = fleet.plan("tiny").assignment.quantized
    await fleet.client.add("tiny", convolutions(), replace=True)
    assert (await fleet.client.ask(ShowModel(name="tiny")))["noise_tightening"] is None
    assert fleet.plan("tiny").assignment.quantized > quantized
    assert len(told(fleet)) == 1


async def test_a_breach_found_while_the_controller_was_away_is_acted_on_when_it_is_back(fleet: Fleet) -> None:
    epoch, bound = await deployed(fleet)
    await fleet.stop_controller()
    say(fleet, report(epoch, mean=2 * bound))
    await fleet.start_controller()
    await until(lambda: fleet.plan("tiny").epoch.number > epoch)
    assert len(told(fleet)) == 1


async def test_where_no_plan_keeps_every_goal_the_one_that_serves_stays_and_that_is_said_once(fleet: Fleet) -> None:
    _, bound = await deployed(fleet)
    for agent in fleet.agents.values():
        agent.peers = {}
        agent.publish_links()
    await until(lambda: set(fleet.plan("tiny").assignment.node_of.values()) == {"device"})
    # Less energy than float would need: quantizing is a must.
    device_j = fleet.plan("tiny").evaluation.device_energy_j
    await fleet.client.ask(SetWeights(device_energy_j=LimitChange(device_j * 1.001)))
    epoch = fleet.plan("tiny").epoch.number
    say(fleet, report(epoch, mean=2 * bound))
    await until(lambda: bool(told(fleet, "plan-infeasible")))
    assert fleet.plan("tiny").epoch.number == epoch
    fleet.agents["device"].publish_links()
    fleet.agents["device"].announce()
    assert len(told(fleet, "plan-infeasible")) == 1


async def test_noise_in_another_measure_than_the_bounds_is_shown_and_not_judged(fleet: Fleet) -> None:
    epoch, bound = await deployed(fleet)
    say(fleet, report(epoch, samples=5, mean=9 * bound, measure="my:metric", detail="it is something else"))
    await until_answered(partial(checked, fleet), "a report")
    shown = (await fleet.client.ask(ShowPlan(name="tiny")))["measured"]["noise"]
    assert (shown["measure"], shown["note"], shown["exceeds"]) == ("my:metric", "it is something else", False)
    assert not told(fleet)
    assert fleet.plan("tiny").epoch.number == epoch


async def test_where_the_source_may_not_hold_the_float_model_that_is_said(fleet: Fleet) -> None:
    await deployed(fleet)
    rule = PinRule(kind="pattern", pattern="*", nodes=("cloud", "edge"))
    pinned = await fleet.client.ask(PinOperators(name="tiny", rule=rule))
    why = "device does not hold the float model, for pins keep operators off it"
    (warning,) = pinned["warnings"]
    assert warning.startswith("the noise of tiny is not checked against its bound")
    assert warning.endswith(f"only predicted: {why}")
    assert [event.text for event in told(fleet, "noise-unchecked")] == [warning]
    again = await fleet.client.ask(DeployModel(name="tiny", source="device"))
    assert again["warnings"] == [warning]
    (row,) = await fleet.client.ask(SetWeights(latency=1.0))
    assert row["warnings"] == [warning]
    (row,) = await fleet.client.ask(SetWeights(max_noise=LimitChange(None)))
    assert row["warnings"] == []
    shown = (await fleet.client.ask(ShowPlan(name="tiny")))["measured"]["noise"]
    assert shown["note"] == "noise is not checked: device does not hold the float model, for pins keep operators off it"


async def test_a_new_bound_reaches_the_source_even_where_the_plan_stays(fleet: Fleet) -> None:
    epoch, bound = await deployed(fleet)
    await fleet.client.ask(SetWeights(max_noise=LimitChange(2 * bound)))
    assert fleet.plan("tiny").epoch.number == epoch

    def told_bound() -> float | None:
        shadowing = fleet.agents["device"].desired["tiny"].shadowing
        return shadowing.bound if shadowing is not None else None

    await until(lambda: told_bound() == 2 * bound)


async def test_a_bound_in_the_users_metric_is_judged_in_that_metric(fleet: Fleet) -> None:
    epoch, bound = await deployed(fleet, metric=METRIC)
    shadowing = fleet.agents["device"].desired["tiny"].shadowing
    assert shadowing is not None
    assert (shadowing.metric, shadowing.bound) == (METRIC, bound)
    say(fleet, report(epoch, samples=5, mean=2 * bound))  # rho, from an agent without the metric
    await until_answered(partial(checked, fleet), "a report")
    assert not told(fleet)
    say(fleet, report(epoch, samples=5, mean=2 * bound, measure=METRIC))
    await until(lambda: fleet.plan("tiny").epoch.number > epoch)
    (event,) = told(fleet)
    assert event.data["measure"] == METRIC


async def test_a_bound_below_everything_in_int8_is_answered_with_the_reason_and_the_fit(fleet: Fleet) -> None:
    await deployed(fleet)
    record = fleet.models["tiny"]
    least = record.manifest.noise_report.least_noise
    assert least > 0
    rows = await fleet.client.ask(SetWeights(model="tiny", max_noise=LimitChange(least * 0.9)))
    said = next(text for text in rows[0]["warnings"] if text.startswith("int8 is not offered to tiny because"))
    assert "R² " in said and f"{least:.3g}" in said
    assert said in (await fleet.client.ask(ShowModel(name="tiny")))["warnings"]
    rows = await fleet.client.ask(SetWeights(model="tiny", max_noise=LimitChange(least * 1.01)))
    assert not any("int8 is not offered" in text for text in rows[0]["warnings"])
