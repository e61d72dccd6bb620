"""Models are deployable in float at once; int8, noise and codecs follow in the background."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgesplit.operations.event_operations import ListEvents
from edgesplit.operations.model_operations import ListModels, RemoveModel, ShowModel
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit.retrying import RetryRule
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.background_completion import BackgroundCompletion
from edgesplit_controller.models.intake.intake_process import Told, overall
from edgesplit_controller.models.intake.stages import completed, first_record
from edgesplit_controller.models.intake_messages import (
    CompletionRequest,
    IntakeDone,
    IntakeFailed,
    IntakeMessage,
    IntakeProgress,
    IntakeRequest,
)
from edgesplit_controller.models.intake_runs import Tell, run_in_process
from edgesplit_controller.models.model_record import Manifest, calibration_of, write_record
from edgesplit_controller.models.submission import Submission
from tests.controller.fleet import Fleet, in_a_thread
from tests.controller.tiny_models import convolutions
from tests.waiting import until, until_answered


class Gate:
    """Completions that wait until they may, and may fail."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.failures: list[IntakeFailed] = []
        self.tries = 0

    async def run(self, request: IntakeRequest, tell: Tell) -> IntakeDone | IntakeFailed:
        if not isinstance(request, CompletionRequest):
            return await in_a_thread(request, tell)
        self.tries += 1
        tell(IntakeProgress(what="modelling the noise", fraction=0.25))
        if self.failures:
            return self.failures.pop(0)
        await self.open.wait()
        return await in_a_thread(request, tell)


@pytest.fixture
async def gated(tmp_path: Path) -> AsyncIterator[tuple[Fleet, Gate]]:
    gate = Gate()
    fleet = Fleet(tmp_path, gate.run)
    await fleet.start()
    yield fleet, gate
    await fleet.stop()


async def shown(fleet: Fleet) -> dict[str, Any]:
    document: dict[str, Any] = await fleet.client.ask(ShowModel(name="tiny"))
    return document


async def until_complete(fleet: Fleet) -> dict[str, Any]:
    async def document() -> dict[str, Any] | None:
        now = await shown(fleet)
        return now if now["stage"] == "complete" and now["completion"] is None else None

    return await until_answered(document, "the model's completion")


async def test_a_model_serves_in_float_before_int8_is_known_and_is_planned_again_once_it_is(
    gated: tuple[Fleet, Gate],
) -> None:
    fleet, gate = gated
    added = await fleet.client.add("tiny", convolutions(), wait="ready")
    assert (added["stage"], added["noise_model"], added["codecs"], added["quantizable"]) == ("float", None, None, [])
    assert sorted(added["profiled"]) == ["cloud", "device", "edge"]
    await fleet.client.ask(DeployModel(name="tiny", source="device"))
    served = fleet.plan("tiny")
    document = await shown(fleet)
    assert (document["completion"]["what"], document["completion"]["fraction"]) == ("modelling the noise", 0.25)
    assert document["completion"]["left_s"] is not None
    told = fleet.told("model-completing")[-1]
    assert (told.model, told.data["percent"]) == ("tiny", 25.0)

    units, record = document["units"], fleet.models["tiny"]
    gate.open.set()
    document = await until_complete(fleet)
    assert (document["units"], document["quantizable"]) == (units, ["conv0", "conv1", "conv2", "conv3"])
    assert document["noise_model"]["r2_test"] > 0
    after = fleet.models["tiny"]
    assert after.fits(served.version), "a plan of the float model is one of the completed model, too"
    assert not record.fits(after.version)
    assert after.manifest.offer.float_graph == record.manifest.offer.float_graph, "nodes need not time it again"
    assert len(fleet.told("model-completed")) == 1

    async def planned_again() -> bool:
        reason = (await fleet.client.ask(ShowPlan(name="tiny")))["reason"]
        return "int8 is available now" in reason

    await until_answered(planned_again, "a plan that may use int8")


