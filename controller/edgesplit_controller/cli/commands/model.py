"""`splitctl model`: add, list, show and remove models, and have nodes profile them again.

Owns: these commands. Its rule: files are looked at before they are sent, models are judged by the controller. Not
here: uploads (`cli/model_files/uploads.py`), import and quantization (the controller).
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Literal

import click
import msgspec

from edgesplit.errors import InvalidInput
from edgesplit.names import checked_name
from edgesplit.operations.inspection.graph_operation import GraphDocument, ShowGraph
from edgesplit.operations.model_operations import (
    AddModel,
    ListModels,
    ModelAddedDocument,
    ModelDocument,
    ProfiledRow,
    ProfileModel,
    RemoveModel,
    ShowModel,
)
from edgesplit_controller.cli.ask import Conversation, ask
from edgesplit_controller.cli.common import (
    Settings,
    command_group,
    common_options,
    help_epilog,
    note,
    print_json,
    table_options,
    warn,
)
from edgesplit_controller.cli.progress import progress_display
from edgesplit_controller.cli.quantities import InputShape, input_shape
from edgesplit_controller.cli.shell.completion import model_names, node_names

__all__ = ["model"]

_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


@command_group(
    epilog=help_epilog(
        "splitctl model add yolo yolo.onnx --calibration images.npz\nsplitctl model list\nsplitctl model remove yolo",
        "see the help of each command.",
    )
)
def model() -> None:
    """Add, list, show and remove models."""


@model.command(
    epilog=help_epilog(
        "splitctl model add yolo yolo.onnx --calibration images.npz\n"
        "splitctl model add words rec.onnx --shape x=1x3x48x320 --shape x=1x3x48x640\n"
        "splitctl model add yolo yolo.onnx --max-quantizable 8 --exclude /model.23/Conv --replace\n"
        "splitctl model add net net.pt2",
        "{name, sha256, operators, units, tensors, quantizable: [OPERATOR], noise_model: {degree, r2_train, r2_test, "
        "seconds, patterns, full_noise, margin, metric} or null, codecs: {tensors, measured, samples, margin, joint, seconds} or "
        "null, warnings, profiled: [NODE], not_profiled: [{node, state, reason, attempts, failing_s, next_try_s}], stage, "
        "completion: {what, fraction, left_s, since_s, reason, attempts, next_try_s} or null}; operators counts what can be "
        "placed. Before stage is complete, quantizable is empty, and noise_model and codecs are null. Where nodes are online and none could profile the model, it holds an error, too, "
        "and the exit status is 1; the model is kept, and nodes try again by themselves.",
    )
)
@click.argument("name")
@click.argument("file", metavar="FILE", type=_FILE)
@click.option(
    "--calibration",
    metavar="FILE.npz",
    type=_FILE,
    help="One array per input, first axis the samples; without it seeded uniform noise in [0, 1] is used.",
)
@click.option(
    "--shape",
    "shapes",
    metavar="INPUT=1x3x48x320",
    type=input_shape,
    multiple=True,
    help="Sizes of an input with open axes that times, bytes and energy are planned for; requests may have any size that "
    "the model takes. May be repeated for other inputs, and for one input to plan for several sizes. Without it they come "
    "from the calibration samples, else a size is assumed and said.",
)
@click.option(
    "--fixed",
    is_flag=True,
    help="Set open axes to the planned sizes for good: requests of another size are refused.",
)
@click.option(
    "--max-quantizable",
    metavar="N",
    type=click.IntRange(0),
    default=12,
    show_default=True,
    help="How many operators may run in int8 at most.",
)
@click.option("--exclude", metavar="OPERATOR", multiple=True, help="Never quantize this operator; may be repeated.")
@click.option(
    "--metric",
    metavar="MODULE:FUNCTION",
    default="",
    help="Read noise as this function of float and quantized outputs instead of their mean absolute difference; "
    "the controller must allow it ([models] metrics).",
)
@click.option(
    "--replace", is_flag=True, help="Take the place of a model of this name; it serves until the new one does."
)
@click.option(
    "--wait",
    type=click.Choice(["ready", "all"]),
    default="ready",
    show_default=True,
    help="Return once the model can be deployed in float, or once noise, codecs and all profiles are in as well.",
)
@common_options
def add(
    settings: Settings,
    name: str,
    file: Path,
    *,
    calibration: Path | None,
    shapes: tuple[InputShape, ...],
    fixed: bool,
    max_quantizable: int,
    exclude: tuple[str, ...],
    metric: str,
    replace: bool,
    wait: Literal["ready", "all"],
) -> None:
    """Upload, check and profile FILE as the model NAME.

    FILE is an ONNX model, or a torch.export archive (.pt2), which is exported to ONNX here first (needs
    edgesplit[torch] where splitctl runs, and nowhere else).

    The controller imports it and every online node times it: then it can be deployed, in float. Noise, wire codecs and int8
    follow in the background; Ctrl-C leaves them running. NAME holds letters, digits and -_. only. External data files are uploaded along. Unnamed operators are named after
    their first output.
    """
    try:
        checked_name("model", name)
    except InvalidInput as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error
    of_input = _by_input(shapes)
    several = next((named for named, sizes in of_input.items() if len(sizes) > 1), None)
    if fixed and several is not None:
        raise click.UsageError(
            f"--fixed sets one size for good, and --shape names {len(of_input[several])} of {several}: name one of each "
            "input, or leave --fixed out"
        )
    wanted = AddModel(
        name=name,
        file="",
        max_quantizable=max_quantizable,
        exclude=exclude,
        metric=metric,
        replace=replace,
        shapes=of_input,
        fixed=fixed,
        wait=wait,
    )
    document = asyncio.run(_upload_and_add(settings, wanted, file, calibration))
    for sentence in document.warnings:
        warn(sentence)
    unprofiled = ""
    if document.not_profiled and not document.profiled:
        nodes = ", ".join(row.node for row in document.not_profiled)
        unprofiled = (
            f"{name} was added, but no node could profile it ({nodes}), and without a profile nothing can be planned: "
            f"see splitctl model show {name}, and ask again with splitctl model profile {name}"
        )
    if settings.json:
        failure = {"error": {"code": "not-profiled", "message": unprofiled}} if unprofiled else {}
        print_json(msgspec.to_builtins(document) | failure)
    else:
        from edgesplit_controller.cli.views.tables import show_added  # noqa: PLC0415 - programs do without rich

        show_added(document)
    if unprofiled:
        if not settings.json:
            note(unprofiled)
        raise click.exceptions.Exit(1)


def _by_input(shapes: tuple[InputShape, ...]) -> dict[str, tuple[tuple[int, ...], ...]]:
    """All shapes of each input, in the order in which they were named."""
    found: dict[str, tuple[tuple[int, ...], ...]] = {}
    for name, shape in shapes:
        found[name] = (*found.get(name, ()), shape)
    return found


async def _upload_and_add(
    settings: Settings, wanted: AddModel, file: Path, calibration: Path | None
) -> ModelAddedDocument:
    """Send the files the controller lacks, then have it import them."""
    from edgesplit_controller.cli.model_files.torch_export import ARCHIVE, check_suffix, export_archive  # noqa: PLC0415 - other commands do without
    from edgesplit_controller.cli.model_files.uploads import Uploader, check_calibration, find_model_files  # noqa: PLC0415 - only adding needs aiohttp

    check_suffix(file)
    async with Conversation.of(settings) as conversation:
        if calibration is not None:
            check_calibration(calibration)
        with tempfile.TemporaryDirectory(prefix="edgesplit-") as folder, progress_display() as display:
            if file.suffix == ARCHIVE:
                exported = await asyncio.to_thread(export_archive, file, Path(folder), display.step)
                display.step(exported.text, None)
                file = exported.file
            files = await asyncio.to_thread(find_model_files, file)
            identity = Path(settings.identity) if settings.identity else None
            uploading = Uploader(conversation.controller.artifacts, display.step, identity=identity)
            async with uploading as uploader:
                operation = msgspec.structs.replace(
                    wanted,
                    file=await uploader.upload(files.file),
                    external={location: await uploader.upload(path) for location, path in files.external.items()},
                    calibration=None if calibration is None else await uploader.upload(calibration),
                )
            try:
                return await conversation.ask(operation, ModelAddedDocument, display.step)
            except asyncio.CancelledError:
                note(f"the controller goes on with {wanted.name}: see splitctl model show {wanted.name}")
                raise


@model.command(
    "list",
    epilog=help_epilog(
        "splitctl model list",
        "a list of {name, sha256, operators, units, tensors, quantizable, noise_model, inputs, outputs, weight_bytes, "
        "deployed, source, epoch, profiled, profiled_offline, goals, warnings, noise_tightening, codecs, profiling, asked, "
        "shapes, stage, completion, paused_unix_s}.",
    ),
)
@table_options
def list_models(settings: Settings, wide: bool) -> None:
    """List the models that were added."""
    documents = ask(settings, ListModels(), list[ModelDocument])
    if settings.json:
        print_json(documents)
        return
    from edgesplit_controller.cli.views.tables import show_models  # noqa: PLC0415 - programs do without rich

    show_models(documents, wide=wide)


@model.command(
    epilog=help_epilog(
        "splitctl model show yolo",
        "{name, sha256, operators, units, tensors, quantizable, noise_model, inputs, outputs, weight_bytes, deployed, "
        "source, epoch, profiled, profiled_offline, goals, warnings, noise_tightening, codecs, asked: [{inputs, requests}], shapes: [{name, inputs, automatic, "
        "profiled, epoch, predicted_latency_s}], profiling: [{node, state, fraction, reason, "
        "attempts, failing_s, next_try_s}], stage, completion: {what, fraction, left_s, since_s, reason, attempts, next_try_s} "
        "or null, paused_unix_s}.",
    )
)
@click.argument("name", shell_complete=model_names)
@common_options
def show(settings: Settings, name: str) -> None:
    """Show the model NAME."""
    document = ask(settings, ShowModel(name=name), ModelDocument)
    if settings.json:
        print_json(document)
        return
    from edgesplit_controller.cli.views.tables import show_model  # noqa: PLC0415 - programs do without rich

    show_model(document)


@model.command(
    epilog=help_epilog(
        "splitctl model graph yolo\nsplitctl model graph yolo --json | jq '.units | length'",
        "{model, sha256, units: [{id, name, operators, kinds, flops, weight_bytes}], edges: [{from, to, tensor, nbytes}], "
        "inputs: [{tensor, nbytes, units}], outputs: [{tensor, nbytes, units}]}; units are numbered in topological order.",
    )
)
@click.argument("name", shell_complete=model_names)
@common_options
def graph(settings: Settings, name: str) -> None:
    """Show the network of the model NAME as plans place it: units, and what each hands to others."""
    document = ask(settings, ShowGraph(name=name), GraphDocument)
    if settings.json:
        print_json(document)
        return
    from edgesplit_controller.cli.views.graph_view import show_graph  # noqa: PLC0415 - programs do without rich

    show_graph(document)


@model.command(
    epilog=help_epilog(
        "splitctl model profile yolo\nsplitctl model profile yolo --node edge",
        "a list of {node, state, seconds, reason, whole_s, next_try_s}; state is done, retrying (it failed and is tried "
        "again by itself), failed (for good), offline or silent.",
    )
)
@click.argument("name", shell_complete=model_names)
@click.option(
    "--node", metavar="NODE", shell_complete=node_names, help="Only this node; without it all that are online."
)
@common_options
def profile(settings: Settings, name: str, *, node: str | None) -> None:
    """Have nodes profile the model NAME once more, and wait for them.

    What they measured before stands until then, and what serves goes on serving. What a node tries again by itself it
    tries at once. Exits with 1 where NODE, or without --node every node, could not.
    """
    rows = ask(settings, ProfileModel(name=name, node=node), list[ProfiledRow], show=True)
    if settings.json:
        print_json(rows)
    else:
        from edgesplit_controller.cli.views.tables import show_profiled  # noqa: PLC0415 - programs do without rich

        show_profiled(name, rows)
    if not any(row.state == "done" for row in rows):
        raise click.exceptions.Exit(1)


@model.command(
    epilog=help_epilog(
        "splitctl model remove yolo",
        "the document of `model show` as it was before; deployed says whether serving was ended.",
    )
)
@click.argument("name", shell_complete=model_names)
@common_options
def remove(settings: Settings, name: str) -> None:
    """Remove the model NAME; ends serving first and says so."""
    document = ask(settings, RemoveModel(name=name), ModelDocument, show=True)
    if settings.json:
        print_json(document)
        return
    ended = f"serving from {document.source} was ended first" if document.deployed else "it was not serving"
    click.echo(f"{document.name} is removed; {ended}")
