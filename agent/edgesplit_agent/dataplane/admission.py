"""Who is spoken with in a secured fleet: greetings judged by certificates, connections opened to a peer that proves its name.

Owns: what a greeting may say beside what TLS proved. Its rule: a peer speaks only for the name in its certificate, in both directions.
Not here: the rules by role (`edgesplit.trust.access`), connections themselves.
"""

from __future__ import annotations

from edgesplit.trust.access import Access, Permit, expecting
from edgesplit.wire.connection import Connection, FrameReceiver
from edgesplit.wire.endpoints import open_connection
from edgesplit.wire.headers import Hello
from edgesplit_agent.dataplane.limits import Limits

__all__ = ["admit", "dial"]


def admit(hello: Hello, connection: Connection, access: Access) -> Permit:
    """What whoever greets may do.

    Raises:
        NotTrusted: It cannot be what it says.
    """
    certificate = connection.peer_certificate
    if hello.role == "agent":
        access.check_node(certificate, hello.node)
        return Permit(f"node {hello.node}")
    return access.admit_client(certificate, hello.token, is_local=connection.is_local, as_node=hello.node)


async def dial(address: str, peer: str, receiver: FrameReceiver, limits: Limits, access: Access | None) -> Connection:
    """Connect to a peer, which must prove its name where there is TLS; raises as `open_connection`."""
    return await open_connection(
        address,
        receiver,
        limits=limits.frames,
        queue_bytes=limits.queue_bytes,
        timeout_s=limits.connect_timeout_s,
        context=None if access is None else access.contexts.client,
        expects=expecting("node", peer, access),
    )
