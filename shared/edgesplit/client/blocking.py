"""The blocking client, for programs without an event loop.

Owns: `connect` and what it returns. Its rule: whichever thread calls, a request returns its outputs or raises; a
quick one costs no hand-over between threads. Not here: the connection and what is said on it (`client/asynchronous.py`), which
thread carries it (`client/loop_driver.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from edgesplit.client.asynchronous import AsyncClient, InferResult
from edgesplit.client.loop_driver import LoopDriver
from edgesplit.client.proof import ClientProof
from edgesplit.errors import NodeUnreachable
from edgesplit.wire.tensors import Array

__all__ = ["Client", "connect"]

PATIENCE_S = 0.002
"""How long a call waits for its answer before the event loop runs: no other thread's call begins meanwhile. [s]"""


class Client:
    """Requests to one agent, for programs without an event loop; safe to use from several threads.

    Made by `connect`. A thread that has it to itself carries the connection as long as a call lasts; for several at a
    time, and for `submit`, a background thread does.
    """

    def __init__(
        self, address: str, *, timeout_s: float = 5.0, patience_s: float = 0.0, proof: ClientProof | None = None
    ) -> None:
        self._driver = LoopDriver("edgesplit-client")
        self._closed = False
        try:
            self._client = self._driver.run(_connected(address, timeout_s, patience_s, proof or ClientProof()))
        except BaseException:
            self._stop()
            raise

    @property
    def node(self) -> str:
        """Name of the agent."""
        return self._client.node

    def infer(self, model: str, inputs: Mapping[str, Array], *, deadline_s: float | None = None) -> dict[str, Array]:
        """Outputs of `model` by ONNX name; raises as `AsyncClient.infer_detailed`."""
        return self.infer_detailed(model, inputs, deadline_s=deadline_s).outputs

    def infer_detailed(
        self, model: str, inputs: Mapping[str, Array], *, deadline_s: float | None = None
    ) -> InferResult:
        """Outputs with their epoch and latency; raises as `AsyncClient.infer_detailed`."""
        self._check_open()
        call = self._client.prepare(model, inputs, deadline_s=deadline_s)
        try:
            with self._driver.standing_still() as alone:
                result = self._client.hasten(call, PATIENCE_S) if alone else None
            return result or self._driver.run(self._client.complete(call))
        finally:
            if self._client.unsent:
                self._driver.go_on()

    def submit(
        self, model: str, inputs: Mapping[str, Array], *, deadline_s: float | None = None
    ) -> Future[dict[str, Array]]:
        """Start a request and return at once; inputs must not be changed until it is done.

        `cancel()` of the future has the agent stop working on it.
        """
        self._check_open()
        return self._driver.start(self._client.infer(model, inputs, deadline_s=deadline_s))

    def close(self) -> None:
        """Disconnect; requests in flight fail with NodeUnreachable."""
        if not self._closed:
            self._closed = True
            self._driver.run(self._client.close())
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise NodeUnreachable("this client was closed: connect again")

    def _stop(self) -> None:
        self._closed = True
        self._driver.close()


def connect(
    address: str,
    *,
    timeout_s: float = 5.0,
    patience_s: float = 0.0,
    token: str | None = None,
    ca_file: str | os.PathLike[str] | None = None,
    cert_file: str | os.PathLike[str] | None = None,
    key_file: str | os.PathLike[str] | None = None,
) -> Client:
    """Connect to an agent's data plane.

    Args:
        address: host:port as in the agent's `[data] listen`, or unix:/path as in `[data] socket`.
        timeout_s: For connecting. [s]
        patience_s: How long a request may wait for an agent that is away, as while it is upgraded, and be sent again once it is back; requests
            are answered alike however often they are asked. 0: it fails at once. A deadline holds all the same. [s]
        token: Of `splitctl token add`, for agents of a secured fleet; needs `ca_file`, but on this machine.
        ca_file: Certificate of the fleet's authority (authority.pem): the connection is encrypted, and the agent has to prove that it
            is one of that fleet.
        cert_file: A certificate of that authority, in place of a token.
        key_file: Its key; None where `cert_file` holds both.

    Raises:
        NodeUnreachable: No agent answers there.
        NotTrusted: It is of another fleet, or takes neither token nor certificate; the sentence says which.
        ProtocolMismatch: It speaks another version.
        InvalidConfiguration: A file cannot be used, or a token would leave the machine in the clear.
    """
    proof = ClientProof.of(address, token, ca_file, cert_file, key_file)
    return Client(address, timeout_s=timeout_s, patience_s=patience_s, proof=proof)


async def _connected(address: str, timeout_s: float, patience_s: float, proof: ClientProof) -> AsyncClient:
    client = AsyncClient(address, timeout_s=timeout_s, patience_s=patience_s, proof=proof)
    await client.connect()
    return client
