"""What this process may use of the machine it runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_cores() -> int:
    """Cores this process may run on: more threads than these get in each other's way."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes of memory this process may use: the machine's, or less where its container or service is bounded.

    Parameters
    ----------
    root
        Where the kernel shows control groups, for tests.
    """
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_control_group_limits(root)])


def _control_group_limits(root: Path) -> Iterator[int]:
    """Bounds of the process's own control group and of those around it, in version 2 and 1."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    mounted = root / "sys/fs/cgroup"
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            place, name = mounted, "memory.max"
        elif "memory" in controllers.split(","):
            place, name = mounted / "memory", "memory.limit_in_bytes"
        else:
            continue
        own = PurePosixPath(path.lstrip("/"))  # seen from outside a container, where inside it is the root
        for group in (own, *own.parents):
            try:
                yield int((place / group / name).read_text())
            except (OSError, ValueError):  # not mounted here; "max"
                continue
