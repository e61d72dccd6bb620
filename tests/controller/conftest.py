"""What the tests of a running controller start with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.controller.fleet import Fleet


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Up, with no model."""
    running = Fleet(tmp_path)
    await running.start()
    yield running
    await running.stop()
