"""A fleet on one machine: controller and agents as processes, with emulated speed and links or in places of their own.

Owns: the processes, their configuration files and logs. Its rule: everything started here is ended here, by its own
process id, whatever happens. Not here: what is asked of the fleet (`run.py`, the integration tests).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from demo.ports import free_port
from edgesplit.wire.address import is_loopback

__all__ = ["CommandFailed", "EmulatedLink", "EmulatedNode", "Invocation", "LocalFleet", "Place", "Run", "run_program"]

PROGRAMS = {
    "splitctl": "edgesplit_controller.cli.entry",
    "edgesplit-controller": "edgesplit_controller.main",
    "edgesplit-agent": "edgesplit_agent.main",
}
"""Name to the module that has its `main`."""
ENDS_WITHIN_S = 20.0
"""As the units have it (TimeoutStopSec=). [s]"""


SMALL_FLEET = 16
"""Up to so many nodes a controller has all links measured ([planning] candidates)."""


@dataclass(frozen=True)
class Invocation:
    """A program to be run to its end.

    Attributes:
        program: How its command line begins.
        arguments: The rest of it.
        environment: All variables that it has.
        timeout_s: After which it is killed. [s]
        show_progress: Its standard error goes through to this process's.
    """

    program: Sequence[str]
    arguments: Sequence[str]
    environment: Mapping[str, str]
    timeout_s: float
    show_progress: bool = False


Run = Callable[[Invocation], "subprocess.CompletedProcess[str]"]
"""What runs a program and keeps what it prints; raises subprocess.TimeoutExpired where it had to be killed."""


def run_program(asked: Invocation) -> subprocess.CompletedProcess[str]:
    """Start it as a shell would; see `Run`."""
    return subprocess.run(
        [*asked.program, *asked.arguments],
        stdout=subprocess.PIPE,
        stderr=None if asked.show_progress else subprocess.PIPE,
        text=True,
        timeout=asked.timeout_s,
        check=False,
        env=asked.environment,
    )


class CommandFailed(Exception):
    """A splitctl command ended with another exit code than expected.

    Attributes:
        exit_code: Of splitctl.
        error: The error document it printed, or its standard error.
    """

    def __init__(self, command: Sequence[str], exit_code: int, error: Any) -> None:
        super().__init__(f"splitctl {' '.join(command)} exited {exit_code}: {error}")
        self.exit_code = exit_code
        self.error = error


@dataclass(frozen=True)
class EmulatedLink:
    """What the sender paces a link to [B/s, s], and whether anything passes; a bandwidth of 0 is not paced."""

    bandwidth_bytes_per_s: float
    latency_s: float
    up: bool = True


@dataclass(frozen=True)
class EmulatedNode:
    """One agent process.

    Attributes:
        compute_w: Configured power of computing. [W]
        transmit_w: Configured power of sending. [W]
        slow_down: Factor on every compute time. [1]
        links: Peer name to link; a missing peer is not paced.
        power: Lines of the `[power]` section beside these watts; constant watts by default.
        data: More lines of the `[data]` section.
        runtime: More lines of the `[runtime]` section.
        labels: Of its `[node]` section.
    """

    name: str
    compute_w: float
    transmit_w: float
    slow_down: float = 1.0
    memory_limit_bytes: int = 4 << 30
    links: Mapping[str, EmulatedLink] = field(default_factory=dict)
    power: str = 'source = "constant"'
    data: str = ""
    runtime: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a process of the fleet lives.

    Attributes:
        command: What precedes its command line, such as `nsenter`; it must keep the process id.
        host: Address at which it listens and that others are told.
        python: Interpreter that runs it, of an environment with edgesplit's dependencies; empty: this one.
    """

    command: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    python: str = ""

    @property
    def security(self) -> str:
        """Section `[security]` of a process there: networks of a testbed are its own, and nobody else is on them."""
        return "" if is_loopback(self.host) else "[security]\ninsecure_network = true\n"


