"""Bare Debian machines with a booted systemd each, on one network, that people could set up with README.md in hand.

Owns: the overlays, links and processes of the machines. Its rule: a machine comes as Debian makes it, with a copy of this
checkout and where pip and apt find packages without a network; everything else is done to it by commands, and it keeps its
disk over a reboot. Not here: the commands (`instructions.py`), what is proven (`test_fleet.py`).
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.services.instructions import JOIN_LINE, Block, script
from tests.services.material import bare_tree, copy_checkout, overlay, run_folder, wheelhouse
from tests.services.sandbox import CommandFailed, Sandbox

__all__ = ["AGENT", "BIN", "CONTROLLER", "SHARED", "Fleet", "Machine"]

BOOT_LIMIT_S = 90.0
NODES = ("device", "edge", "cloud")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""As Debian gives root."""
BIN = "/opt/edgesplit/bin"
SHARED = "/srv/shared"
"""Where every machine sees the fleet's `shared` folder."""
CHECKOUT = "/root/edgesplit"
WHEELS = "/srv/wheels"
PIP = f"[global]\nno-index = true\nfind-links = {WHEELS}\ndisable-pip-version-check = true\n"
"""pip asks the folder of wheels instead of a registry."""
FIRST = "10.77.0.11"
AGENT = "edgesplit-agent.service"
CONTROLLER = "edgesplit-controller.service"
POWER_OFF = signal.SIGRTMIN + 4
"""Tells systemd to reach poweroff.target: systemd(1), SIGNALS."""


