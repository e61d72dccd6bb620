"""The zoo's command line: `python -m bench.zoo NAME OUT.onnx` writes a topology to a file.

Owns options and messages only; `build` does the work.
"""

from __future__ import annotations

from pathlib import Path

import click

from bench import zoo
from edgesplit.errors import EdgesplitError

__all__ = ["main"]

# Protocol buffers end at 2 GiB; weights go beside the graph well before.
_EXTERNAL_DATA_FROM_BYTES = 1 << 30


@click.command(epilog="Example: python -m bench.zoo mobilenet_v2 mobilenet_v2.onnx --seed 1")
@click.argument("name", type=click.Choice(zoo.names()))
@click.argument("output", metavar="OUT.onnx", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Seed of the weights.")
@click.option("--scale", default=1.0, show_default=True, help="Multiplier of the channels; 1 is the real size.")
@click.option("--size", type=int, help="Image side in pixels or sequence length; the usual one if left out.")
def main(name: str, output: Path, seed: int, scale: float, size: int | None) -> None:
    """Write the topology NAME with random weights to OUT.onnx."""
    import onnx  # noqa: PLC0415 - --help need not pay for it

    try:
        model = zoo.build(name, seed=seed, scale=scale, size=size)
    except EdgesplitError as error:
        raise click.ClickException(str(error)) from error
    if not output.parent.is_dir():
        raise click.ClickException(f"{output.parent} is not a folder; create it first")
    beside = model.ByteSize() > _EXTERNAL_DATA_FROM_BYTES
    onnx.save(model, str(output), save_as_external_data=beside)
    click.echo(f"{output}: {len(model.graph.node)} operators, {model.ByteSize() / 1e6:.1f} MB of weights")


if __name__ == "__main__":
    main()
