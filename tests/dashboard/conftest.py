"""A running controller with a dashboard, and a browser's way of asking it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.controller.fleet import Fleet


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Fleet]:
    """A fleet that nobody has to prove anything to, with a dashboard."""
    running = Fleet(tmp_path, dashboard="127.0.0.1:0")
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """One whose controller has no dashboard."""
    running = Fleet(tmp_path / "plain")
    await running.start()
    yield running
    await running.stop()
