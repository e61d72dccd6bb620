"""`splitctl infer`: run requests through a deployed model.

Owns: this command. Its rule: tensors go straight to an agent's data plane, as every client's do; the controller only
says where. Not here: counting (`traffic.py`), the connection (`edgesplit.client.asynchronous`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from edgesplit.client.asynchronous import AsyncClient, InferResult
from edgesplit.formatting import UNKNOWN, time_span
from edgesplit.operations.plan_operations import ShowSource, SourceDocument
from edgesplit.trust.files import TrustFiles
from edgesplit.wire.tensors import Array, check_inputs
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, note, positive_seconds, print_json
from edgesplit_controller.cli.files import read_arrays, write_arrays
from edgesplit_controller.cli.load_run import TrafficDocument, TrafficOutcome, run_requests
from edgesplit_controller.cli.progress import progress_display
from edgesplit_controller.cli.shell.completion import model_names, node_names

__all__ = ["agent_client", "infer"]


@click.command(
    epilog=help_epilog(
        "splitctl infer yolo --input images.npz --output result.npz\n"
        "splitctl infer yolo --input images.npz --count 100 --concurrency 4 --via edge",
        "{count, failed, latency_s: {p50, p95, p99, mean}, epochs: [EPOCH], first_error: {code, message} or null}; "
        "epochs lists the plans that answered, each once, in order.",
    )
)
@click.argument("name", shell_complete=model_names)
@click.option(
    "--input",
    "input_file",
    metavar="IN.npz",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="One array per input of the model, under its ONNX name.",
)
@click.option(
    "--output",
    "output_file",
    metavar="OUT.npz",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the last request's outputs here, under their ONNX names.",
)
@click.option(
    "--count", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="How many requests to run."
)
@click.option(
    "--concurrency", metavar="C", type=click.IntRange(1, 1024), default=1, show_default=True, help="How many at a time."
)
@click.option(
    "--via",
    metavar="NODE",
    shell_complete=node_names,
    help="Whose agent to ask; default: the source. Another one forwards to it.",
)
@click.option(
    "--deadline",
    "deadline_s",
    metavar="S",
    type=positive_seconds,
    default=60.0,
    show_default=True,
    help="A request without an answer after this has failed. [s]",
)
@common_options
def infer(
    settings: Settings,
    name: str,
    *,
    input_file: Path,
    output_file: Path | None,
    count: int,
    concurrency: int,
    via: str | None,
    deadline_s: float,
) -> None:
    """Run requests through the deployed model NAME.

    A failed request is counted and the rest goes on; the exit status is 1 if any failed.
    """
    arrays = read_arrays(input_file)
    source = ask(settings, ShowSource(name=name, via=via), SourceDocument)
    arrays = check_inputs(source.inputs, arrays)
    running = _run(source, settings.identity, arrays, count=count, concurrency=concurrency, deadline_s=deadline_s)
    outcome = asyncio.run(running)
    if outcome.last_outputs is not None and output_file is not None:
        write_arrays(output_file, outcome.last_outputs)
    document = outcome.document()
    if document.first_error is not None:
        note(document.first_error.message)
    if settings.json:
        print_json(document)
    else:
        _show(document)
    if document.failed:
        click.get_current_context().exit(1)


def agent_client(address: str, identity: str) -> AsyncClient:
    """A client of the agent at an address, which in a secured fleet shows this operator's certificate."""
    if not identity:
        return AsyncClient(address)
    files = TrustFiles.of(Path(identity))
    return AsyncClient(address, ca_file=files.authority, cert_file=files.certificate, key_file=files.key)


async def _run(
    source: SourceDocument,
    identity: str,
    arrays: dict[str, Array],
    *,
    count: int,
    concurrency: int,
    deadline_s: float,
) -> TrafficOutcome:
    # Connecting first makes an agent that is away one error rather than many.
    async with agent_client(source.address, identity) as client:

        async def send() -> InferResult:
            return await client.infer_detailed(source.model, arrays, deadline_s=deadline_s)

        if count == 1:
            return await run_requests(send, count=1, concurrency=1)
        with progress_display() as display:
            text = f"running {count} requests"
            return await run_requests(
                send, count=count, concurrency=concurrency, on_done=lambda ended: display.step(text, ended / count)
            )


def _show(document: TrafficDocument) -> None:
    figures = document.latency_s
    quantiles = (("p50", figures.p50), ("p95", figures.p95), ("p99", figures.p99), ("mean", figures.mean))
    click.echo(f"requests  {document.count}, {document.failed} failed")
    click.echo(f"latency   {', '.join(f'{name} {time_span(value)}' for name, value in quantiles)} (measured)")
    click.echo(f"epochs    {', '.join(map(str, document.epochs)) or UNKNOWN}")
