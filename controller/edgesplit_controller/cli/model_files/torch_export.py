"""PyTorch export: from a torch.export archive to an ONNX file.

Owns: what is asked of a PyTorch program, its way through torch's own exporter, and the proof that both compute the
same. Its rule: torch is needed here alone, on the machine where splitctl runs, and only for archives. Not here: which
ONNX models can be split (the controller's import).

An archive is what `torch.export.save(torch.export.export(module.eval(), (example,)), "model.pt2")` writes.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import math
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesplit.errors import InvalidInput, InvalidModel
from edgesplit_controller.cli.model_files.torch_trees import leaves, named_leaves

__all__ = ["ARCHIVE", "Exported", "check_suffix", "export_archive"]

ARCHIVE = ".pt2"
MODULES = frozenset({".pt", ".pth", ".ckpt", ".safetensors"})
HOW = 'torch.export.save(torch.export.export(module.eval(), (example,)), "model.pt2")'
OPSET = 18
"""What torch's exporter writes without conversion."""
TOLERATED = 1e-3
"""Largest difference of a float output, as a share of its largest value. [1]"""
TOLERATED_INTEGERS = 0.01
"""Share of an integer output's elements that rounding may have turned. [1]"""


@dataclass(frozen=True)
class Exported:
    """An archive as an ONNX file.

    Attributes:
        file: In the folder that was given; weights above 1.5 GB lie beside it.
        text: How near its outputs are to the module's, for people.
    """

    file: Path
    text: str


def check_suffix(file: Path) -> None:
    """Refuse files that hold weights or pickled modules.

    Raises:
        InvalidModel: It is one.
    """
    if file.suffix in MODULES:
        raise InvalidModel(f"{file} holds weights or a pickled module but no program: write one with {HOW}")


def export_archive(file: Path, folder: Path, on_progress: Callable[[str, float | None], None]) -> Exported:
    """Export an archive and compare the outputs of both on its example input; blocking.

    Args:
        file: The archive. Loading it trusts it like any PyTorch file.
        folder: Where the ONNX file goes.
        on_progress: Told what is being done.

    Raises:
        InvalidInput: torch or onnxscript is not installed here.
        InvalidModel: It is no archive, its shapes are not static, it was exported in training mode, the exporter
            refuses it, or the outputs differ.
    """
    on_progress(f"loading {file.name} with torch", None)
    torch = _torch(file)
    with _quiet():
        program = _load(torch, file)
        _check_shapes(file, program)
        _check_mode(file, program)
        on_progress(f"exporting {file.name} to ONNX", None)
        exported = _export(torch, file, program)
        target = folder / f"{file.stem}.onnx"
        exported.save(target)  # beyond 1.5 GB it puts the weights into a file beside it
        on_progress("comparing the outputs of both", None)
        text = _compared(torch, file, program, exported)
    return Exported(target, text)


