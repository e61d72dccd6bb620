"""Pieces of the archive: what of the controller's records goes into blobs, and how it is read back.

Owns: the names and the form of the pieces. Its rule: pure; a piece read back is what a restart would have found in the store, but
for what the fleet makes anew by itself: per-node fallbacks, epochs that retire, figures that follow measurements, blobs. Not here:
when pieces are written (`fleet_archive.py`), who keeps them (`keepers.py`).

A piece is zlib over JSON. `state` has everything but the deployments, `deployments/NAME` one of these, `models/NAME` the record
of a model or planning shape with its graphs.
"""

from __future__ import annotations

import zlib
from typing import TypeVar

import msgspec

from edgesplit_controller.models.model_record import Manifest, ModelRecord, graphs_of, record_of
from edgesplit_controller.storage.deployment_state import DeploymentState, State

__all__ = [
    "DEPLOYMENTS",
    "MODELS",
    "STATE",
    "deployment_key",
    "deployment_of",
    "deployment_piece",
    "essential",
    "model_of",
    "model_piece",
    "rest_of",
    "state_of",
    "state_piece",
]

STATE, MODELS, DEPLOYMENTS = "state", "models/", "deployments/"
MOST_BYTES = 1 << 30
"""Of a piece, unpacked. [B]"""
V = TypeVar("V")


class _ModelPiece(msgspec.Struct, frozen=True, kw_only=True):
    """A record.

    Attributes:
        graphs: ONNX files without their large weights, by name.
    """

    manifest: Manifest
    graphs: dict[str, bytes]


def rest_of(state: State) -> State:
    """What of the state is in the piece of that name."""
    return msgspec.structs.replace(state, deployments={}, removed=())


def essential(deployment: DeploymentState) -> DeploymentState:
    """A deployment without what is made anew, or ends by itself, under whoever takes over."""
    rollout = msgspec.structs.replace(deployment.rollout, retiring=(), fallbacks=())
    numbers = {epoch.number for epoch in rollout.epochs}
    local = {epoch.local_fallback for epoch in rollout.epochs}
    return msgspec.structs.replace(
        deployment,
        rollout=rollout,
        plans={number: plan for number, plan in deployment.plans.items() if number in numbers},
        local_fallbacks=tuple(plan for plan in deployment.local_fallbacks if plan.epoch in local),
        fallbacks={},
    )


def deployment_key(deployment: DeploymentState) -> tuple[object, ...]:
    """What a deployment's piece is written anew for: figures change often, and are measured again."""
    rollout = deployment.rollout
    return (
        *(deployment.source, rollout.active, rollout.upcoming, rollout.begun_unix_s),
        *(plan.goals for _, plan in sorted(deployment.plans.items())),
    )


def state_piece(state: State) -> bytes:
    """See `rest_of`."""
    return _packed(rest_of(state))


def deployment_piece(deployment: DeploymentState) -> bytes:
    """See `essential`."""
    return _packed(essential(deployment))


def model_piece(record: ModelRecord) -> bytes:
    """A record with its graphs; weights are blobs already."""
    return _packed(_ModelPiece(manifest=record.manifest, graphs=graphs_of(record)))


def state_of(content: bytes) -> State:
    """Read a piece back.

    Raises:
        ValueError: It is none.
    """
    return _unpacked(content, State)


def deployment_of(content: bytes) -> DeploymentState:
    """Read a piece back.

    Raises:
        ValueError: It is none.
    """
    return _unpacked(content, DeploymentState)


def model_of(content: bytes) -> ModelRecord:
    """Read a piece back.

    Raises:
        ValueError: It is none.
    """
    piece = _unpacked(content, _ModelPiece)
    try:
        return record_of(piece.manifest, piece.graphs)
    except KeyError as error:
        raise ValueError(f"the graph {error} is missing") from error


def _packed(value: msgspec.Struct) -> bytes:
    return zlib.compress(msgspec.json.encode(value))


def _unpacked(content: bytes, kind: type[V]) -> V:
    unpacking = zlib.decompressobj()
    try:
        whole = unpacking.decompress(content, MOST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacking.eof:
        raise ValueError("it ends early, or is too large")
    try:
        return msgspec.json.decode(whole, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
