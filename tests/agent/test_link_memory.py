"""What links carried, over restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesplit.control.figure_messages import LinkState
from edgesplit_agent.autonomy.link_memory import KEPT_S, LinkMemory

NOW_UNIX_S = 1_000_000.0


class Wall:
    now = NOW_UNIX_S

    def __call__(self) -> float:
        return self.now


def link(to: str, rate: float, latency_s: float = 0.05, *, up: bool = True, age_s: float = 0.0) -> LinkState:
    return LinkState(
        to=to,
        up=up,
        bandwidth_bytes_per_s=rate,
        latency_s=latency_s,
        measured_at_unix_s=0.0,
        age_s=age_s,
    )


async def kept(folder: Path, wall: Wall, *links: LinkState) -> LinkMemory:
    memory = LinkMemory(folder, "device", wall)
    memory.take(links)
    await memory.close()
    return LinkMemory(folder, "device", wall)


async def test_what_was_known_at_the_end_is_known_at_the_next_start_with_its_age(tmp_path: Path) -> None:
    wall = Wall()
    memory = await kept(tmp_path / "cache", wall, link("cloud", 1e8, age_s=30.0), link("edge", 2e7))
    wall.now += 600.0
    assert memory.recalled("cloud") == (1e8, 630.0)
    assert memory.recalled("edge") == (2e7, 600.0)
    assert memory.recalled("other") is None
    wall.now += KEPT_S
    assert memory.recalled("cloud") is None


async def test_links_that_are_down_or_within_a_room_are_not_kept(tmp_path: Path) -> None:
    memory = await kept(tmp_path, Wall(), link("cloud", 1e8, up=False), link("edge", 1e9, latency_s=0.0002))
    assert memory.recalled("cloud") is None
    assert memory.recalled("edge") is None


async def test_a_program_that_is_killed_leaves_what_was_written_meanwhile(tmp_path: Path) -> None:
    memory = LinkMemory(tmp_path, "device", Wall())
    memory.take([link("cloud", 1e8)])
    assert memory._writing is not None
    await memory._writing
    memory.take([link("cloud", 5e6)])  # too soon after it
    assert memory._writing is None
    again = LinkMemory(tmp_path, "device", Wall())
    assert again.recalled("cloud") == (1e8, 0.0)
    await memory.close()
    again = LinkMemory(tmp_path, "device", Wall())
    assert again.recalled("cloud") == (5e6, 0.0)


async def test_what_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    memory = await kept(tmp_path, Wall(), link("cloud", 1e8))
    memory.take([link("cloud", 1.01e8)])
    await memory.close()
    assert LinkMemory(tmp_path, "device", Wall()).recalled("cloud") == (1e8, 0.0)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b'{"format": "edgesplit-links/9", "links": []}', b'{"links": [{"to": 1}]}']
)
async def test_a_file_that_cannot_be_used_is_measured_anew_and_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "links-device.json").write_bytes(content)
    memory = await kept(tmp_path, Wall(), link("cloud", 1e8))
    assert memory.recalled("cloud") == (1e8, 0.0)


async def test_a_folder_that_cannot_be_written_costs_the_memory_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    memory = await kept(tmp_path / "file" / "cache", Wall(), link("cloud", 1e8))
    assert memory.recalled("cloud") is None
    nowhere = LinkMemory(None, "device", Wall())
    nowhere.take([link("cloud", 1e8)])
    await nowhere.close()
    assert nowhere.recalled("cloud") == (1e8, 0.0)  # as long as the program lasts
