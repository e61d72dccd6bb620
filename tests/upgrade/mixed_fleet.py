"""A fleet on one machine whose processes are of two releases: this checkout's, and the previous one from its wheel.

Owns: which process is of which release, replacing one by another on the same files, and splitctl and load of either. Its rule: a process
of the previous release sees that wheel before anything else; both share the libraries of this environment. Not here: in
which order a fleet is upgraded (`rolling.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from demo.fleet import CommandFailed, EmulatedNode, LocalFleet, Place
from tests.waiting import blocking_until

__all__ = ["PREVIOUS", "PREVIOUS_WHEEL", "Asked", "Load", "MixedFleet", "Release"]

Release = Literal["previous", "this"]
PREVIOUS_WHEEL = Path(__file__).with_name("edgesplit-0.1.0-py3-none-any.whl")
"""Made of commit 09e813f, the last one before the changelog's first heading of a release."""
PREVIOUS = "0.1.0"
OPERATOR = "operator"
"""Where splitctl runs: in no daemon's place."""
_SPLITCTL_OF_PREVIOUS = "import sys; from edgesplit_controller.cli.main import main; sys.exit(main())"
_ASKING = Path(__file__).with_name("asking.py")
SERVES_WITHIN_S = 120.0
STAYS = "change_threshold = 0.9\ngain_threshold = 0.9\n"
"""What other programs of this machine do to its speed is no reason to plan again."""


@dataclass(frozen=True)
class Asked:
    """What became of a load.

    Attributes:
        client: Release of the client library.
        failures: The first of those that failed, with the time.
        epochs: That answered.
    """

    client: str
    answered: int
    failed: int
    failures: tuple[str, ...]
    epochs: tuple[int, ...]


class MixedFleet(LocalFleet):
    """See module.

    Args:
        folder: For all files, the previous release's code among them.
        nodes: One agent each.
        broker: URL of a running broker.
    """

    def __init__(self, folder: Path, nodes: Sequence[EmulatedNode], *, broker: str) -> None:
        super().__init__(folder, nodes, broker=broker, planning=STAYS)
        self.previous = folder / "previous"
        with zipfile.ZipFile(PREVIOUS_WHEEL) as wheel:
            wheel.extractall(self.previous)

    def use(self, name: str, release: Release) -> None:
        """Of which release a process is when it is started next."""
        self.places[name] = Place(("env", f"PYTHONPATH={self.previous}")) if release == "previous" else Place()

    def replace(self, name: str, release: Release) -> None:
        """End a process as its service manager would and start one of a release on what it left."""
        self.end(name)
        self.use(name, release)
        if name == "controller":
            self.start_controller()
        else:
            self.start_agent(name)

    def splitctl(self, *command: str, timeout_s: float = 240.0, show_progress: bool = False, at: str = OPERATOR) -> Any:
        """See `LocalFleet.splitctl`; this checkout's, whichever release the controller is of."""
        return super().splitctl(*command, timeout_s=timeout_s, show_progress=show_progress, at=at)

    def _dashboard_section(self) -> str:
        """None for the previous release, which does not know the section."""
        return "" if self.places.get("controller", Place()).command else super()._dashboard_section()

    def previous_splitctl(self, *command: str, timeout_s: float = 120.0) -> Any:
        """The document that the previous release's splitctl prints."""
        done = subprocess.run(
            [sys.executable, "-c", _SPLITCTL_OF_PREVIOUS, "--broker", self.broker, "--json", *command],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "PYTHONPATH": str(self.previous)},
        )
        assert done.returncode == 0, f"splitctl {PREVIOUS} {' '.join(command)}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def versions(self) -> dict[str, str]:
        """Release of every node that is online."""
        return {row["name"]: row["version"] for row in self.splitctl("nodes") if row["online"]}

    def await_serving(self, model: str, request: Path) -> dict[str, Any]:
        """Wait until requests are answered on the active plan, no fallback, and return the plan."""

        def serving() -> dict[str, Any] | None:
            try:
                plan = self.splitctl("plan", model)
                asked = self.splitctl("infer", model, "--input", str(request))
            except CommandFailed:  # while there is no controller
                return None
            return plan if asked["epochs"] == [plan["epoch"]] and not asked["failed"] else None

        return blocking_until(serving, f"that {model} is served on its plan", within_s=SERVES_WITHIN_S, poll_s=0.2)


class Load:
    """Steady requests beside everything else, until `end`.

    Args:
        fleet: That is asked.
        release: Of the client library.
        model: Name of a deployed model.
        request: Its inputs, an .npz file.
        expected: What must come, another.
        node: Whose agent is asked first.
        patience_s: Of a client of this release; None: it has none. [s]
    """

    def __init__(
        self,
        fleet: MixedFleet,
        release: Release,
        model: str,
        request: Path,
        expected: Path,
        node: str,
        patience_s: float | None = None,
    ) -> None:
        self._fleet = fleet
        self.node = node
        environment = dict(os.environ)
        if release == "previous":
            environment["PYTHONPATH"] = str(fleet.previous)
        command = [sys.executable, str(_ASKING), model, str(request), str(expected), fleet.address(node)]
        command += [] if patience_s is None else [str(patience_s)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._heard(f"asking {fleet.address(node)}")

    def move(self, node: str) -> None:
        """Ask another node's agent from now on; returns once what the former was asked is answered."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self._fleet.address(node)}\n")
        self._process.stdin.flush()
        self._heard(f"asking {self._fleet.address(node)}")
        self.node = node

    def end(self) -> Asked:
        """Stop asking, and say what became of it."""
        said, _ = self._process.communicate(timeout=60)
        return msgspec.json.decode(said, type=Asked)

    def kill(self) -> None:
        """End it whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _heard(self, line: str) -> None:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        assert said == line, f"the load said {said!r} where {line!r} was to come"
