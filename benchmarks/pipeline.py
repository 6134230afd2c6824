"""Time and peak memory of every step of the chain, for the synthetic shop and, where present, Olist.

Run it with ``make bench``, or on two cores with ``taskset -c 0,1 .venv/bin/python -m benchmarks.pipeline``. Every step
is a process of its own, as a person would start it, so its time includes starting Python. Memory is the resident set
summed over the step's process tree, sampled 20 times a second; pages that processes share count in each.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.record import OUTPUT_HELP, save
from benchmarks.shops import OLIST, clv
from clv.machine import usable_cores

SAMPLE_SECONDS = 0.05
MEBIBYTE = 2**20


@dataclass
class Cost:
    """What a step took: seconds by the clock and of the processors, `peak` in bytes; of the processes it started."""

    step: str
    seconds: float = 0.0
    cpu: float = 0.0
    peak: int = 0


@contextmanager
def measured(step: str) -> Iterator[Cost]:
    """Measure the block: its time, and the memory of all processes below this one."""
    cost, done, me = Cost(step), threading.Event(), psutil.Process()

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            cost.peak = max(cost.peak, sum(map(resident, me.children(recursive=True))))

    sampler = threading.Thread(target=sample, daemon=True)
    started, before = time.perf_counter(), _cpu_seconds()
    sampler.start()
    try:
        yield cost
    finally:
        cost.seconds, cost.cpu = time.perf_counter() - started, _cpu_seconds() - before
        done.set()
        sampler.join()


def _cpu_seconds() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def resident(process: psutil.Process) -> int:
    """Bytes of memory that a process holds."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has ended since it was listed
        return 0


def steps(home: Path, shop: Path, trials: int) -> Iterator[Cost]:
    """The chain on an Olist-shaped shop, step by step."""
    verbs: list[tuple[str, list[object]]] = [
        ("load", ["load", shop]),
        ("transform", ["transform"]),
        ("tune", ["tune", "--trials", trials]),
        ("train", ["train"]),
        ("gate", ["promote"]),
        ("score", ["score"]),
    ]
    for step, arguments in verbs:
        with measured(step) as cost:
            clv(home, *arguments)
        yield cost
    yield serve(home)


def serve(home: Path) -> Cost:
    """Start the service, wait until it is ready, ask it for one prediction."""
    from clv.settings import Settings
    from experiments.console import Console
    from experiments.demo import question, served
    from experiments.workspace import Workspace

    workspace = Workspace(Settings(home=home), Console(quiet=True))
    body = question(workspace)
    with measured("serve + 1 request") as cost, served(workspace) as url:
        httpx.post(f"{url}/predict", json=body, timeout=30).raise_for_status()
    return cost


def whole(step: str, home: Path, *arguments: object) -> Iterator[Cost]:
    """The same chain as one call."""
    with measured(step) as cost:
        clv(home, *arguments)
    yield cost


def show(title: str, costs: Iterator[Cost]) -> list[Cost]:
    """Print a table, each line as soon as it is known; returns its lines, the sum last."""
    print(f"\n{title}\n{'step':<20} {'seconds':>8} {'CPU s':>8} {'peak MiB':>9}", flush=True)
    found = []
    for cost in costs:
        found.append(cost)
        print(f"{cost.step:<20} {cost.seconds:>8.1f} {cost.cpu:>8.1f} {cost.peak / MEBIBYTE:>9.0f}", flush=True)
    if len(found) > 1:
        total, cpu = sum(cost.seconds for cost in found), sum(cost.cpu for cost in found)
        found.append(Cost("all", total, cpu, max(cost.peak for cost in found)))
        print(f"{'all':<20} {total:>8.1f} {cpu:>8.1f} {found[-1].peak / MEBIBYTE:>9.0f}", flush=True)
    return found


def synthetic(folder: Path, customers: int, trials: int) -> Iterator[Cost]:
    with measured("synth") as cost:
        clv(folder / "home", "synth", folder / "synth", "--customers", customers)
    yield cost
    yield from steps(folder / "home", folder / "synth" / "shop", trials)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--customers", type=int, default=20_000, help="of the synthetic shop")
    parser.add_argument("--trials", type=int, default=12, help="of the search")
    parser.add_argument("--olist", type=Path, default=OLIST, help="the Kaggle zip; left out where it is absent")
    parser.add_argument("--only", choices=["synthetic", "olist"], help="leave the other one out")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=OUTPUT_HELP)
    parser.add_argument("--whole", action="store_true", help="measure `clv demo` and `clv run` as one call instead")
    arguments = parser.parse_args()
    cores = usable_cores()
    os.environ.setdefault("CLV_THREADS", str(cores))
    print(f"{cores} cores, {platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="clv-bench-") as temporary:
        folder = Path(temporary)
        shops: dict[str, list[Cost]] = {}
        if arguments.only != "olist":
            title = f"Synthetic shop, {arguments.customers:,} customers"
            if arguments.whole:
                show(title, whole("clv demo", folder / "demo", "demo", "--customers", arguments.customers))
            else:
                shops[title] = show(title, synthetic(folder, arguments.customers, arguments.trials))
        if arguments.only != "synthetic" and arguments.olist.exists():
            if arguments.whole:
                show("Olist", whole("clv run", folder / "run", "run", arguments.olist, "--trials", arguments.trials))
            else:
                shops["Olist"] = show("Olist", steps(folder / "olist", arguments.olist, arguments.trials))
    if shops:
        marts = sum(cost.seconds for cost in shops.get("Olist", []) if cost.step in ("load", "transform"))
        save(arguments.output, "pipeline", table=side_by_side(shops), olist_marts=round(marts))


def side_by_side(shops: dict[str, list[Cost]]) -> list[list[str]]:
    """Steps of all shops as the docs show them."""
    rows = [["", *shops]]
    for step in dict.fromkeys(cost.step for costs in shops.values() for cost in costs):
        found = [next((cost for cost in costs if cost.step == step), None) for costs in shops.values()]
        rows.append(
            [step, *(f"{cost.seconds:.1f} s, {cost.peak / MEBIBYTE:,.0f} MiB" if cost else "" for cost in found)]
        )
    return rows


if __name__ == "__main__":
    main()