def _torch(file: Path) -> Any:
    try:
        importlib.import_module("onnxscript")
        return importlib.import_module("torch")
    except ImportError as error:
        raise InvalidInput(
            f"{file} is a PyTorch program and {error.name or 'torch'} is not installed where splitctl runs: "
            "pip install 'edgesplit[torch]' there, or export it to ONNX and add that file"
        ) from error


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """The exporter talks to standard output, which belongs to the document, and warns of itself."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _load(torch: Any, file: Path) -> Any:
    try:
        return torch.export.load(file)
    except Exception as error:  # torch has no common error for it
        raise InvalidModel(f"{file} is no torch.export archive ({_cause(error)}): write one with {HOW}") from error


def _check_shapes(file: Path, program: Any) -> None:
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op != "placeholder" or node.name not in inputs:
            continue
        shape: tuple[Any, ...] = tuple(getattr(node.meta.get("val"), "shape", ()))
        opened = [place for place, size in enumerate(shape) if not isinstance(size, int)]
        if opened:
            listed = ", ".join(map(str, opened))
            raise InvalidModel(
                f"{file}: input {node.name} of shape ({', '.join(map(str, shape))}) is open in dimension {listed}: "
                "edgesplit places fixed shapes, so export it with an example of the size that is served and without "
                "dynamic_shapes"
            )


def _check_mode(file: Path, program: Any) -> None:
    """Dropout and batch statistics make outputs depend on chance or on the batch."""
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None) if node.op == "call_function" else None
        for place, argument in enumerate(schema.arguments if schema is not None else ()):
            if argument.name not in {"train", "training"}:
                continue
            value = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
            if value is True:
                raise InvalidModel(
                    f"{file} was exported in training mode ({node.name} trains): call module.eval() before "
                    "torch.export.export"
                )


def _export(torch: Any, file: Path, program: Any) -> Any:
    try:
        return torch.onnx.export(
            program,
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=OPSET,
            input_names=_input_names(program),
            output_names=_output_names(torch, program),
        )
    except Exception as error:  # the exporter wraps whatever its steps raise
        raise InvalidModel(f"torch cannot export {file} to ONNX: {_cause(error)}") from error


def _input_names(program: Any) -> list[str] | None:
    names = list(program.graph_signature.user_inputs)
    # Numbers among the arguments are constants of the program, and the exporter names what is left.
    return names if all(isinstance(name, str) for name in names) else None


def _output_names(torch: Any, program: Any) -> list[str] | None:
    """Keys of a dictionary that the module returns; elsewhere torch's own names, told from those of inputs."""
    names = list(program.graph_signature.user_outputs)
    if not all(isinstance(name, str) for name in names):
        return None
    keyed = [(_key(path), name) for path, name in named_leaves(torch, names, program.call_spec.out_spec)]
    taken = set(program.graph_signature.user_inputs)
    result: list[str] = []
    for key, name in keyed:
        wanted = key or name
        unique = wanted if wanted not in taken else f"{wanted}_output"
        count = 1
        while unique in taken:
            count += 1
            unique = f"{wanted}_output_{count}"
        taken.add(unique)
        result.append(unique)
    return result


def _key(path: Sequence[Any]) -> str:
    """The keys and attributes on the way to an output, joined; empty where it is known by its position."""
    parts = [getattr(step, "key", getattr(step, "name", None)) for step in path]
    named = [part for part in parts if isinstance(part, str) and part]
    return ".".join(named) if len(named) == len(parts) else ""


def _compared(torch: Any, file: Path, program: Any, exported: Any) -> str:
    """One sentence on how near the outputs are.

    Raises:
        InvalidModel: They differ, or are no numbers.
    """
    if program.example_inputs is None:
        return f"{file.name} holds no example input, so its ONNX form was not compared with it"
    args, kwargs = program.example_inputs
    with torch.no_grad():
        answer = program.module()(*args, **kwargs)
    expected = [leaf for leaf in leaves(torch, answer) if isinstance(leaf, torch.Tensor)]
    found = list(exported(*args, **kwargs))
    names = [value.name for value in exported.model.graph.outputs]
    if not len(expected) == len(found) == len(names):
        raise InvalidModel(
            f"{file} has {len(expected)} outputs and its ONNX form {len(found)}: export it to ONNX by hand"
        )
    largest = 0.0
    for name, wanted, got in zip(names, expected, found, strict=True):
        largest = max(largest, _difference(torch, file, name, wanted, got))
    return (
        f"the outputs of its ONNX form differ from those of {file.name} by at most {largest:.1e} of their largest value"
    )


def _difference(torch: Any, file: Path, name: str, wanted: Any, got: Any) -> float:
    if tuple(wanted.shape) != tuple(got.shape):
        raise InvalidModel(
            f"{file}: output {name} has shape {tuple(wanted.shape)} and in ONNX {tuple(got.shape)}: export it by hand"
        )
    if wanted.numel() == 0:
        return 0.0
    wanted, got = wanted.detach().cpu(), got.cpu()
    if not wanted.is_floating_point():
        turned = float((wanted != got).double().mean())
        if turned > TOLERATED_INTEGERS:
            raise InvalidModel(f"{file}: {turned:.1%} of output {name} differs in its ONNX form: export it by hand")
        return 0.0
    if bool(torch.isnan(wanted).any()):
        raise InvalidModel(f"{file}: output {name} is NaN on its example input: export it with one that gives numbers")
    largest = float(wanted.double().abs().max())
    difference = float((wanted.double() - got.double()).abs().max())
    share = difference / largest if largest > 0 and math.isfinite(largest) else difference
    if not share <= TOLERATED:
        raise InvalidModel(
            f"{file}: output {name} of its ONNX form differs by {difference:.3g} where the largest value is {largest:.3g}: "
            "torch's exporter gets an operator wrong; export it by hand and add that file"
        )
    return share


def _cause(error: BaseException) -> str:
    """The first line of what went wrong at the bottom."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
