"""Recordings: observations of speed as lines of JSON, the form in which the controller writes them.

Owns: reading and writing the file. Its rule: whatever can be read is a sequence of observations whose first of each node and
model is a profile; anything else is refused by line. Not here: making recordings of this machine (`recorder.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from edgesplit.errors import InvalidInput
from edgesplit_controller.fleet.estimation.observations import ProfileSeen, SpeedObservation

__all__ = ["read_recording", "written_recording"]


def read_recording(path: Path) -> dict[tuple[str, str], tuple[SpeedObservation, ...]]:
    """Observations by node and model, in their order.

    Raises:
        InvalidInput: A line is no observation, or the first of a node and model is no profile.
    """
    decoder = msgspec.json.Decoder(SpeedObservation)
    found: dict[tuple[str, str], list[SpeedObservation]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            observation = decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"{path}, line {number}: {error}") from error
        about = observation.node, observation.model
        if about not in found and not isinstance(observation, ProfileSeen):
            raise InvalidInput(f"{path}, line {number}: the first of {' and '.join(about)} is no profile")
        found.setdefault(about, []).append(observation)
    return {about: tuple(observations) for about, observations in found.items()}


def written_recording(path: Path, observations: Iterable[SpeedObservation]) -> None:
    """Write one line an observation."""
    encoder = msgspec.json.Encoder()
    path.write_bytes(b"".join(encoder.encode(observation) + b"\n" for observation in observations))
