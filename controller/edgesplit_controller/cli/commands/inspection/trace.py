"""`splitctl trace`: one request across nodes, predicted beside measured.

Owns: this command. Its rule: what happened is the nodes' to tell; where none of a model's requests is remembered, one is sent. Not here: how
nodes' clocks are brought together (the controller), the picture (`cli/views/inspection/trace_view.py`), other programs' formats
(`cli/traces`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from edgesplit.errors import InvalidInput
from edgesplit.names import base_name
from edgesplit.operations.inspection.trace_operation import ShowTrace, TraceDocument
from edgesplit.operations.plan_operations import ShowSource, SourceDocument
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, note, print_json, warn

__all__ = ["trace"]

DEADLINE_S = 60.0
"""Of a request that is sent to be traced. [s]"""
SEED = 0


@click.command(
    epilog=help_epilog(
        "splitctl trace yolo\nsplitctl trace yolo --input images.npz --out trace.json",
        "{model, request, source, epoch, began_unix_s, latency_s, predicted_latency_s, steps: [{kind, node, from, to, epoch, component, "
        "tensors, nbytes, waited_s, start_s, end_s, predicted_start_s, predicted_end_s}], predicted: [{kind, start_s, end_s, node, from, "
        "to, component, tensor}], clocks: [{node, ahead_s, uncertain_s, by}], missing: [{node, reason}]}; times are those since the "
        "request came, on its source's clock.",
    )
)
@click.argument("name")
@click.option(
    "--input",
    "input_file",
    metavar="IN.npz",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Send this request and follow it; default: the last that was answered.",
)
@click.option(
    "--request", metavar="ID", default="", help="Follow this one, as --json names it, while it is remembered."
)
@click.option(
    "--out",
    "out_file",
    metavar="FILE.json",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it in the Chrome trace format, for ui.perfetto.dev.",
)
@common_options
def trace(settings: Settings, name: str, input_file: Path | None, request: str, out_file: Path | None) -> None:
    """Follow one request of the model NAME across nodes.

    The last that its source answered, or one that is sent for this. NAME~SOURCE and NAME@2 mean a further source's, or planning shape's. Where
    OTEL_EXPORTER_OTLP_ENDPOINT is set, its steps are sent there as spans, too.
    """
    if input_file is not None and request:
        raise click.UsageError("--input sends a request, and --request names one that was answered: give one of them")
    if input_file is not None:
        _send(settings, name, input_file)
    document = ask(settings, ShowTrace(name=name, request=request), TraceDocument)
    if not document.request and not request and input_file is None:
        note(f"{document.source} remembers no request of {name}: one of made-up numbers is sent")
        _send(settings, name, None)
        document = ask(settings, ShowTrace(name=name), TraceDocument)
    if not document.request:
        what = (
            f"request {request} of {name}"
            if request
            else f"{name} with steps of its own (some are computed together with others)"
        )
        raise InvalidInput(f"{document.source} remembers no {what}: it knows the last thousand that it answered")
    _hand_on(document, out_file)
    if settings.json:
        print_json(document)
        return
    from edgesplit_controller.cli.views.inspection.trace_view import show_trace  # noqa: PLC0415 - programs do without rich

    show_trace(document)
    if out_file is not None:
        click.echo(f"written to {out_file}: open it in https://ui.perfetto.dev or chrome://tracing")


def _hand_on(document: TraceDocument, out_file: Path | None) -> None:
    """Write and send it, where that was asked."""
    from edgesplit_controller.cli.traces.open_telemetry import endpoint_from_environment, export_spans  # noqa: PLC0415 - as above

    if out_file is not None:
        from edgesplit_controller.cli.files import write_whole  # noqa: PLC0415 - as above
        from edgesplit_controller.cli.traces.chrome_trace import chrome_trace  # noqa: PLC0415 - as above

        write_whole(out_file, chrome_trace(document))
    endpoint = endpoint_from_environment()
    if endpoint is not None:
        if problem := asyncio.run(export_spans(document, endpoint)):
            warn(problem)
        else:
            note(f"its spans were sent to {endpoint.url}")


def _send(settings: Settings, name: str, input_file: Path | None) -> None:
    """Have a request answered at the model's source."""
    import numpy as np  # noqa: PLC0415 - who sends nothing does without

    from edgesplit.wire.tensors import check_inputs, drawn  # noqa: PLC0415 - as above
    from edgesplit_controller.cli.commands.infer import agent_client  # noqa: PLC0415 - as above
    from edgesplit_controller.cli.files import read_arrays  # noqa: PLC0415 - as above

    source = ask(settings, ShowSource(name=name, via=None), SourceDocument)
    if input_file is None:
        generator = np.random.default_rng(SEED)
        arrays = {spec.name: drawn(spec.dtype, spec.sizes, generator) for spec in source.inputs}
    else:
        arrays = check_inputs(source.inputs, read_arrays(input_file))

    async def send() -> None:
        async with agent_client(source.address, settings.identity) as client:
            await client.infer_detailed(base_name(source.model), arrays, deadline_s=DEADLINE_S)

    asyncio.run(send())
