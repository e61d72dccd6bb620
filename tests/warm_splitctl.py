"""splitctl without the start of an interpreter: one process has its modules and forks for each command.

Tests ask a fleet again and again while it works, on the cores that it works on; most of a question's 0.4 s of processor time went
into importing. Owns: that process. Its rule: what runs is splitctl's own entry point in a process of its own, with arguments,
environment, output and exit status as from a shell. Not here: what is asked (`LocalFleet.splitctl`).
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from demo.fleet import Invocation

__all__ = ["WarmSplitctl"]

ROOT = Path(__file__).parents[1]


class WarmSplitctl:
    """The process and its socket, from the first command on; a context manager that ends it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edgesplit-splitctl-")
        self._server: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.communicate()  # it ends with its standard input
        self._folder.cleanup()

    def __call__(self, asked: Invocation) -> subprocess.CompletedProcess[str]:
        """See `demo.fleet.Run`; the program is splitctl, of this interpreter."""
        command = [*asked.program, *asked.arguments]
        request = {
            "arguments": list(asked.arguments),
            "environment": dict(asked.environment),
            "show_progress": asked.show_progress,
        }
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._address())
            connection.settimeout(asked.timeout_s)
            with connection.makefile("rw", encoding="utf-8") as lines:
                print(json.dumps(request), file=lines, flush=True)
                process = int(lines.readline())
                try:
                    answer = json.loads(lines.readline())
                except TimeoutError as error:
                    os.kill(process, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(command, asked.timeout_s) from error
        return subprocess.CompletedProcess(command, answer["status"], answer["out"], answer["err"])

    def _address(self) -> str:
        address = str(Path(self._folder.name) / "socket")
        with self._starting:
            if self._server is None:
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(address)
                listener.listen()
                self._server = subprocess.Popen(
                    [sys.executable, "-m", __name__, str(listener.fileno())],
                    stdin=subprocess.PIPE,
                    cwd=ROOT,
                    pass_fds=[listener.fileno()],
                    start_new_session=True,  # Ctrl-C reaches the tests alone
                )
                listener.close()  # it is the server's now: without one, connecting fails instead of waiting
        return address


def serve(listener: socket.socket) -> None:
    """Fork for each connection, until standard input ends."""
    import edgesplit_controller.cli

    for module in pkgutil.walk_packages(edgesplit_controller.cli.__path__, f"{edgesplit_controller.cli.__name__}."):
        importlib.import_module(module.name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: who asked hears of the end
    with selectors.DefaultSelector() as ready:
        ready.register(listener, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        while all(key.fileobj is listener for key, _ in ready.select()):
            connection, _ = listener.accept()
            if os.fork() == 0:
                answer(connection)
            connection.close()


def answer(connection: socket.socket) -> None:
    """Run the one command that comes, and end this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection.makefile("rw", encoding="utf-8") as lines:
        asked: dict[str, Any] = json.loads(lines.readline())
        print(os.getpid(), file=lines, flush=True)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            os.dup2(out.fileno(), 1)
            if not asked["show_progress"]:
                os.dup2(err.fileno(), 2)
            status = run(asked["arguments"], asked["environment"])
            said = {}
            for name, file in (("out", out), ("err", err)):
                file.seek(0)
                said[name] = file.read().decode()
        print(json.dumps({"status": status, **said}), file=lines, flush=True)
    os._exit(0)


def run(arguments: list[str], environment: dict[str, str]) -> int:
    """splitctl's exit status, as the interpreter gives it."""
    from edgesplit_controller.cli.entry import main

    os.environ.clear()
    os.environ.update(environment)
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
