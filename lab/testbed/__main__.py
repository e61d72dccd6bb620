"""`python -m lab.testbed`: keep the study's testbed running until Ctrl-C.

Owns: this command. Its rule: it prints what to type next. Not here: the testbed (`testbed.py`).
"""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
from pathlib import Path

import click

from lab.testbed.testbed import Testbed, TestbedUnavailable

__all__ = ["main"]


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="For logs and the store; default: removed at the end.")
def main(folder: Path | None) -> None:
    """Run broker, controller and three agents on shaped links until Ctrl-C or SIGTERM.

    Example: sudo .venv/bin/python -m lab.testbed --folder /tmp/run
    """
    # Python ends on SIGTERM without leaving its blocks.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="edgesplit-testbed-") as name, Testbed(folder or Path(name)) as testbed:
            testbed.fleet.await_nodes()
            click.echo(f"logs: {testbed.fleet.folder / 'logs'}")
            for machine in testbed.layout.machines:
                command = [*testbed.command(machine.name), "splitctl", "--broker", testbed.fleet.broker, "nodes"]
                click.echo(f"on {machine.name}: {shlex.join(command)}")
            click.echo("running; Ctrl-C ends it")
            signal.pause()
    except (TestbedUnavailable, TimeoutError) as error:
        sys.exit(f"no testbed: {error}")
    except KeyboardInterrupt:
        click.echo("ended; nothing is left")


if __name__ == "__main__":
    main()