class LocalFleet:
    """Controller and agents, on loopback unless placed elsewhere; a context manager that ends them all.

    Attributes:
        run: What runs splitctl on this machine itself.

    Args:
        folder: For configurations, logs, caches and the controller's store.
        nodes: One agent each.
        broker: URL of a running broker, or None to have the controller run amqtt in its own process.
        places: Of agents by name, and of `controller`; who is not named lives on loopback.
        latency_model: What latency means to the planner.
        planning: More lines of the controller's `[planning]` section.
        dashboard: Whether the controller has one, at a port of its own.
    """

    run: ClassVar[Run] = staticmethod(run_program)

    def __init__(
        self,
        folder: Path,
        nodes: Sequence[EmulatedNode],
        *,
        broker: str | None = None,
        places: Mapping[str, Place] | None = None,
        latency_model: str = "sum",
        planning: str = "",
        dashboard: bool = False,
    ) -> None:
        self.folder = folder
        self.nodes = {node.name: node for node in nodes}
        self.places = dict(places or {})
        self.latency_model = latency_model
        self.planning = planning
        self.embedded = broker is None
        self.broker = broker or f"mqtt://127.0.0.1:{free_port()}"
        self.data_ports = {name: free_port() for name in self.nodes}
        self.http_ports = {name: free_port() for name in self.nodes}
        self.artifact_port = free_port()
        self.dashboard_address = f"127.0.0.1:{free_port()}" if dashboard else ""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for child in ("logs", "config", "cache"):
            (folder / child).mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- processes -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the controller, then all agents."""
        self.start_controller()
        for name in self.nodes:
            self.start_agent(name)

    def start_controller(self) -> None:
        """Start the controller (and with it the embedded broker)."""
        path = self.folder / "config" / "controller.toml"
        artifacts = self.artifact_address
        path.write_text(
            f'[broker]\nurl = "{self.broker}"\nembedded = {str(self.embedded).lower()}\n'
            f'[store]\npath = "{self.folder / "store"}"\n'
            f'[artifacts]\nlisten = "{artifacts}"\nadvertise = "{artifacts}"\n'
            f'[planning]\nlatency_model = "{self.latency_model}"\n{self.planning}\n'
            f"{self._dashboard_section()}"
            f"{self._place('controller').security}",
            encoding="utf-8",
        )
        self._spawn("controller", "edgesplit-controller", path)

    def _dashboard_section(self) -> str:
        """Said of each fleet, so that several on a machine do not all listen at the default port."""
        return f'[dashboard]\nlisten = "{self.dashboard_address}"\n'

    def start_agent(self, name: str) -> None:
        """Start one agent with its current emulation."""
        self._spawn(name, "edgesplit-agent", self._write_agent(name))

    @property
    def artifact_address(self) -> str:
        """host:port of the controller's HTTP."""
        return f"{self._place('controller').host}:{self.artifact_port}"

    def address(self, name: str) -> str:
        """host:port of an agent's data plane."""
        return f"{self._place(name).host}:{self.data_ports[name]}"

    def pid(self, name: str) -> int:
        """Of a process that was started."""
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """End a process at once, as a power cut would (SIGKILL)."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def end(self, name: str) -> None:
        """End a process in order, as its service manager would, and wait until it has ended (SIGTERM, SIGKILL later)."""
        process = self._processes.pop(name)
        process.terminate()
        try:
            process.wait(timeout=ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def hang(self, name: str) -> None:
        """Stop a process where it stands; its sockets stay (SIGSTOP)."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a process go on that hangs."""
        self._processes[name].send_signal(signal.SIGCONT)

    def set_link(self, source: str, target: str, link: EmulatedLink) -> None:
        """Change one emulated link while everything runs."""
        node = self.nodes[source]
        self.set_node(replace(node, links={**node.links, target: link}))

    def set_node(self, node: EmulatedNode) -> None:
        """Change an agent's `[emulation]` or `[power]` while it runs, or before it starts again."""
        self.nodes[node.name] = node
        self._write_agent(node.name)
        if node.name in self._processes:
            self._processes[node.name].send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End every process that is left, politely first."""
        for process in self._processes.values():
            process.terminate()
            process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + ENDS_WITHIN_S
        for process in self._processes.values():
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def ended(self) -> dict[str, int]:
        """Processes that ended by themselves, with their exit codes."""
        return {name: code for name, process in self._processes.items() if (code := process.poll()) is not None}

    def log(self, name: str) -> str:
        """What a process wrote so far."""
        return (self.folder / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    # --- splitctl --------------------------------------------------------------------------------------------------

    def splitctl(
        self, *command: str, timeout_s: float = 240.0, show_progress: bool = False, at: str = "controller"
    ) -> Any:
        """Run `splitctl --json COMMAND` and return its document.

        Args:
            command: Without `splitctl --broker URL --json`.
            at: In whose place it runs.
            timeout_s: After which it is killed. [s]
            show_progress: Let its standard error through to this process's.

        Raises:
            CommandFailed: It exited with another code than 0.
        """
        place = self._place(at).command
        asked = Invocation(
            [*place, *self._tool("splitctl")],
            ["--broker", self.broker, "--json", *command],
            self._environment(),
            timeout_s,
            show_progress,
        )
        done = run_program(asked) if place else LocalFleet.run(asked)
        if done.returncode != 0:
            try:
                error = json.loads(done.stdout)
            except json.JSONDecodeError:
                error = (done.stderr or done.stdout).strip()
            raise CommandFailed(command, done.returncode, error)
        return json.loads(done.stdout)

    def await_nodes(self, timeout_s: float = 60.0) -> None:
        """Wait until every started agent is online and every link that is to be measured is: all of them in a small fleet.

        Raises:
            TimeoutError: It did not happen, with the last lines of the logs.
        """
        deadline = time.monotonic() + timeout_s
        wanted = set(self._processes) - {"controller"}
        labelled = any(self.nodes[name].labels for name in wanted if name in self.nodes)
        small = len(wanted) <= SMALL_FLEET and not labelled
        pairs = {(a, b) for a in wanted for b in wanted if a != b} if small else set[tuple[str, str]]()
        while time.monotonic() < deadline:
            try:
                online = {row["name"] for row in self.splitctl("nodes") if row["online"]}
                links = {(row["from"], row["to"]): row["latency_s"] for row in self.splitctl("links")}
            except CommandFailed:
                online, links = set(), {}
            measured = {pair for pair, latency_s in links.items() if latency_s is not None}
            if online >= wanted and measured >= (pairs or links.keys()):
                return
            if gone := self.ended():
                raise TimeoutError(f"{gone} ended: {self.log(next(iter(gone)))[-2000:]}")
            time.sleep(0.3)
        raise TimeoutError(f"not all of {sorted(wanted)} came online within {timeout_s:.0f} s")

    # --- inside ----------------------------------------------------------------------------------------------------

    def _place(self, name: str) -> Place:
        return self.places.get(name, Place())

    def _tool(self, name: str, python: str = "") -> list[str]:
        """A program's command line: its script beside an interpreter, or where edgesplit is not installed its module."""
        interpreter = Path(python or sys.executable)
        script = interpreter.parent / name
        return (
            [str(script)]
            if script.exists()
            else [str(interpreter), "-c", f"import sys; from {PROGRAMS[name]} import main; sys.exit(main())"]
        )

    def _environment(self) -> dict[str, str]:
        # Whatever EDGESPLIT_ variables the caller's shell has must not reach into the fleet.
        return {key: value for key, value in os.environ.items() if not key.startswith("EDGESPLIT_")}

    def _spawn(self, name: str, tool: str, config: Path) -> None:
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*self._place(name).command, *self._tool(tool, self._place(name).python), "--config", str(config)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then ends these in order
            )

    def _write_agent(self, name: str) -> Path:
        node = self.nodes[name]
        links = "".join(
            f"[emulation.links.{peer}]\nbandwidth_bytes_per_s = {float(link.bandwidth_bytes_per_s)}\n"
            f"latency_s = {float(link.latency_s)}\nup = {str(link.up).lower()}\n"
            for peer, link in node.links.items()
        )
        labels = "".join(f'labels.{key} = "{value}"\n' for key, value in node.labels.items())
        labelled = f"[node]\n{labels}" if labels else ""  # a section that older agents do not know
        path = self.folder / "config" / f"{name}.toml"
        path.write_text(
            f'name = "{name}"\n{labelled}[broker]\nurl = "{self.broker}"\n'
            f'[data]\nlisten = "{self.address(name)}"\nadvertise = "{self.address(name)}"\n{node.data}\n'
            f"[power]\n{node.power}\ncompute_w = {node.compute_w}\ntransmit_w = {node.transmit_w}\n"
            f"[runtime]\nthreads = 1\nmemory_limit_bytes = {node.memory_limit_bytes}\n{node.runtime}\n"
            f'[http]\nlisten = "127.0.0.1:{self.http_ports[name]}"\n'
            f'[cache]\npath = "{self.folder / "cache" / name}"\n'
            f"[emulation]\nslow_down = {float(node.slow_down)}\n{links}"
            f"{self._place(name).security}",
            encoding="utf-8",
        )
        return path