async def test_what_fails_for_a_passing_reason_is_tried_again_and_says_why(
    gated: tuple[Fleet, Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, gate = gated
    gate.failures = [IntakeFailed(reason="no room left", passing=True)]
    monkeypatch.setattr("edgesplit_controller.models.background_completion.AGAIN", RetryRule(first_s=0.01, most_s=0.01))
    await fleet.client.add("tiny", convolutions(2), wait="ready")
    await until(lambda: gate.tries == 2)
    completion = (await shown(fleet))["completion"]
    assert (completion["reason"], completion["attempts"]) == ("no room left", 1)
    (event,) = fleet.told("completion-failing")
    assert (event.level, "no room left" in event.text) == ("warning", True)
    gate.open.set()
    assert (await until_complete(fleet))["quantizable"]


async def test_what_fails_for_good_leaves_the_model_in_float_and_says_why(gated: tuple[Fleet, Gate]) -> None:
    fleet, gate = gated
    gate.failures = [IntakeFailed(reason="its metric is no number", passing=False)]
    await fleet.client.add("tiny", convolutions(2), wait="ready")
    document = await until_complete(fleet)
    assert document["quantizable"] == []
    assert any("not offered: its metric is no number" in text for text in document["warnings"])
    assert gate.tries == 1


async def test_a_process_that_dies_again_and_again_is_the_models_fault(
    gated: tuple[Fleet, Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, gate = gated
    gate.failures = [IntakeFailed(reason="it was ended by signal 9", passing=True, died=True)] * 3
    monkeypatch.setattr("edgesplit_controller.models.background_completion.AGAIN", RetryRule(first_s=0.01, most_s=0.01))
    await fleet.client.add("tiny", convolutions(2), wait="ready")
    document = await until_complete(fleet)
    assert (gate.tries, document["quantizable"]) == (3, [])


async def test_a_controller_that_restarts_begins_again_with_the_samples_it_was_given(
    gated: tuple[Fleet, Gate],
) -> None:
    fleet, gate = gated
    samples = io.BytesIO()
    np.savez(samples, image=np.random.default_rng(1).random((8, 3, 16, 16), np.float32))
    calibration = await fleet.client.upload(samples.getvalue())
    await fleet.client.add("tiny", convolutions(2), wait="ready", calibration=calibration)
    folder = fleet.store.path / "models" / "tiny"
    assert calibration_of(folder) is not None
    await fleet.stop_controller()
    await fleet.start_controller()
    await until(lambda: gate.tries == 2)
    gate.open.set()
    document = await until_complete(fleet)
    assert document["noise_model"]["patterns"] > 0
    assert document["warnings"] == []
    assert fleet.models["tiny"].manifest.calibration == "user"
    assert calibration_of(folder) is None


async def test_a_removed_or_replaced_model_is_not_completed(gated: tuple[Fleet, Gate]) -> None:
    fleet, gate = gated
    await fleet.client.add("tiny", convolutions(2), wait="ready")
    await fleet.client.add("tiny", convolutions(3), wait="ready", replace=True)
    await until(lambda: gate.tries == 2)
    assert len(fleet.told("model-completed")) == 0
    await fleet.client.ask(RemoveModel(name="tiny"))
    gate.open.set()
    assert await fleet.client.ask(ListModels()) == []
    assert not fleet.service.known.catalog.completion("tiny")
    kinds = {event["kind"] for event in await fleet.client.ask(ListEvents(limit=1000))}
    assert "model-completed" not in kinds


async def test_models_are_completed_one_at_a_time() -> None:
    running: list[str] = []
    most = 0
    go_on = asyncio.Event()

    async def run(request: IntakeRequest, _tell: Tell) -> IntakeDone:
        nonlocal most
        assert isinstance(request, CompletionRequest)
        running.append(request.folder)
        most = max(most, len(running))
        await go_on.wait()
        running.remove(request.folder)
        return IntakeDone()

    async def nothing(*_: object) -> None:
        pass

    completion = BackgroundCompletion(run)
    for name in "ab":
        completion.start(
            name, CompletionRequest(folder=name, blobs="", metrics=(), result=""), nothing, lambda _: nothing()
        )
    await until(lambda: bool(running))
    row = completion.row("b")
    assert row is not None
    assert row.what == "waiting for its turn"
    go_on.set()
    await completion.ended("b")
    assert (most, completion.under_way) == (1, False)


def stored(folder: Path) -> CompletionRequest:
    """A model of the first stage on disk, and the request to complete it."""
    file = folder / "upload"
    file.write_bytes(convolutions(2))
    blobs = BlobStore(folder / "blobs")
    record = first_record(Submission("tiny", file, {}, None, 2, ()), blobs, lambda _text, _done: None)
    write_record(folder / "model", record)
    return CompletionRequest(
        folder=str(folder / "model"), blobs=str(blobs.folder), metrics=(), result=str(folder / "result.json")
    )


async def test_a_process_of_its_own_completes_a_model_and_says_how_far_it_is(tmp_path: Path) -> None:
    request = stored(tmp_path)
    told: list[IntakeProgress] = []
    assert await run_in_process(request, told.append) == IntakeDone()
    manifest = msgspec.json.decode(Path(request.result).read_bytes(), type=Manifest)
    assert (manifest.stage, manifest.quantizable) == ("complete", ("conv0", "conv1"))
    assert {"calibrating", "measuring wire codecs"} <= {message.what for message in told}
    fractions = [message.fraction for message in told]
    assert fractions == sorted(fractions, key=lambda fraction: fraction or 0.0)


async def test_a_completion_that_is_cancelled_ends_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = stored(tmp_path)
    pids: list[int] = []
    begin = asyncio.create_subprocess_exec

    async def begun(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        process = await begin(*arguments, **options)
        pids.append(process.pid)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", begun)
    task = asyncio.create_task(run_in_process(request, lambda _: None))
    await until(lambda: bool(pids))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


async def test_a_record_that_is_gone_is_not_tried_again(tmp_path: Path) -> None:
    request = msgspec.structs.replace(stored(tmp_path), folder=str(tmp_path / "elsewhere"))
    assert await run_in_process(request, lambda _: None) == IntakeFailed(
        reason="its record is gone", passing=False, code="unknown-model"
    )


def test_both_stages_have_the_same_units_and_the_same_float_graph(tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(convolutions())
    blobs = BlobStore(tmp_path / "blobs")
    first = first_record(Submission("tiny", file, {}, None, 3, ()), blobs, lambda _text, _done: None)
    done = completed(first, None, (), blobs, lambda _text, _done: None)
    assert (first.manifest.stage, first.manifest.quantizable) == ("float", ())
    assert done.manifest.quantizable == first.manifest.candidates
    assert len(first.manifest.candidates) == 3
    assert done.graph.units == first.graph.units
    assert done.manifest.offer.float_graph == first.manifest.offer.float_graph
    assert done.fits(first.version)
    assert not first.fits(done.version)


def test_progress_covers_all_steps_and_never_goes_back() -> None:
    said: list[IntakeMessage] = []
    tell = Told(said.append, overall)
    for text, fraction in (("calibrating", None), ("modelling the noise", 0.0), ("measuring wire codecs", 0.0)):
        tell(text, fraction)
    steps = [message for message in said if isinstance(message, IntakeProgress)]
    assert [step.what for step in steps] == ["calibrating", "modelling the noise", "measuring wire codecs"]
    assert [step.fraction for step in steps] == sorted((step.fraction or 0.0) for step in steps)
    assert overall("preparing the graphs that nodes profile", 1.0) == 1.0
