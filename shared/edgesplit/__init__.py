"""edgesplit: one DNN over device, edge and cloud.

Owns: the public names of the client library. Its rule: importing it costs nothing; what needs numpy is loaded when it
is first asked for. Not here: behaviour.

    with edgesplit.connect("127.0.0.1:7400") as node:
        outputs = node.infer("model", {"images": array})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesplit import errors
    from edgesplit.client.asynchronous import AsyncClient, InferResult
    from edgesplit.client.blocking import Client, connect

__all__ = ["AsyncClient", "Client", "InferResult", "connect", "errors"]

_HOMES = {
    "AsyncClient": "edgesplit.client.asynchronous",
    "Client": "edgesplit.client.blocking",
    "InferResult": "edgesplit.client.asynchronous",
    "connect": "edgesplit.client.blocking",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "errors":
        return importlib.import_module("edgesplit.errors")
    raise AttributeError(f"module 'edgesplit' has no attribute {name!r}")
