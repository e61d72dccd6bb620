"""What an agent does not load before it needs it."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("cryptography", "onnxruntime", "onnx", "ortools", "networkx", "zstandard")


def test_an_agent_without_a_model_or_an_authority_loads_no_runtime_and_no_cryptography() -> None:
    code = (
        "import sys, edgesplit_agent.main, edgesplit_agent.daemon\n"
        "print(' '.join(name for name in sys.argv[1:] if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
