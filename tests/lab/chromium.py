"""Headless Chromium over its DevTools protocol: a page opened at a width and colour scheme, asked and pictured."""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.waiting import until, until_answered

__all__ = ["BINARY", "Tab", "opened"]

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Tab:
    """One page; `complaints` is what it said on its console, and what failed to load."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []
        self._loaded = False

    async def command(self, method: str, **parameters: object) -> dict[str, Any]:
        """Ask, and wait for the answer; events meanwhile are noted."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=60)
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    async def load(self, path: Path, width: int, *, dark: bool) -> None:
        """Open a file at a width, in a colour scheme."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.command(f"{domain}.enable")
        await self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = "dark" if dark else "light"
        await self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._loaded = False
        await self.command("Page.navigate", url=path.resolve().as_uri())
        while not self._loaded:
            self._note(await self._socket.receive_json(timeout=60))

    async def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = await self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def picture(self, path: Path, *, top: int = 0, height: int | None = None) -> None:
        """A PNG of the page, or of a stretch of it."""
        whole = await self.ask("document.documentElement.scrollHeight")
        width = await self.ask("document.documentElement.clientWidth")
        clip = {"x": 0, "y": top, "width": width, "height": min(height or whole, whole - top), "scale": 1}
        answer = await self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        kind, told = message.get("method"), message.get("params", {})
        if kind == "Page.loadEventFired":
            self._loaded = True
        elif kind == "Runtime.exceptionThrown" or (kind == "Log.entryAdded" and told["entry"]["level"] == "error"):
            self.complaints.append(str(told))
        elif kind == "Runtime.consoleAPICalled" and told["type"] in {"error", "assert"}:
            self.complaints.append(str(told["args"]))
        elif kind == "Network.loadingFailed":
            self.complaints.append(f"not loaded: {told.get('errorText')}")
        elif kind == "Network.requestWillBeSent" and not told["request"]["url"].startswith(("file:", "data:")):
            self.complaints.append(f"asked for {told['request']['url'][:200]}")


@asynccontextmanager
async def opened() -> AsyncIterator[Tab]:
    """A Chromium of its own with one tab."""
    assert BINARY is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            BINARY, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
            "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with aiohttp.ClientSession() as session:
                tab = await _first_tab(session, Path(folder) / "DevToolsActivePort")
                async with session.ws_connect(tab, max_msg_size=0) as socket:
                    yield Tab(socket)
        finally:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _first_tab(session: aiohttp.ClientSession, port_file: Path) -> str:
    def port() -> str | None:
        lines = port_file.read_text().splitlines() if port_file.exists() else []
        return lines[0] if len(lines) > 1 else None

    async def tab() -> str | None:
        async with session.get(f"http://127.0.0.1:{found}/json/list") as answer:
            tabs = [entry for entry in await answer.json() if entry["type"] == "page"]
        return str(tabs[0]["webSocketDebuggerUrl"]) if tabs else None

    found = await until(port, "Chromium's start", within_s=90)
    return await until_answered(tab, "Chromium's first tab")
