"""Waiting for a condition with a deadline: the one place where tests poll.

Its rule: a deadline only ends what hangs and is generous, because time decides nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

__all__ = ["blocking_until", "let_others_run", "until", "until_answered"]

T = TypeVar("T")
WITHIN_S = 60.0
POLL_S = 0.005


async def until(
    condition: Callable[[], T | None], what: str = "what the test waits for", *, within_s: float = WITHIN_S
) -> T:
    """What a condition says as soon as it is true; whatever runs on the loop goes on meanwhile.

    Args:
        condition: Asked again and again.
        what: What is waited for, in a failure's sentence.
        within_s: After this the test fails. [s]
    """

    async def ask() -> T | None:
        return condition()

    return await until_answered(ask, what, within_s=within_s)


async def until_answered(
    ask: Callable[[], Awaitable[T | None]], what: str, *, within_s: float = WITHIN_S, poll_s: float = POLL_S
) -> T:
    """As `until`, where the condition has to be awaited."""
    try:
        async with asyncio.timeout(within_s):
            while not (answer := await ask()):
                await asyncio.sleep(poll_s)  # sockets and threads give no event that a test could await
            return answer
    except TimeoutError:
        pytest.fail(f"{what} did not happen within {within_s:g} s")


def blocking_until(
    condition: Callable[[], T | None],
    what: str,
    *,
    within_s: float = WITHIN_S,
    poll_s: float = 10 * POLL_S,
    instead: Callable[[], object] | None = None,
) -> T:
    """As `until`, where there is no loop and other processes are waited for.

    Args:
        condition: Asked again and again.
        what: What is waited for, in a failure's sentence.
        within_s: After this the test fails. [s]
        poll_s: Between two questions. [s]
        instead: Asked when the time is over for what happened in its place, which the failure then tells.
    """
    deadline_s = time.monotonic() + within_s
    while not (answer := condition()):
        if time.monotonic() > deadline_s:
            seen = f"; instead: {instead()}" if instead is not None else ""
            pytest.fail(f"{what} did not happen within {within_s:g} s{seen}")
        time.sleep(poll_s)  # other processes give no event that a test could await
    return answer


async def let_others_run() -> None:
    """Let tasks that were just created run to their first wait; no time passes."""
    await asyncio.sleep(0)  # a turn of the loop, not a time