@dataclass
class Machine:
    """One machine.

    Attributes:
        address: Its IPv4 address in the fleet.
        root: Its disk, as seen from outside.
        node: The name of its agent.
        shared: A folder of this machine that it sees under `SHARED`.
        wheels: Another, of packages for pip.
        join_line: As splitctl printed it for this machine.
    """

    name: str
    node: str
    address: str
    root: Path
    shared: Path
    wheels: Path
    sandbox: Sandbox
    join_line: str = JOIN_LINE
    _nspawn: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _leader: int = 0
    _console: IO[bytes] | None = field(default=None, repr=False)

    def boot(self) -> float:
        """Switch it on; return the time until its systemd said that it has started. [s]

        Raises:
            CommandFailed: It did not boot.
        """
        started_s = time.monotonic()
        folder = self.root.parent
        address = folder / "notify"
        address.unlink(missing_ok=True)
        self._console = (folder / "console").open("ab")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind(str(address))
            notified.settimeout(1.0)
            cgroup = self.sandbox.cgroup / self.name
            options = ["--boot", "--register=no", "--keep-unit", "--console=pipe", "--notify-ready=yes"]
            nspawn = ["systemd-nspawn", "--quiet", "--directory", str(self.root), *options]
            nspawn += [f"--bind={self.shared}:{SHARED}", f"--bind-ro={self.wheels}:{WHEELS}"]
            nspawn += [f"--machine={self.name}", f"--network-namespace-path=/run/netns/{self.name}"]
            script = f'mkdir -p {cgroup} && echo 0 > {cgroup}/cgroup.procs && exec "$@"'
            self._nspawn = self.sandbox.start(
                "sh", "-c", script, "sh", *nspawn, output=self._console, environment={"NOTIFY_SOCKET": str(address)}
            )
            self._wait_ready(notified, started_s)
        return time.monotonic() - started_s

    def run(self, *command: str, timeout_s: float = 120.0) -> str:
        """Run a command on it as root and return its standard output.

        Raises:
            CommandFailed: It ended with another status than 0, or the machine is off.
        """
        return self.sandbox.run(*self._inside(), *command, timeout_s=timeout_s)

    def follow(self, block: Block, timeout_s: float = 600.0) -> str:
        """Do as a block of README.md says, in the checkout, as its reader would; return what it printed.

        Raises:
            CommandFailed: One of its commands failed; says which.
        """
        extras = "agent,controller" if self.address == FIRST else "agent"
        commands = script(block, {"EXTRAS": extras}, self.join_line)
        return self.run("bash", "-c", f"cd {CHECKOUT}\n{commands}", timeout_s=timeout_s)

    def start(self, *command: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command on it without waiting for it."""
        return self.sandbox.start(*self._inside(), *command, output=output)

    def splitctl(self, *arguments: str, timeout_s: float = 180.0) -> Any:
        """Run splitctl on it and return its JSON document.

        Raises:
            CommandFailed: It ended with another status than 0.
        """
        return json.loads(self.run("splitctl", "--json", *arguments, timeout_s=timeout_s))

    def reboot(self) -> float:
        """Reboot it from inside; return the time from the command until it has started again. [s]"""
        started_s = time.monotonic()
        # The command's own process dies with the machine.
        subprocess.run(self.sandbox.inside(*self._inside(), "systemctl", "reboot"), check=False, capture_output=True)
        self._wait_ended()
        # A container's supervisor, not systemd-nspawn, is to start it again: status 133 asks for that.
        assert self._nspawn is not None and self._nspawn.returncode == 133, self._nspawn
        self.boot()
        return time.monotonic() - started_s

    def power_off(self) -> None:
        """Shut it down in order."""
        if self._nspawn is not None and self._nspawn.poll() is None and self._leader:
            self.sandbox.run("kill", f"-{POWER_OFF}", str(self._leader))
            self._wait_ended()

    def _inside(self) -> list[str]:
        if not self._leader:
            raise CommandFailed(f"{self.name} is off")
        return [
            "nsenter",
            "-t",
            str(self._leader),
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-C",
            "--",
            "env",
            "-i",
            f"PATH={PATH}",
            "HOME=/root",
        ]

    def _wait_ready(self, notified: socket.socket, started_s: float) -> None:
        assert self._nspawn is not None
        while time.monotonic() - started_s < BOOT_LIMIT_S and self._nspawn.poll() is None:
            try:
                lines = notified.recv(4096).decode().splitlines()
            except TimeoutError:
                continue
            for line in lines:
                key, _, value = line.partition("=")
                if key == "X_NSPAWN_LEADER_PID":
                    self._leader = int(value)
                if line == "READY=1":
                    return
        console = (self.root.parent / "console").read_text(errors="replace")
        raise CommandFailed(f"{self.name} did not boot within {BOOT_LIMIT_S:g} s: {console[-2000:]}")

    def _wait_ended(self) -> None:
        assert self._nspawn is not None
        self._nspawn.wait(timeout=60)
        self._leader = 0
        if self._console is not None:
            self._console.close()


class Fleet:
    """Device, edge and cloud on one network without a way out; device is README's first machine."""

    def __init__(self) -> None:
        self.folder = run_folder("fleet")
        self.machines: dict[str, Machine] = {}
        self.boot_s: dict[str, float] = {}
        self.shared = self.folder / "shared"
        self.shared.mkdir()
        self._sandbox = Sandbox("edgesplit-fleet")

    def __enter__(self) -> Fleet:
        """Boot all machines.

        Raises:
            CommandFailed: Something of that failed; everything is taken down again.
        """
        try:
            checkout = self.folder / "checkout"
            copy_checkout(checkout / CHECKOUT.removeprefix("/"))
            layers = [checkout, bare_tree()]
            self._sandbox.run("ip", "link", "add", "fleet", "type", "bridge")
            self._sandbox.run("ip", "link", "set", "fleet", "up")
            for number, node in enumerate(NODES, start=1):
                self._add_machine(number, node, layers)
            for machine in self.machines.values():
                self.boot_s[machine.node] = machine.boot()
        except BaseException:
            self._take_down()
            raise
        return self

    @property
    def first(self) -> Machine:
        """README's first machine."""
        return self.machines["device"]

    def follow(self, block: Block) -> float:
        """Do as a block says on all machines it is for, at the same time; return how long that took. [s]

        Raises:
            CommandFailed: A command failed on one of them.
        """
        machines = [self.first] if block.first_only else list(self.machines.values())
        started_s = time.monotonic()
        with ThreadPoolExecutor(len(machines)) as pool:
            printed = "".join(pool.map(lambda machine: machine.follow(block), machines))
        took_s = time.monotonic() - started_s
        if lines := re.findall(r"^edgesplit-agent join .*$", printed, re.MULTILINE):
            for node, line in zip(NODES, lines, strict=True):  # as the command names them
                self.machines[node].join_line = line
        return took_s

    def journals(self, lines: int = 40) -> str:
        """The end of every machine's log, for whoever has to find out why something failed."""
        command = ["journalctl", "--no-pager", f"--lines={lines}", "--unit", "edgesplit-*", "--unit", "mosquitto"]
        texts: list[str] = []
        for name, machine in self.machines.items():
            try:
                texts.append(f"--- {name} ---\n{machine.run(*command)}")
            except CommandFailed as error:
                texts.append(f"--- {name} ---\n{error}")
        return "\n".join(texts)

    def __exit__(self, *_error: object) -> None:
        """Shut down and remove all machines."""
        for machine in self.machines.values():
            machine.power_off()
        self._take_down()

    def _take_down(self) -> None:
        self._sandbox.close()
        shutil.rmtree(self.folder)

    def _add_machine(self, number: int, node: str, layers: list[Path]) -> None:
        name, address = f"fleet{number}", f"10.77.0.{10 + number}"
        link = ["ip", "-n", name, "link"]
        self._sandbox.run("ip", "netns", "add", name)
        self._sandbox.run(*link, "set", "lo", "up")
        self._sandbox.run(*link, "add", "eth0", "type", "veth", "peer", "name", f"port{number}", "netns", "1")
        self._sandbox.run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        self._sandbox.run(*link, "set", "eth0", "up")
        self._sandbox.run("ip", "link", "set", f"port{number}", "master", "fleet", "up")
        folder = self.folder / name
        machine = Machine(name, node, address, folder / "root", self.shared, wheelhouse(), self._sandbox)
        disk = folder / "disk"
        for file, text in (
            ("etc/hostname", f"{name}\n"),
            # As Debian's installer writes it: the machine's own name is its loopback.
            ("etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {name}\n"),
            ("etc/pip.conf", PIP),
        ):
            path = disk / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        overlay(self._sandbox, machine.root, disk, layers)
        self.machines[node] = machine
