"""`make fuzz`: coverage-guided fuzzing with atheris, for a bounded time; defects are left as files.

Owns: the command line. Its rule: each target runs in a process of its own and ends by itself. Not here: what is
fuzzed (`targets.py`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
OUTPUT = Path("fuzz-output")


def main() -> int:
    """Run; the exit status is the number of targets in which a defect was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="which; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--write-seeds", action="store_true", help="write the corpus of valid inputs and end")
    parser.add_argument("--keep", action="store_true", help="keep the short inputs that were found as tests")
    parser.add_argument("--inside", metavar="TARGET", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        return _fuzz(arguments.inside, arguments.seconds)
    # Not earlier: what is imported before atheris instruments imports has no coverage.
    from tests.fuzz.corpus import keep, write_seeds
    from tests.fuzz.targets import TARGETS

    if arguments.write_seeds:
        write_seeds()
        return 0
    failed = 0
    for name in arguments.targets or TARGETS:
        sys.stderr.write(f"--- {name}: {arguments.seconds} s\n")
        command = [sys.executable, "-m", "tests.fuzz", "--inside", name, "--seconds", str(arguments.seconds)]
        failed += subprocess.run(command, check=False).returncode != 0
        if arguments.keep:
            keep(name, OUTPUT / name)
    return failed


def _fuzz(name: str, seconds: int) -> int:
    try:
        import atheris
    except ImportError:
        sys.stderr.write("fuzzing needs atheris: pip install '.[fuzz]'\n")
        return 2
    with atheris.instrument_imports(include=["edgesplit", "edgesplit_agent"]):
        from tests.fuzz.targets import TARGETS, bounded
    target = TARGETS[name]()

    def one(data: bytes) -> None:
        with bounded():
            target.run(data)

    found = OUTPUT / name
    found.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        "-max_len=65536",
        "-rss_limit_mb=2048",
        "-timeout=30",
        "-print_final_stats=1",
        f"-artifact_prefix={found}/defect-",
        str(found),
        str(CORPUS / name),
    ]
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
