"""A script of 40 s on the testbed: one rate falls, edgesplit answers, nothing is lost, and everything is as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.end_to_end.subjects import Subject, from_zoo
from lab.dynamics.comparison import Comparison, dynamic_runs
from lab.dynamics.conditions import Wanted
from lab.dynamics.hands import found_conditions
from lab.dynamics.outcome.reaction import lost
from lab.dynamics.script import script_of
from lab.scenarios.scenario import RateChange
from lab.testbed.requirements import unavailable
from lab.testbed.testbed import Testbed

SCRIPT = script_of([RateChange(at_s=10, ends=("device", "cloud"), bytes_per_s=2e5)], 40.0)
WANTED = Wanted(max_noise=0.0)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Testbed, Subject]]:
    if reason := unavailable():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("played")
    (subject,) = from_zoo({"yolo_seg": {"scale": 0.25, "size": 320}}, folder)
    with Testbed(folder / "testbed") as testbed:
        testbed.fleet.await_nodes()
        added = ("model", "add", "--wait", "all", subject.name, str(subject.path), "--max-quantizable", "0")
        testbed.fleet.splitctl(*added, timeout_s=280.0)
        yield testbed, subject


@pytest.mark.root
@pytest.mark.timeout(600)
def test_a_rate_that_falls_is_answered_without_a_lost_request(stage: tuple[Testbed, Subject], tmp_path: Path) -> None:
    testbed, subject = stage
    before = found_conditions(testbed, WANTED)
    comparison = Comparison(testbed, subject.name, subject.request, SCRIPT, tmp_path, wanted=WANTED)
    played = list(comparison.play(["oracle", "edgesplit", "static:split"]))
    edgesplit, oracle, static = dynamic_runs(played, SCRIPT, WANTED)
    assert [run.strategy for run in (edgesplit, oracle, static)] == ["edgesplit", "oracle", "static:split"]
    assert [lost(run.requests) for run in (edgesplit, oracle, static)] == [0, 0, 0]
    (reaction,) = edgesplit.reactions
    assert not reaction.oracle_stays
    assert reaction.noticed_s is not None
    assert reaction.switched_s is not None
    assert len(oracle.oracle_s) == 2
    assert len({request.epoch for request in static.requests}) == 1
    assert all(run.energy for run in (edgesplit, oracle, static))
    assert found_conditions(testbed, WANTED) == before
