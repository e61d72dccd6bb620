"""Sizes of requests: what to plan a shipped model for, and which other sizes and batches it admits.

Owns: a table of hints by file name, sizes to try where there is none, and asking onnxruntime which of them a model takes.
Its rule: onnxruntime alone, on the file as it is; nothing of the product decides what is tried. Not here: the values.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import onnxruntime

__all__ = ["Case", "Hint", "PlainModel", "cases", "hint_for"]

BATCH = 4
OTHERS = 2
"""How many other sizes are tried beside the planning shape."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Hint:
    """What is known of a model by its file name.

    Attributes:
        file: Pattern of the file's name.
        kind: What its inputs are (`real_inputs.py`).
        shape: Input to its planning shape, for the one `--shape`; empty: added without.
        others: Other sizes to ask for.
    """

    file: str
    kind: str
    shape: Shapes = field(default_factory=dict[str, tuple[int, ...]])
    others: tuple[Shapes, ...] = ()


HINTS = (
    Hint("*_det_*", "page", {"x": (1, 3, 480, 640)}, ({"x": (1, 3, 320, 480)}, {"x": (1, 3, 736, 960)})),
    Hint("*_rec_*", "line", {"x": (1, 3, 48, 320)}, ({"x": (1, 3, 48, 192)}, {"x": (1, 3, 48, 640)})),
    Hint("*_cls_*", "line", {"x": (1, 3, 48, 192)}, ({"x": (1, 3, 48, 96)}, {"x": (1, 3, 48, 320)})),
    Hint("320n*", "photo", {"images": (1, 3, 320, 320)}, ({"images": (1, 3, 256, 416)}, {"images": (1, 3, 640, 640)})),
    Hint("silero_vad_16k_sequence*", "speech", {"input": (8, 576)}, ({"input": (3, 576)}, {"input": (20, 576)})),
    Hint("silero_vad_openvino*", "speech"),
    Hint("silero_vad*", "speech", {"input": (1, 576)}, ({"input": (1, 288)}, {"input": (1, 512)})),
    Hint("*magika*", "bytes"),
)


def hint_for(file: Path) -> Hint:
    """The hint whose pattern the file or its folder's path fits; an empty one where none does."""
    return next((hint for hint in HINTS if fnmatchcase(file.name, hint.file)), None) or next(
        (hint for hint in HINTS if any(fnmatchcase(part, hint.file) for part in file.parts[:-1])),
        Hint(file.name, ""),
    )


@dataclass(frozen=True)
class Case:
    """One size of request.

    Attributes:
        name: For people.
        shapes: Of every input.
    """

    name: str
    shapes: Shapes


