"""Sizes that many requests have and no plan is made for are planned for by themselves, and not for ever."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgesplit.control.figure_messages import USAGE, AskedSizes, Usage
from edgesplit.operations.model_operations import ShowModel
from edgesplit.operations.plan_operations import DeployModel
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_controller.deciding.beside import shape_watch
from edgesplit_controller.deciding.changes import asked_shapes
from edgesplit_controller.deciding.changes.asked_shapes import (
    IDLE_AFTER_S,
    IDLE_REQUESTS,
    LEAST,
    RECENT,
    AskedShapes,
    ShapeUse,
    Sizes,
    nearest_shape,
)
from edgesplit_controller.models.planning_shapes import planned_for
from tests.controller.fleet import Fleet
from tests.controller.test_planning_shapes import LARGE, OPEN, SMALL
from tests.waiting import until

OPEN_SHAPE = (1, -1)


def planned(**lengths: int) -> dict[str, Sequence[TensorSpec]]:
    return {
        name: (TensorSpec(name="x", dtype="float32", shape=OPEN_SHAPE, typical=(1, length)),)
        for name, length in lengths.items()
    }


def counted(**requests: int) -> tuple[AskedSizes, ...]:
    """Counts by length, as `x100`."""
    return tuple(AskedSizes(inputs={"x": (1, int(name[1:]))}, requests=count) for name, count in requests.items())


def asked(**requests: int) -> AskedShapes:
    shapes = AskedShapes()
    shapes.take(())
    shapes.take(counted(**requests))
    return shapes


ONE = planned(m=100)


@pytest.mark.parametrize(
    ("requests", "found"),
    [
        ({"x100": 800, "x400": 200}, {400: 0.2}),
        ({"x400": 49}, {}),
        ({"x400": 50}, {400: 1.0}),
        ({"x100": 600, "x400": 90, "x410": 110, "x420": 50}, {410: 0.25 / 0.85}),
        ({"x100": 700, "x400": 100, "x900": 150}, {900: 150 / 950, 400: 100 / 950}),
        ({"x100": 500, "x110": 60, "x104": 40}, {110: 0.1}),
        ({"x100": 100, "x10": 60, "x30": 60, "x400": 60, "x900": 60}, {10: 60 / 340, 30: 60 / 340, 400: 60 / 340}),
    ],
)
def test_sizes_are_weighed_with_those_near_them_that_would_take_their_plan(
    requests: dict[str, int], found: dict[int, float]
) -> None:
    candidates = asked(**requests).candidates(ONE)
    assert {dict(sizes)["x"][1]: share for sizes, share in candidates} == pytest.approx(found)


def test_what_is_planned_or_was_in_vain_is_not_weighed() -> None:
    shapes = asked(x400=500)
    ((sizes, _),) = shapes.candidates(ONE)
    assert shapes.candidates(ONE, {sizes}) == []
    assert shapes.candidates(ONE, {(("x", (1, 500)),)}) == []
    assert shapes.candidates({**ONE, **planned(m2=400)}) == []


def test_the_share_of_a_shape_is_that_of_the_requests_it_is_nearest_to() -> None:
    shapes = {**ONE, **planned(m2=400)}
    requests = asked(x100=100, x199=100, x201=100, x800=100)
    assert [requests.share(name, shapes) for name in ("m", "m2")] == [0.5, 0.5]
    assert AskedShapes().share("m", shapes) == 0.0


def test_what_was_counted_before_says_nothing() -> None:
    shapes = AskedShapes()
    assert not shapes.take(counted(x400=500))
    assert shapes.candidates(ONE) == []
    assert shapes.take(counted(x400=540)) == {(("x", (1, 400)),): 40}
    assert shapes.candidates(ONE) == []
    assert shapes.take(counted(x400=100)) == {}


def test_only_the_last_requests_count() -> None:
    shapes = asked(x400=300)
    shapes.take(counted(x400=300, x100=RECENT - LEAST))
    assert len(shapes.candidates(ONE)) == 1
    shapes.take(counted(x400=300, x100=RECENT - LEAST + 1))
    assert shapes.candidates(ONE) == []


def test_a_request_is_counted_for_the_nearest_shape_and_the_first_of_two() -> None:
    shapes = planned(m=100, m2=1600)
    assert [nearest_shape((("x", (1, length)),), shapes)[0] for length in (10, 400, 401, 5000)] == [
        "m",
        "m",
        "m2",
        "m2",
    ]


def test_a_shape_is_idle_that_nobody_asks_for_while_others_are_asked() -> None:
    shapes, use = planned(m=100, m2=1600), ShapeUse()
    near: Sizes = (("x", (1, 90)),)
    far: Sizes = (("x", (1, 1000)),)
    use.count({}, shapes, 0.0)
    use.count({}, shapes, IDLE_AFTER_S)
    assert not use.is_idle("m2", IDLE_AFTER_S), "nobody asks for anything"
    use.count({near: IDLE_REQUESTS}, shapes, 1.0)
    assert not use.is_idle("m2", IDLE_AFTER_S - 1)
    assert use.is_idle("m2", IDLE_AFTER_S)
    assert not use.is_idle("m", IDLE_AFTER_S)
    use.count({far: 1}, shapes, IDLE_AFTER_S)
    use.count({near: 1}, shapes, IDLE_AFTER_S + 1)
    assert not use.is_idle("m2", 3 * IDLE_AFTER_S)


@pytest.fixture
async def small(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A model serves that is planned for small images; what is asked matters at once."""
    monkeypatch.setattr(shape_watch, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(shape_watch, "MATTERS_AFTER_S", 0.0)
    monkeypatch.setattr(shape_watch, "gain_at", lambda *_args, **_limits: 0.5)
    await fleet.client.add("tiny", OPEN, shapes={"image": [list(SMALL)]})
    await fleet.client.ask(DeployModel(name="tiny", source="device"))
    await until(lambda: fleet.rollouts.settled)
    return fleet


class Requests:
    """What the source tells of requests that it served."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.counts: dict[tuple[str, tuple[int, ...]], int] = {}

    def serve(self, model: str, shape: tuple[int, ...], requests: int) -> None:
        """Count some more."""
        self.counts[model, shape] = self.counts.get((model, shape), 0) + requests
        sizes = tuple(
            AskedSizes(inputs={"image": shape}, requests=count)
            for (name, shape), count in self.counts.items()
            if name == model
        )
        self.fleet.agents["device"].bus.publish(
            USAGE,
            Usage(
                node="device",
                model=model,
                epoch=self.fleet.plan(model).epoch.number,
                requests=sum(entry.requests for entry in sizes),
                failed=0,
                compute_s=0.0,
                transmit_s=0.0,
                energy_j=0.0,
                energy_origin="configured",
                latency_sum_s=0.0,
                sizes=sizes,
                counted_since_unix_s=1.0,
            ),
            "device",
            model,
        )


async def until_looked_at(fleet: Fleet) -> None:
    """Wait until the sizes of the model's requests are looked at: what comes from now on is new."""
    await until(lambda: "tiny" in fleet.service.decide.shapes._asked)


async def test_a_size_that_matters_is_planned_by_itself_and_dropped_once_nobody_asks_for_it(
    small: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Requests(small)
    await until_looked_at(small)
    requests.serve("tiny", LARGE, 60)
    await until(lambda: small.deployer.deployments.get("tiny@2") is not None)
    await until(lambda: small.deployer.deployments["tiny@2"].active is not None)
    assert planned_for(small.models["tiny@2"]) == {"image": LARGE}
    rows = (await small.client.ask(ShowModel(name="tiny")))["shapes"]
    assert [row["automatic"] for row in rows] == [False, True]
    (event,) = small.told("shape-planned")
    assert (event.model, event.data["shape"]) == ("tiny", "tiny@2")
    assert "image 1x3x32x64" in event.text

    monkeypatch.setattr(asked_shapes, "IDLE_AFTER_S", 0.0)
    requests.serve("tiny", SMALL, asked_shapes.IDLE_REQUESTS)
    await until(lambda: small.models.keys() == {"tiny"})
    await until(lambda: len(small.told("shape-dropped")) == 1)
    assert small.deployer.deployments.keys() == {"tiny"}


async def test_a_size_too_large_for_this_machine_is_left_to_the_nearest_plan(
    small: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shape_watch, "MOST_TENSOR_BYTES", 1 << 15)
    requests = Requests(small)
    await until_looked_at(small)
    requests.serve("tiny", LARGE, 60)
    known = small.service.decide.shapes._asked
    await until(lambda: known["tiny"].refused == {(("image", LARGE),)})
    assert small.models.keys() == {"tiny"}


async def test_sizes_that_the_same_plan_serves_best_are_not_planned_for(
    small: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shape_watch, "gain_at", lambda *_args, **_limits: 0.009)
    requests = Requests(small)
    await until_looked_at(small)
    requests.serve("tiny", LARGE, 60)
    known = small.service.decide.shapes._asked
    await until(lambda: str((("image", LARGE),)) in known["tiny"].gains)
    assert known["tiny"].since_s is None
    assert small.models.keys() == {"tiny"}


async def test_a_shape_whose_plan_saves_little_goes_and_does_not_come_back(
    small: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shape_watch, "IDLE_AFTER_S", 0.05)
    monkeypatch.setattr(shape_watch, "WEIGH_AGAIN_S", 0.0)
    requests = Requests(small)
    await until_looked_at(small)
    requests.serve("tiny", LARGE, 60)
    # The fake nodes compute both shapes alike, so that the plan for small images serves large ones as well.
    await until(lambda: [event.data["shape"] for event in small.told("shape-dropped")] == ["tiny@2"])
    assert "saves requests too little" in small.told("shape-dropped")[0].text
    requests.serve("tiny", LARGE, 600)
    known = small.service.decide.shapes._asked["tiny"]
    await until(lambda: known.shapes.recent.total() == 660)
    assert known.shapes.candidates({"tiny": small.models["tiny"].inputs}, known.refused) == []
    assert small.models.keys() == {"tiny"}
