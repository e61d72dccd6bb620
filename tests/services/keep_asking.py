"""Send requests to the local agent for some seconds and print how many were answered; the first failure ends it.

Runs on a machine of the fleet with its installed edgesplit: keep_asking.py MODEL INPUT.npz SECONDS.
"""

from __future__ import annotations

import sys
import time

import numpy as np

import edgesplit


def main(model: str, path: str, seconds: float) -> None:
    """Ask again and again."""
    with np.load(path) as file:
        inputs = {name: file[name] for name in file.files}
    answered = 0
    until_s = time.monotonic() + seconds
    with edgesplit.connect("127.0.0.1:7400") as node:
        while time.monotonic() < until_s:
            node.infer(model, inputs)
            answered += 1
    sys.stdout.write(f"{answered}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
