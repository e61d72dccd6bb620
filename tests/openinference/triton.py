"""Requests as an unmodified tritonclient sends them; one client a thread, as it demands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tritonclient.http as triton

from edgesplit.wire.tensors import Array, dtype_name
from edgesplit_agent.openinference.datatypes import datatype_of

__all__ = ["infer"]


def infer(
    address: str,
    model: str,
    arrays: Mapping[str, Array],
    outputs: Mapping[str, bool] | None = None,
    *,
    binary: bool = True,
    **options: Any,
) -> dict[str, Array]:
    """One request.

    Args:
        address: host:port of an agent's HTTP endpoint.
        model: Its name.
        arrays: Inputs by name.
        outputs: Those wanted, and whether as raw bytes; None for all, as raw bytes.
        binary: Whether inputs go as raw bytes.
        options: Of `InferenceServerClient.infer`.
    """
    inputs = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, list(array.shape), datatype_of(dtype_name(array)))
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    wanted = None
    if outputs is not None:
        wanted = [triton.InferRequestedOutput(name, binary_data=raw) for name, raw in outputs.items()]
    with triton.InferenceServerClient(address) as client:
        result = client.infer(model, inputs, outputs=wanted, **options)
        return {output["name"]: result.as_numpy(output["name"]) for output in result.get_response()["outputs"]}
