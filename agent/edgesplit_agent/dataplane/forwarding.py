"""Forwarding of requests to another agent, as a client of it.

Owns: one cached connection per address. Its rule: what comes back, outputs or an error, is passed on unchanged. Not
here: the choice of the address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from edgesplit.client.asynchronous import AsyncClient
from edgesplit.client.proof import ClientProof
from edgesplit.errors import NodeUnreachable
from edgesplit.trust.access import Access, expecting
from edgesplit.wire.headers import Hello
from edgesplit.wire.tensors import Array
from edgesplit_agent.dataplane.emulation import Emulator
from edgesplit_agent.dataplane.limits import Limits

__all__ = ["Forwarder"]


class Forwarder:
    """Clients of other agents, opened when first needed.

    Args:
        identity: This agent's greeting; it greets as a client here.
        limits: Bounds and timings.
        emulator: Delays what goes to emulated nodes.
        access: How both sides prove who they are; None: not at all.
    """

    def __init__(self, identity: Hello, limits: Limits, emulator: Emulator, access: Access | None = None) -> None:
        self._identity = msgspec.structs.replace(identity, role="client")
        self._limits = limits
        self._emulator = emulator
        self._access = access
        self._proof = None if access is None else ClientProof(access.contexts.client, expecting("node", access=access))
        self._clients: dict[str, AsyncClient] = {}

    async def infer(
        self, address: str, model: str, arrays: Mapping[str, Array], deadline_s: float | None
    ) -> tuple[dict[str, Array], int]:
        """See `DataPlane.forward_infer`."""
        result = await self._client(address).infer_detailed(model, arrays, deadline_s=deadline_s)
        return result.outputs, result.epoch

    async def close(self) -> None:
        """Close all; requests in flight fail."""
        await asyncio.gather(*(client.close() for client in self._clients.values()))
        self._clients.clear()

    def drop_revoked(self) -> None:
        """End connections to nodes whose certificate is trusted no more; requests in flight fail."""
        for client in self._clients.values():
            if self._access is not None and self._access.is_revoked(client.peer_certificate):
                client.abort(NodeUnreachable(f"the certificate of the node at {client.address} was revoked"))

    def _client(self, address: str) -> AsyncClient:
        client = self._clients.get(address)
        if client is None:
            client = AsyncClient(
                address,
                timeout_s=self._limits.connect_timeout_s,
                identity=self._identity,
                gate_for=self._emulator.gate,
                limits=self._limits.frames,
                proof=self._proof,
            )
            self._clients[address] = client
        return client
