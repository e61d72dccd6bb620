"""An MQTT broker inside the controller's process, for the one-machine demo and for tests.

Owns: an amqtt broker on a thread and an event loop of its own, so that a busy controller does not delay messages. Its
rule: anonymous, loopback-sized, no persistence: what is retained dies with the process. Not here: production brokers;
a fleet uses Mosquitto or a clustered one.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import socket
import threading
from typing import Any

from edgesplit.errors import BrokerUnreachable, InvalidConfiguration
from edgesplit.mqtt.broker_address import BrokerAddress

__all__ = ["EmbeddedBroker"]

STOP_TIMEOUT_S = 3.0
START_TIMEOUT_S = 15.0


class EmbeddedBroker:
    """An MQTT 3.1.1 broker: retained messages, last wills, QoS 1, anyone may connect.

    Use it as a context manager, or call `start` and `stop`.

    Args:
        url: Where it listens, `mqtt://host:port`.

    Raises:
        InvalidConfiguration: The URL asks for TLS or a password, which this broker does not offer.
    """

    def __init__(self, url: str) -> None:
        address = BrokerAddress.parse(url)
        if address.tls or address.user is not None:
            raise InvalidConfiguration(
                f"the embedded broker offers neither TLS nor passwords: use mqtt://{address.host}:{address.port}, "
                "or run a broker of your own"
            )
        self._address = address
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"mqtt://{self._address.host}:{self._address.port}"

    def start(self) -> None:
        """Start and return once it accepts connections.

        Raises:
            InvalidConfiguration: amqtt is not installed.
            BrokerUnreachable: The address cannot be listened on.
        """
        _require_amqtt()
        self._require_free_port()
        self._thread = threading.Thread(target=self._run, name="embedded-broker", daemon=True)
        self._thread.start()
        if not self._started.wait(START_TIMEOUT_S):
            raise BrokerUnreachable(f"the embedded broker did not start at {self.url} within {START_TIMEOUT_S:g} s")
        if self._failure is not None:
            raise BrokerUnreachable(f"the embedded broker cannot listen at {self.url}: {self._failure}")

    def stop(self) -> None:
        """Disconnect everybody and stop; returns when the port is free."""
        if self._loop is not None and self._stop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(timeout=START_TIMEOUT_S)
            self._thread = None

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _require_free_port(self) -> None:
        # amqtt logs a failed bind with a stack trace of its own; trying first keeps it to one sentence.
        try:
            with socket.create_server((self._address.host, self._address.port)):
                return
        except OSError as error:
            raise BrokerUnreachable(
                f"the embedded broker cannot listen at {self.url}: {error.strerror or error}; "
                "stop what uses the port, or name another in [broker] url"
            ) from error

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            # amqtt leaves tasks behind that complain about their own cancellation when the loop closes.
            self._loop.set_exception_handler(lambda _loop, _context: None)
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        try:
            # amqtt is an extra, and heavy: nothing of it is imported before somebody wants a broker.
            from edgesplit_controller.broker.prompt_broker import make_broker  # noqa: PLC0415

            for name in ("amqtt", "transitions"):
                # Every packet is a log line at INFO, and every lost client one at WARNING.
                logging.getLogger(name).setLevel(logging.CRITICAL)
            broker = make_broker(_configuration(f"{self._address.host}:{self._address.port}"))
            await broker.start()
        except Exception as error:
            self._failure = error.__cause__ or error
            return
        finally:
            self._started.set()
        await self._stop.wait()
        # amqtt may wait for a client that does not answer; ending the loop cuts it off.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await broker.shutdown()


def _require_amqtt() -> None:
    if importlib.util.find_spec("amqtt") is None:
        raise InvalidConfiguration(
            "the embedded broker needs amqtt: install edgesplit[demo], or set [broker] embedded = false"
        )


def _configuration(bind: str) -> dict[str, Any]:
    return {
        "listeners": {"default": {"type": "tcp", "bind": bind}},
        # [MQTT-3.1.2-24]: one and a half times the keep-alive; the bus's is 5 s.
        "timeout_disconnect_delay": 3,
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
