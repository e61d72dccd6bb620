"""Machines with a booted systemd each, on one network, with edgesplit installed as its units say.

Owns: the overlays, links and processes of the machines. Its rule: a machine is installed the way systemd/README.md
tells people to, from the files of this checkout, and keeps its disk over a reboot. Not here: what is proven on them
(`test_fleet.py`).
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.services.material import REPOSITORY, debian_tree, dependencies_layer, overlay, project_wheel, run_folder
from tests.services.sandbox import CommandFailed, Sandbox

__all__ = ["AGENT", "BIN", "CONTROLLER", "PASSWORD", "SHARED", "Fleet", "Machine"]

BOOT_LIMIT_S = 90.0
NODES = ("device", "edge", "cloud")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
BIN = "/opt/edgesplit/bin"
SHARED = "/srv/shared"
"""Where every machine sees the fleet's `shared` folder."""
UNITS = REPOSITORY / "systemd"
PASSWORDS = "etc/mosquitto/edgesplit.passwords"
PASSWORD = "not-for-the-journal"
BROKER_URL = f"mqtt://controller:{PASSWORD}@127.0.0.1:1883"
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
    """

    name: str
    node: str
    address: str
    root: Path
    shared: Path
    sandbox: Sandbox
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
            nspawn += [f"--bind={self.shared}:{SHARED}"]
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

    def start(self, *command: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command on it without waiting for it."""
        return self.sandbox.start(*self._inside(), *command, output=output)

    def splitctl(self, *arguments: str, timeout_s: float = 180.0) -> Any:
        """Run splitctl on it and return its JSON document.

        Raises:
            CommandFailed: It ended with another status than 0.
        """
        line = [f"{BIN}/splitctl", "--broker", BROKER_URL, "--json", *arguments]
        return json.loads(self.run(*line, timeout_s=timeout_s))

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
    """Device, edge and cloud: fleet1 with broker, controller and an agent, fleet2 and fleet3 with an agent each.

    Args:
        settings: Node to what its agent.toml holds beyond the example.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.folder = run_folder("fleet")
        self.machines: dict[str, Machine] = {}
        self.boot_s: dict[str, float] = {}
        self._settings = settings
        self.shared = self.folder / "shared"
        self.shared.mkdir()
        self._sandbox = Sandbox("edgesplit-fleet")

    def __enter__(self) -> Fleet:
        """Install and boot all machines.

        Raises:
            CommandFailed: Something of that failed; everything is taken down again.
        """
        try:
            layers = self._install()
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

    def _install(self) -> list[Path]:
        """The layers all machines share: edgesplit's wheel and units above its dependencies above Debian."""
        below = [dependencies_layer(self._sandbox), debian_tree()]
        top, root = self.folder / "edgesplit", self.folder / "edgesplit-root"
        overlay(self._sandbox, root, top, below)
        wheel = project_wheel(self.folder / "wheel")
        self._sandbox.run("mount", "--bind", str(wheel.parent), str(root / "mnt"))
        pip = [f"{BIN}/pip", "install", "--quiet", "--no-index", "--no-deps"]
        self._sandbox.run("chroot", str(root), *pip, f"/mnt/{wheel.name}")
        self._sandbox.run("chroot", str(root), f"{BIN}/pip", "check")
        for unit in (AGENT, CONTROLLER):
            self._sandbox.run("install", "-m", "644", str(UNITS / unit), str(root / "etc/systemd/system"))
        self._sandbox.run("umount", "--recursive", str(root))
        return [top, *below]

    def _add_machine(self, number: int, node: str, layers: list[Path]) -> None:
        name, address = f"fleet{number}", f"10.77.0.{10 + number}"
        link = ["ip", "-n", name, "link"]
        self._sandbox.run("ip", "netns", "add", name)
        self._sandbox.run(*link, "set", "lo", "up")
        self._sandbox.run(*link, "add", "eth0", "type", "veth", "peer", "name", f"port{number}", "netns", "1")
        self._sandbox.run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        self._sandbox.run(*link, "set", "eth0", "up")
        self._sandbox.run("ip", "link", "set", f"port{number}", "master", "fleet", "up")
        machine = Machine(name, node, address, self.folder / name / "root", self.shared, self._sandbox)
        disk = self.folder / name / "disk"
        self._write_settings(machine, disk)
        overlay(self._sandbox, machine.root, disk, layers)
        first = not self.machines
        inside = ["chroot", str(machine.root)]
        systemctl = [*inside, "systemctl", "--quiet"]
        if first:
            self._sandbox.run(*inside, "install", "-m", "600", "-o", "mosquitto", "/dev/null", f"/{PASSWORDS}")
            for user in ("controller", *NODES):
                self._sandbox.run(*inside, "mosquitto_passwd", "-b", f"/{PASSWORDS}", user, PASSWORD)
            self._sandbox.run(*inside, "chown", "mosquitto:", f"/{PASSWORDS}")
        self._sandbox.run(*systemctl, "enable" if first else "disable", "mosquitto.service")
        self._sandbox.run(*systemctl, "enable", AGENT, *([CONTROLLER] if first else []))
        self.machines[node] = machine

    def _write_settings(self, machine: Machine, disk: Path) -> None:
        """Names and /etc/edgesplit from the examples, in the machine's own layer."""
        first = next(iter(self.machines.values()), machine)
        agent = (UNITS / "agent.example.toml").read_text(encoding="utf-8") + self._settings.get(machine.node, "")
        agent_environment = (UNITS / "agent.example.env").read_text(encoding="utf-8")
        files = {
            "etc/hostname": f"{machine.name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n{first.address} controller.example\n",
            "etc/edgesplit/agent.toml": agent.replace('name = "device"', f'name = "{machine.node}"'),
            "etc/edgesplit/agent.env": agent_environment.replace("//device:", f"//{machine.node}:"),
        }
        if first is machine:
            for source, target in (
                ("controller.example.toml", "etc/edgesplit/controller.toml"),
                ("controller.example.env", "etc/edgesplit/controller.env"),
                ("mosquitto.example.conf", "etc/mosquitto/conf.d/edgesplit.conf"),
            ):
                files[target] = (UNITS / source).read_text(encoding="utf-8")
        for name, text in files.items():
            path = disk / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("CHANGE-ME", PASSWORD), encoding="utf-8")
            path.chmod(0o600 if path.suffix == ".env" else 0o644)
