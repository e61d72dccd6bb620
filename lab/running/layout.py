"""Layout of the testbed that a scenario describes.

Owns: the way from machines and links of a file to those of the testbed. Its rule: a core that this machine lacks is its last one.
Not here: either side's values.
"""

from __future__ import annotations

import os

from lab.scenarios.scenario import LinkSpec, MachineSpec, Scenario
from lab.testbed.cgroups import ProcessorShare
from lab.testbed.shaping import Shape
from lab.testbed.testbed import Layout, Machine, ShapedLink

__all__ = ["layout_of"]


def layout_of(scenario: Scenario, cores: int | None = None) -> Layout:
    """Machines and links of a scenario.

    Args:
        scenario: What they are.
        cores: That this machine has; None: as many as it says.
    """
    last = (cores or os.cpu_count() or 1) - 1
    return Layout(
        machines=tuple(_machine(entry, last) for entry in scenario.machine),
        links=tuple(_link(entry) for entry in scenario.link),
    )


def _machine(entry: MachineSpec, last: int) -> Machine:
    pinned = tuple(sorted({min(core, last) for core in entry.pinned_to}))
    share = ProcessorShare(entry.cores, pinned)
    return Machine(entry.name, entry.compute_w, entry.transmit_w, share, slow_down=entry.slow_down)


def _link(entry: LinkSpec) -> ShapedLink:
    back_bytes_per_s = entry.there_bytes_per_s if entry.back_bytes_per_s is None else entry.back_bytes_per_s
    delay_back_s = entry.delay_there_s if entry.delay_back_s is None else entry.delay_back_s
    return ShapedLink(
        entry.ends, Shape(entry.there_bytes_per_s, entry.delay_there_s), Shape(back_bytes_per_s, delay_back_s)
    )
