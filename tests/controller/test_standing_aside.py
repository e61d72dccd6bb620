"""No completion has memory beside a process that makes a model's records: which of the two waits, and what begins again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgesplit.errors import EdgesplitError
from edgesplit.operations.model_operations import ShowModel
from edgesplit_controller.models.background_completion import BackgroundCompletion
from edgesplit_controller.models.intake_messages import CompletionRequest, IntakeDone, IntakeFailed, IntakeRequest
from edgesplit_controller.models.intake_runs import Tell
from tests.controller.fleet import Fleet, in_a_thread
from tests.controller.tiny_models import convolutions
from tests.waiting import until, until_answered


class Order:
    """Processes in the order in which they begin and end; completions wait until they may go on."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.open = asyncio.Event()

    async def run(self, request: IntakeRequest, tell: Tell) -> IntakeDone | IntakeFailed:
        if not isinstance(request, CompletionRequest):
            self.steps.append("first stage")
            ended = await in_a_thread(request, tell)
            self.steps.append("refused" if isinstance(ended, IntakeFailed) else "made")
            return ended
        name = Path(request.folder).name
        self.steps.append(f"{name} begins")
        try:
            await self.open.wait()
            return await in_a_thread(request, tell)
        finally:
            self.steps.append(f"{name} ends")


@pytest.fixture
async def ordered(tmp_path: Path) -> AsyncIterator[tuple[Fleet, Order]]:
    order = Order()
    fleet = Fleet(tmp_path, order.run)
    await fleet.start()
    await fleet.client.add("tiny", convolutions(2), wait="ready")
    await until(lambda: order.steps[-1:] == ["tiny begins"])
    order.steps.clear()
    yield fleet, order
    await fleet.stop()


async def until_complete(fleet: Fleet, name: str) -> None:
    async def done() -> bool:
        document = await fleet.client.ask(ShowModel(name=name))
        return document["stage"] == "complete" and document["completion"] is None

    await until_answered(done, f"the completion of {name}")


async def test_replacing_a_model_ends_its_completion_before_the_first_stage_begins(
    ordered: tuple[Fleet, Order],
) -> None:
    fleet, order = ordered
    await fleet.client.add("tiny", convolutions(3), wait="ready", replace=True)
    await until(lambda: order.steps[-1] == "tiny begins")
    assert order.steps == ["tiny ends", "first stage", "made", "tiny begins"]
    order.open.set()
    await until_complete(fleet, "tiny")
    assert len(fleet.models["tiny"].manifest.candidates) == 3


async def test_the_completion_begins_again_where_what_should_replace_its_model_is_refused(
    ordered: tuple[Fleet, Order],
) -> None:
    fleet, order = ordered
    with pytest.raises(EdgesplitError):
        await fleet.client.add("tiny", b"no model", wait="ready", replace=True)
    await until(lambda: order.steps[-1] == "tiny begins")
    assert order.steps == ["tiny ends", "first stage", "refused", "tiny begins"]
    order.open.set()
    await until_complete(fleet, "tiny")
    assert len(fleet.models["tiny"].manifest.candidates) == 2


async def test_a_models_completion_stands_aside_for_another_models_first_stage_and_keeps_its_turn(
    ordered: tuple[Fleet, Order],
) -> None:
    fleet, order = ordered
    await fleet.client.add("other", convolutions(3), wait="ready")
    await until(lambda: order.steps[-1] == "tiny begins")
    assert order.steps == ["tiny ends", "first stage", "made", "tiny begins"]
    order.open.set()
    await until_complete(fleet, "other")
    await until_complete(fleet, "tiny")
    assert order.steps[4:] == ["tiny ends", "other begins", "other ends"]


async def test_a_model_whose_upload_is_missing_disturbs_no_completion(ordered: tuple[Fleet, Order]) -> None:
    fleet, order = ordered
    with pytest.raises(EdgesplitError):
        await fleet.client.add("tiny", convolutions(3), wait="ready", replace=True, calibration="0" * 64)
    assert order.steps == []


class Turns:
    """Completions that run until they may end."""

    def __init__(self) -> None:
        self.running = 0
        self.begun = 0
        self.go_on = asyncio.Event()
        self.completion = BackgroundCompletion(self.run)

    async def run(self, _request: IntakeRequest, _tell: Tell) -> IntakeDone:
        self.running += 1
        self.begun += 1
        try:
            await self.go_on.wait()
        finally:
            self.running -= 1
        return IntakeDone()

    def start(self, model: str) -> None:
        async def nothing(*_: object) -> None:
            pass

        request = CompletionRequest(folder=model, blobs="", metrics=(), result="")
        self.completion.start(model, request, nothing, nothing)


async def test_what_nobody_waits_for_has_its_turn_between_completions() -> None:
    turns = Turns()
    turns.start("a")
    await until(lambda: turns.running == 1)

    async def between() -> int:
        async with turns.completion.between():
            turns.start("b")
            await asyncio.sleep(0)
            return turns.running

    task = asyncio.create_task(between())
    await asyncio.sleep(0)
    assert not task.done(), "it ends no completion"
    turns.go_on.set()
    assert await task == 0
    await turns.completion.ended("b")
    assert turns.begun == 2


async def test_several_first_stages_hold_completions_back_until_the_last_of_them_ends() -> None:
    turns = Turns()
    async with turns.completion.standing_aside():
        async with turns.completion.standing_aside():
            turns.start("a")
            await asyncio.sleep(0)
        row = turns.completion.row("a")
        assert (turns.begun, row is not None) == (0, True)
    await until(lambda: turns.running == 1)
    async with turns.completion.standing_aside():
        assert turns.running == 0
    await until(lambda: turns.running == 1)
    assert turns.begun == 2
    await turns.completion.close()


async def test_a_completion_that_was_removed_while_it_stood_aside_does_not_begin_again() -> None:
    turns = Turns()
    turns.start("a")
    await until(lambda: turns.running == 1)
    async with turns.completion.standing_aside():
        turns.completion.cancel("a")
    await turns.completion.close()
    assert (turns.running, turns.begun, turns.completion.under_way) == (0, 1, False)
