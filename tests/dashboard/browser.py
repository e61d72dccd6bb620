"""What a page of the dashboard does, in a few lines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from tests.controller.fleet import Fleet

MARK = {"X-Edgesplit": "dashboard"}


def base_of(fleet: Fleet) -> str:
    """Where its dashboard is."""
    assert fleet.service.dashboard is not None
    return fleet.service.dashboard.base


class Browser:
    """One page; an async context manager."""

    def __init__(self, base: str) -> None:
        self.base = base

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """Status and document."""
        async with self.session.get(self.base + path, headers=headers) as response:
            content = await response.read()
            return response.status, msgspec.json.decode(content) if response.content_type.endswith("json") else content

    async def ask(self, operation: object) -> list[Any]:
        """Replies to an operation."""
        async with self.session.post(
            f"{self.base}/api/operations", data=msgspec.json.encode(operation), headers=MARK
        ) as response:
            assert response.status == 200, await response.text()
            return [msgspec.json.decode(line) for line in (await response.read()).splitlines()]

    async def sign_in(self, ticket: str) -> int:
        """The status of what comes of it."""
        async with self.session.post(
            f"{self.base}/api/session", data=msgspec.json.encode({"ticket": ticket}), headers=MARK
        ) as response:
            return response.status

    @contextlib.asynccontextmanager
    async def listening(self, **headers: str) -> AsyncIterator[Messages]:
        """The stream."""
        async with self.session.get(
            f"{self.base}/api/stream", headers=headers, timeout=aiohttp.ClientTimeout(total=None)
        ) as response:
            assert response.status == 200, await response.text()
            yield Messages(response)


class Messages:
    """What a stream tells, one message at a time."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.last_id = ""

    async def next(self, kind: str = "") -> tuple[str, Any]:
        """The next message, or the next of a kind; asyncio.IncompleteReadError at the end."""
        async with asyncio.timeout(30):
            while True:
                fields: dict[str, str] = {}
                while (line := (await self._line())) != "":
                    name, _, value = line.partition(": ")
                    fields[name] = value
                self.last_id = fields.get("id", self.last_id)
                if "event" in fields and kind in {"", fields["event"]}:
                    return fields["event"], msgspec.json.decode(fields["data"])

    async def _line(self) -> str:
        line = await self.response.content.readuntil(b"\n")
        if not line.endswith(b"\n"):
            raise asyncio.IncompleteReadError(line, None)
        return line.decode().removesuffix("\n")

    async def until(self, *kinds: str) -> dict[str, Any]:
        """Messages until each of these kinds came, the last of each."""
        found: dict[str, Any] = {}
        while not set(kinds) <= found.keys():
            kind, document = await self.next()
            found[kind] = document
        return found
