"""Handshake of whoever connects.

Owns: waiting for it. Its rule: whoever waits says how long. Not here: the steps (`secured/secure_socket.py`), handshakes of strangers
(`secured/reception.py`).
"""

from __future__ import annotations

import asyncio

from edgesplit.wire.secured.secure_socket import HandshakeStep, SecureSocket

__all__ = ["shake_hands"]


async def shake_hands(secure: SecureSocket) -> None:
    """Return once both sides have keys; the other may still refuse this one's certificate, which the first read tells.

    Raises:
        ssl.SSLError: It failed.
        OSError: The connection is of no use.
    """
    loop = asyncio.get_running_loop()
    while (wanted := secure.shake_hands()) is not HandshakeStep.NOTHING:
        ready: asyncio.Future[None] = loop.create_future()
        watch, leave = (
            (loop.add_reader, loop.remove_reader)
            if wanted is HandshakeStep.READ
            else (loop.add_writer, loop.remove_writer)
        )
        watch(secure, _settle, ready)
        try:
            await ready
        finally:
            leave(secure)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
