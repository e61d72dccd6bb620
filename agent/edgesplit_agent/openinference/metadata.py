"""Metadata of the server and its models, as the protocol's documents.

Owns: what a client can ask before it infers. Its rule: values in, documents out. Not here: where the state comes from
(the serving state machine).

A model's plan changes while clients hold its name, and its outputs mean the same on every plan; so there is one version
of every model, "1", and each answer says in `parameters.epoch` which plan computed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edgesplit.errors import NotDeployed, UnknownModel
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_agent.openinference.datatypes import datatype_of
from edgesplit_agent.serving.served_models import ModelDescription

__all__ = ["VERSION", "check_version", "model_config", "model_metadata", "repository_index", "server_metadata"]

VERSION = "1"
PLATFORM = "onnxruntime_onnx"
EXTENSIONS = ("binary_tensor_data", "model_configuration")


def server_metadata(version: str) -> dict[str, Any]:
    """Of `GET /v2`.

    Args:
        version: Of edgesplit.
    """
    return {"name": "edgesplit", "version": version, "extensions": list(EXTENSIONS)}


def model_metadata(model: ModelDescription) -> dict[str, Any]:
    """Of `GET /v2/models/NAME`.

    Raises:
        NotDeployed: Its inputs are known only once it is deployed.
    """
    _check_deployed(model)
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": PLATFORM,
        "inputs": _tensors(model.inputs),
        "outputs": _tensors(model.outputs),
    }


def model_config(model: ModelDescription) -> dict[str, Any]:
    """Of `GET /v2/models/NAME/config`, the part of Triton's model configuration that load generators read.

    Raises:
        NotDeployed: As `model_metadata`.
    """
    _check_deployed(model)
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        # Batches are part of the shapes: the server forms none of its own.
        "max_batch_size": 0,
        "input": _config_tensors(model.inputs),
        "output": _config_tensors(model.outputs),
    }


def repository_index(models: Iterable[ModelDescription]) -> list[dict[str, str]]:
    """Of `POST /v2/repository/index`."""
    return [
        {
            "name": model.name,
            "version": VERSION,
            "state": "READY" if model.ready else "UNAVAILABLE",
            "reason": model.reason,
        }
        for model in models
    ]


def check_version(model: str, version: str) -> None:
    """Refuse a version other than the only one.

    Raises:
        UnknownModel: The sentence says which there is.
    """
    if version != VERSION:
        raise UnknownModel(f"model {model!r} has no version {version!r}: the only one is {VERSION!r}, leave it out")


def _check_deployed(model: ModelDescription) -> None:
    if not model.deployed:
        raise NotDeployed(f"model {model.name!r} is not deployed: start it with splitctl deploy")


def _tensors(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "datatype": datatype_of(spec.dtype), "shape": list(spec.shape)} for spec in specs]


def _config_tensors(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "data_type": _config_type(spec.dtype), "dims": list(spec.shape)} for spec in specs]


def _config_type(dtype: str) -> str:
    datatype = datatype_of(dtype)
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