class PlainModel:
    """A file as plain onnxruntime has it.

    Args:
        file: The model.
    """

    def __init__(self, file: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.inputs: dict[str, tuple[str, tuple[int | str | None, ...]]] = {
            value.name: (value.type, tuple(value.shape)) for value in self._session.get_inputs()
        }
        self.outputs: tuple[str, ...] = tuple(value.name for value in self._session.get_outputs())

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The whole model's outputs."""
        return dict(zip(self.outputs, self._session.run(list(self.outputs), dict(inputs)), strict=True))

    def admits(self, inputs: Mapping[str, Any]) -> bool:
        """Whether onnxruntime runs it on these."""
        try:
            self.run(inputs)
        except Exception:  # onnxruntime's exceptions share no base class of its own
            return False
        return True

    def shapes(self, wanted: Shapes, *, batch: int = 1) -> dict[str, tuple[int, ...]]:
        """Shapes of all inputs: those wanted, and for the rest 1 where an axis is open, or the size of its name.

        An open axis that the batch may be (the first one that an input has) is the batch's size.
        """
        named = {
            extent: size
            for name, shape in wanted.items()
            for extent, size in zip(self.inputs[name][1], shape, strict=True)
            if isinstance(extent, str) and any(map(str.isalpha, extent))  # "?" and "-1" are no names
        }

        def size_of(extent: int | str | None, *, first: bool) -> int:
            if isinstance(extent, int) and extent > 0:
                return extent
            return named.get(extent, batch if first else 1) if isinstance(extent, str) else batch if first else 1

        found: dict[str, tuple[int, ...]] = {}
        for name, (_, extents) in self.inputs.items():
            if name in wanted:
                found[name] = tuple(wanted[name])
                continue
            first = next((axis for axis, extent in enumerate(extents) if not _is_size(extent)), -1)
            found[name] = tuple(size_of(extent, first=axis == first) for axis, extent in enumerate(extents))
        return found


def _is_size(extent: int | str | None) -> bool:
    return isinstance(extent, int) and extent > 0


def cases(
    plain: PlainModel, hint: Hint, planned: Shapes, make: Callable[[Shapes], Mapping[str, Any]]
) -> tuple[list[Case], list[str]]:
    """Find the sizes to ask for: the planning shape, two others and a batch of 4, as far as the model admits them.

    Args:
        plain: The model.
        hint: What is known of it.
        planned: Its planning shape, of every input.
        make: Values for shapes, to try them with.

    Returns:
        The cases; sentences on what the model does not admit.
    """
    found = [Case("planned", dict(planned))]
    missing: list[str] = []
    open_inputs = {name for name, (_, extents) in plain.inputs.items() if not all(map(_is_size, extents))}
    tried = itertools.chain(
        (plain.shapes({name: shape for name, shape in other.items() if name in plain.inputs}) for other in hint.others),
        _scaled(plain, planned),
    )
    others: list[Case] = []
    for shapes in tried:
        if len(others) == OTHERS:
            break
        if shapes != dict(planned) and all(case.shapes != shapes for case in others) and plain.admits(make(shapes)):
            others.append(Case(_sizes_text(shapes, open_inputs), shapes))
    if len(others) < OTHERS:
        missing.append(f"admits {len(others)} other sizes")
    batched = next(
        (shapes for shapes in _batched(plain, planned) if shapes != dict(planned) and plain.admits(make(shapes))), None
    )
    found += others
    if batched is None:
        missing.append("admits no batch")
    else:
        found.append(Case(f"batch of {BATCH}", batched))
    return found, missing


def _scaled(plain: PlainModel, planned: Shapes) -> Iterator[dict[str, tuple[int, ...]]]:
    """Other sizes of the open axes behind the first: smaller ones, larger ones; other batches, where nothing else is open."""
    for factor in (0.5, 1.5, 2.0, 0.25, 3.0):
        shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in planned.items():
            extents = plain.inputs[name][1]
            shapes[name] = tuple(
                size if axis == 0 or _is_size(extent) else _rounded(size * factor)
                for axis, (extent, size) in enumerate(zip(extents, shape, strict=True))
            )
        yield shapes
    for batch in (2, 7):
        yield from _batched(plain, planned, batch)


def _rounded(size: float) -> int:
    """A whole size; of images a multiple of 32, which strides divide."""
    return max(1, round(size / 32) * 32 if size >= 32 else round(size))


def _batched(plain: PlainModel, planned: Shapes, batch: int = BATCH) -> Iterator[dict[str, tuple[int, ...]]]:
    """The planning shape in batches: the first open axis of every input, then only first axes, which states may differ in."""
    for first_only in (False, True):
        shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in planned.items():
            extents: Sequence[int | str | None] = plain.inputs[name][1]
            axis = next((axis for axis, extent in enumerate(extents) if not _is_size(extent)), None)
            if axis is None or (first_only and axis):
                shapes[name] = shape
            else:
                shapes[name] = (*shape[:axis], batch, *shape[axis + 1 :])
        yield shapes


def _sizes_text(shapes: Shapes, names: set[str]) -> str:
    return " ".join("x".join(map(str, shape)) for name, shape in shapes.items() if name in names and shape)
