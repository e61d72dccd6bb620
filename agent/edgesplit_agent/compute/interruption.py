"""Interrupting a run of onnxruntime that is under way, so that something more urgent need not wait for its end.

Owns: the one way to do that. Its rule: whoever runs behind requests offers it (`Worker.run(make_way=...)`). Not here:
who is more urgent (`worker.py`), what an ended run means to its caller.
"""

from __future__ import annotations

from typing import Any

from edgesplit.daemon.inference_runtime.late_runtime import inference_runtime

__all__ = ["Interruption"]


class Interruption:
    """Ends a run of onnxruntime before its next kernel.

    Attributes:
        asked: Whether it was asked to; the run then raises, unless it was about to end anyway.
        options: For the run.
    """

    def __init__(self) -> None:
        self.asked = False
        self.options: Any = inference_runtime().RunOptions()
        self.options.log_severity_level = 4  # giving way is no error

    def ask(self) -> None:
        """End the run."""
        self.asked = self.options.terminate = True
