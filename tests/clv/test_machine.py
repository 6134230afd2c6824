import os
from pathlib import Path

import pytest

from clv import settings
from clv.machine import usable_memory

PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
MIB = 2**20


def kernel(root: Path, groups: str, limits: dict[str, str]) -> Path:
    """What the kernel shows of control groups."""
    for name, content in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{k}": v for k, v in limits.items()}}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/", {}, PHYSICAL),
        ("0::/", {"memory.max": "max"}, PHYSICAL),
        ("0::/", {"memory.max": str(64 * MIB)}, 64 * MIB),
        ("0::/user/job", {"user/job/memory.max": "max", "user/memory.max": str(32 * MIB)}, 32 * MIB),
        ("0::/on/the/host", {"memory.max": str(16 * MIB)}, 16 * MIB),
        ("5:cpu,memory:/job\n1:pids:/", {"memory/job/memory.limit_in_bytes": str(8 * MIB)}, 8 * MIB),
        ("5:memory:/docker/1f", {"memory/memory.limit_in_bytes": str(4 * MIB)}, 4 * MIB),
        ("5:memory:/", {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, PHYSICAL),
    ],
    ids=[
        "none",
        "max",
        "container",
        "around it",
        "named as outside",
        "version 1",
        "container of version 1",
        "unbounded",
    ],
)
def test_memory_is_the_machines_or_what_its_control_groups_leave(
    groups: str, limits: dict[str, str], expected: int, tmp_path: Path
) -> None:
    assert usable_memory(kernel(tmp_path, groups, limits)) == expected


def test_where_there_are_no_control_groups_it_is_the_machines(tmp_path: Path) -> None:
    assert usable_memory(tmp_path) == PHYSICAL


@pytest.mark.parametrize(
    ("usable", "expected"), [(10**9, "1000MB"), (8 * 10**9, "2000MB"), (16 * 10**9, "4000MB"), (10**12, "6000MB")]
)
def test_the_memory_limit_is_a_quarter_of_it(usable: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "usable_memory", lambda: usable)
    assert settings.Settings().memory_limit == expected
    assert settings.Settings(memory_limit="3 GiB").memory_limit == "3 GiB"
