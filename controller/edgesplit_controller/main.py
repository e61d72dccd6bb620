"""`edgesplit-controller`: the command that runs the controller.

Owns: arguments, logging, signals, telling systemd. Its rule: whatever is wrong with the configuration is one sentence
on standard error and exit 1. Not here: what the controller does (`service.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Protocol, cast

import click
import structlog

from edgesplit.daemon.configuration_file import load_configuration, render_configuration
from edgesplit.daemon.logs import LEVELS, set_up_logging
from edgesplit.daemon.service_notification import BROKER_PATIENCE_S, Notifier, ping_watchdog
from edgesplit.errors import EdgesplitError
from edgesplit.release import installed_version
from edgesplit_controller.configuration import ControllerConfiguration
from edgesplit_controller.extras import check_installed

__all__ = ["main"]

STATUS_EVERY_S = 1.0
"""How often it is looked at what `systemctl status` should say. [s]"""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: edgesplit-controller --config /etc/edgesplit/controller.toml",
)
@click.option("--config", "path", type=click.Path(path_type=Path), help="TOML file; without, defaults are used.")
@click.option("--print-config", is_flag=True, help="Show the effective values with their origin and exit.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="How much to log to standard error.",
)
@click.version_option(package_name="edgesplit", prog_name="edgesplit-controller")
def main(path: Path | None, print_config: bool, log_level: str) -> None:
    """Run the controller: registry, planner, artifact server.

    Every key of the file can be overridden by a variable: `[broker] url` by EDGESPLIT_BROKER_URL.
    """
    try:
        loaded = load_configuration(ControllerConfiguration, path)
        configuration = cast("ControllerConfiguration", loaded.values)
        configuration.validate()
        if print_config:
            click.echo(render_configuration(loaded))
            return
        check_installed("edgesplit-controller")
        configuration.check_security()
        set_up_logging(log_level, program="edgesplit-controller")
        asyncio.run(_run(configuration))
    except EdgesplitError as error:
        click.echo(f"edgesplit-controller: {error}", err=True)
        sys.exit(1)


async def _run(configuration: ControllerConfiguration) -> None:
    from edgesplit_controller.broker.embedded_broker import EmbeddedBroker  # noqa: PLC0415 - --print-config needs none of it
    from edgesplit_controller.storage.store import Store  # noqa: PLC0415
    from edgesplit_controller.succession.succession import Succession  # noqa: PLC0415

    notifier = Notifier()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    with contextlib.ExitStack() as stack:
        if configuration.broker.embedded:
            Store.check_free(configuration.store_path)  # before its broker finds its port taken
            broker = EmbeddedBroker(configuration.broker.url)
            broker.start()
            stack.callback(broker.stop)
        life = Succession(configuration)
        watchdog = asyncio.create_task(ping_watchdog(notifier))
        starting = asyncio.create_task(_start_and_tell(life, notifier, configuration))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()  # it ends by an error alone
        finally:
            notifier.stopping()
            for task in (starting, stopping, watchdog):
                task.cancel()
            await asyncio.gather(starting, stopping, watchdog, return_exceptions=True)
            await life.close()


class _Startable(Protocol):
    """The service, which is imported late."""

    @property
    def fault(self) -> str:
        """Why it does not reach the broker; empty while nothing is known."""
        ...

    @property
    def standing(self) -> str:
        """What it does now, and what is wrong with that."""
        ...

    async def start(self) -> str:
        """Begin; returns where artifacts are, or nothing where it stands by."""
        ...

    async def failed(self) -> None:
        """Wait for what ends it by itself, and raise it."""


async def _start_and_tell(service: _Startable, notifier: Notifier, configuration: ControllerConfiguration) -> None:
    """Start the service, and keep the service manager told where it stands, for ever."""
    log = structlog.get_logger(part="controller")
    broker = configuration.broker.address  # the URL itself may hold a password
    log.info("starting", version=installed_version(), store=configuration.store.path, broker=str(broker))
    if insecure := configuration.security.warning(configuration.listens):
        log.warning("insecure-network", text=insecure)
    notifier.status(f"connecting to {broker}")
    starting = asyncio.create_task(service.start())
    try:
        await asyncio.wait({starting}, timeout=BROKER_PATIENCE_S)
        said = ""
        while not starting.done():
            text = f"waiting for the broker: {service.fault or f'no MQTT broker answers at {broker} yet'}"
            if text != said:
                # A broker that comes up may turn out to refuse the controller.
                log.error("broker-unreachable", text=text)
                notifier.ready(text)
                said = text
            await asyncio.wait({starting}, timeout=STATUS_EVERY_S)
        base = await starting
    finally:
        starting.cancel()
    if base:
        log.info("ready", artifacts=base)
    notifier.ready(service.standing)
    said = service.standing
    failing = asyncio.ensure_future(service.failed())
    while True:
        await asyncio.wait({failing}, timeout=STATUS_EVERY_S)
        if failing.done():
            failing.result()
        if service.standing != said:
            said = service.standing
            notifier.status(said)


if __name__ == "__main__":
    main()
