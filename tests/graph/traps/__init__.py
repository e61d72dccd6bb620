"""Small models as people have them: each holds one trap beside an operator that may run in int8.

Owns: the models, by the kind of their trap. Its rule: plain onnxruntime runs every one of them. Not here: what is
asked of them (the tests that import this).
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.graph.traps.bodies import BODIES
from tests.graph.traps.classifiers import CLASSIFIERS, TEXTS
from tests.graph.traps.containers import CONTAINERS, EMPTY, QUANTIZED
from tests.graph.traps.loops import LOOPS
from tests.graph.traps.trap import Trap, random_inputs
from tests.graph.traps.types import DTYPES, OLD
from tests.graph.traps.unread import UNREAD
from tests.graph.traps.values import INDICES, INTEGERS, SCALARS

__all__ = ["CLASSIFIERS", "TRAPS", "Trap", "random_inputs"]

TRAPS: Mapping[str, Trap] = {
    **UNREAD,
    **BODIES,
    **SCALARS,
    **INTEGERS,
    **INDICES,
    **OLD,
    **DTYPES,
    **LOOPS,
    **TEXTS,
    **CONTAINERS,
    **EMPTY,
    **QUANTIZED,
}
