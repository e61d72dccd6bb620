"""`edgesplit-agent`: the command line of the agent daemon.

Owns: options, logging set-up, signals, exit codes. Its rule: a wrong configuration is one sentence on standard error
and exit code 1, never a traceback. Not here: the agent itself (`daemon.py`), joining a fleet and leaving it (`joining/commands.py`).
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import click
import structlog

from edgesplit.daemon.configuration_file import load_configuration, render_configuration
from edgesplit.daemon.heap import share_heap, trim_heap
from edgesplit.daemon.inference_runtime.runtime_builds import check_runtime
from edgesplit.daemon.logs import LEVELS, set_up_logging
from edgesplit.errors import EdgesplitError
from edgesplit_agent.compute.lending_loop import LendingLoop
from edgesplit_agent.configuration import AgentConfiguration
from edgesplit_agent.joining.commands import join, leave
from edgesplit_agent.open_files import allow_descriptors

__all__ = ["main"]


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: edgesplit-agent --config /etc/edgesplit/agent.toml",
)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file; EDGESPLIT_... variables override it.")
@click.option("--print-config", is_flag=True, help="Show effective values and where each comes from, then exit.")
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="What to log.")
@click.version_option(package_name="edgesplit")
@click.pass_context
def main(context: click.Context, config: Path | None, print_config: bool, log_level: str) -> None:
    """Run this machine's agent: measure, serve components, stream tensors to other agents."""
    if context.invoked_subcommand is not None:
        context.obj = config
        return
    try:
        loaded = load_configuration(AgentConfiguration, config)
        if print_config:
            click.echo(render_configuration(loaded))
            return
        check_runtime()
        loaded.values.check_security()
        set_up_logging(log_level, program="edgesplit-agent")
        share_heap()
        allow_descriptors(loaded.values.data.max_connections + loaded.values.http.max_connections)
        with asyncio.Runner(loop_factory=LendingLoop) as runner:
            runner.run(_run(loaded.values, config))
    except EdgesplitError as error:
        click.echo(f"edgesplit-agent: {error}", err=True)
        sys.exit(error.exit_code)


main.add_command(join)
main.add_command(leave)


async def _run(configuration: AgentConfiguration, path: Path | None) -> None:
    # --help and --print-config need none of it, and one heap is asked for before libraries allocate from several.
    from edgesplit_agent.daemon import Agent  # noqa: PLC0415

    agent = Agent(configuration)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, agent.reload, path)
    try:
        await agent.start()
        # What was imported stays: a full collection that walked it would stop everything for tens of milliseconds.
        gc.freeze()
        # What importing took besides is given back: a megabyte of an agent that may wait for months.
        trim_heap()
        waiting = [asyncio.create_task(stopped.wait()), asyncio.create_task(agent.wait_failed())]
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
    finally:
        await agent.stop()
    for task in done:
        task.result()


def _reload(reload: Callable[[AgentConfiguration], None], path: Path | None) -> None:
    try:
        reload(load_configuration(AgentConfiguration, path).values)
    except EdgesplitError as error:
        structlog.get_logger(part="agent").error("reload-refused", error=str(error))


if __name__ == "__main__":
    main()
