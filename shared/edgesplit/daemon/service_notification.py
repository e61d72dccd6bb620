"""Service notification: systemd's sd_notify protocol and its watchdog.

Owns: datagrams to `$NOTIFY_SOCKET` and the reading of `$WATCHDOG_USEC`. Its rule: without a service manager every call
does nothing, and a lost notification never stops the daemon. Not here: what ready means, which
each daemon decides.

References:
    sd_notify(3) and sd_watchdog_enabled(3), systemd manual pages.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping

__all__ = ["BROKER_PATIENCE_S", "Notifier", "ping_watchdog"]

BROKER_PATIENCE_S = 5.0
"""Whoever starts services waits so long for a daemon's broker at most: it may be set up later. [s]"""


class Notifier:
    """Sends a daemon's state to the service manager.

    Args:
        environment: Where `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` are looked up; the process's by default.
        process: Number of this process, which `WATCHDOG_PID` must name where it is set.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, process: int | None = None) -> None:
        values = os.environ if environment is None else environment
        address = values.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the abstract namespace, which the kernel spells with a zero byte.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_interval_s = _watchdog_interval_s(values, os.getpid() if process is None else process)

    @property
    def watchdog_interval_s(self) -> float | None:
        """How often `ping` should be called, half of what the manager allows; None without a watchdog. [s]"""
        return self._watchdog_interval_s

    def ready(self, text: str = "") -> None:
        """Say that the daemon serves now."""
        self._send("READY=1" + (f"\nSTATUS={_one_line(text)}" if text else ""))

    def ping(self) -> None:
        """Say that the daemon's loop still turns."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Show a sentence in `systemctl status`."""
        self._send(f"STATUS={_one_line(text)}")

    def stopping(self) -> None:
        """Say that the daemon is going down on purpose."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto(message.encode(), self._address)
        except OSError:
            # The manager is restarting or its queue is full; the next message says the same or more.
            return


async def ping_watchdog(notifier: Notifier) -> None:
    """Say that the event loop turns, for ever where the service manager wants to hear it: a stuck one is restarted."""
    interval_s = notifier.watchdog_interval_s
    while interval_s is not None:
        notifier.ping()
        await asyncio.sleep(interval_s)


def _watchdog_interval_s(values: Mapping[str, str], process: int) -> float | None:
    allowed = values.get("WATCHDOG_USEC", "")
    meant_for = values.get("WATCHDOG_PID", "")
    if not allowed.isdigit() or int(allowed) == 0 or (meant_for and meant_for != str(process)):
        return None
    return int(allowed) / 2e6


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
