"""What the configuration means to the data plane.

Owns: the translation, and saying that emulation is on. Its rule: values in, values out. Not here: the sections (`configuration.py`), the data plane.
"""

from __future__ import annotations

import structlog

from edgesplit.formatting import speed, time_span
from edgesplit.wire.frames import FrameLimits
from edgesplit_agent.configuration import DataSection, EmulationSection
from edgesplit_agent.dataplane.emulation import EmulatedLink, Emulation
from edgesplit_agent.dataplane.limits import Limits

__all__ = ["emulation_of", "limits_of", "log_emulation"]

PINGS_IN_SILENCE = 5
"""A single lost ping decides nothing."""
IDLE_SHARE = 0.7
"""Of the silence that is allowed: how far apart pings on an idle link are. [1]"""


def limits_of(section: DataSection, share_bytes: int = 1 << 40) -> Limits:
    """Bounds and timings.

    Args:
        section: Of the configuration.
        share_bytes: Most of the memory limit that a queue, or what arrives from strangers, may have. [B]
    """
    return Limits(
        queue_bytes=min(Limits.queue_bytes, share_bytes),
        arriving_bytes=min(Limits.arriving_bytes, share_bytes),
        frames=FrameLimits(body_bytes=section.max_body_bytes),
        dead_after_s=section.dead_after_s,
        dead_after_limit_s=section.dead_after_limit_s,
        ping_interval_s=section.dead_after_s / PINGS_IN_SILENCE,
        idle_ping_interval_s=section.dead_after_s * IDLE_SHARE,
        max_connections=section.max_connections,
        max_connections_per_address=section.max_connections_per_address,
    )


def emulation_of(section: EmulationSection) -> Emulation:
    """Emulated speed and links."""
    links = {
        peer: EmulatedLink(link.bandwidth_bytes_per_s, link.latency_s, link.up) for peer, link in section.links.items()
    }
    return Emulation(section.slow_down, links)


def log_emulation(emulation: EmulationSection) -> None:
    """Warn that figures are not the machine's, where they are not."""
    if emulation.active:
        links = {
            peer: f"{speed(link.bandwidth_bytes_per_s)}, {time_span(link.latency_s)}" + ("" if link.up else ", down")
            for peer, link in emulation.links.items()
        }
        text = "speed and links of this node are emulated, not the machine's"
        log = structlog.get_logger(part="agent")
        log.warning("emulation", text=text, slow_down=emulation.slow_down, links=links)
