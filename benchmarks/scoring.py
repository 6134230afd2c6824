"""`clv score` on a million customers: time a row beside the raw predict of the same matrix, and peak memory.

``.venv/bin/python -m benchmarks.scoring --home .clv`` with a home that ``clv run`` or ``clv demo`` has filled. Its
customers are repeated in a copy of the home until there are enough; model A (one hurdle of 300 + 300 trees) is
fitted on the home's snapshots and promoted there. Memory is the resident set of the process that scores.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np

from benchmarks.pipeline import MEBIBYTE, Cost, measured
from benchmarks.record import OUTPUT_HELP, save
from benchmarks.serving import RECIPES, fit
from benchmarks.shops import clv
from clv.settings import Settings
from clv.snapshots import read_snapshots, stream_snapshots
from experiments.console import Console
from experiments.tracking import Tracker
from experiments.workspace import Workspace

BAR = 8.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".clv"), help="home that `clv run` has filled")
    parser.add_argument("--customers", type=int, default=1_000_000, help="customers to score")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=OUTPUT_HELP)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clv-bench-") as folder:
        found = measure(arguments.home.absolute(), Path(folder), arguments.customers)
    save(arguments.output, "scoring", table=(), **found)


def measure(home: Path, folder: Path, customers: int) -> dict[str, float]:
    """Print what scoring takes; returns the figures that the docs quote."""
    settings = Settings(home=folder)
    shutil.copyfile(home / "warehouse.duckdb", folder / "warehouse.duckdb")
    trees = register(home, settings)
    grow(folder / "warehouse.duckdb", customers)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    raw = raw_seconds(settings, customers)
    print(f"raw inplace_predict of {trees} trees, {settings.threads} threads: {raw / customers * 1e6:.1f} us a row")
    found: dict[str, float] = {"customers": customers}
    for kind in ("csv", "parquet"):
        cost = score(folder, kind)
        rest = (cost.seconds - raw) / customers * 1e6
        print(
            f"clv score, {customers:,} customers to {kind} and the table: {cost.seconds:.1f} s, peak "
            f"{cost.peak / MEBIBYTE:,.0f} MiB; less raw predict {rest:.1f} us a row; bar {BAR:.0f}: "
            f"{'reached' if rest <= BAR else 'NOT reached'}"
        )
        found[f"{kind}_seconds"] = round(cost.seconds, 1)
        found["peak_gb"] = max(found.get("peak_gb", 0.0), round(cost.peak / 1e9, 1))
    return found


def register(home: Path, settings: Settings) -> int:
    """Fit model A on the home's snapshots and put it into Production of a new registry; returns its trees."""
    import mlflow

    source = Workspace(Settings(home=home), Console(quiet=True))
    predictor = fit(source, RECIPES["A"])
    model_folder = settings.home / "model"
    predictor.save(model_folder)
    (model_folder / "figures").mkdir()
    workspace = Workspace(settings, Console(quiet=True))
    tracker: Tracker = workspace.tracker
    sample = read_snapshots(source.warehouse, source.contract, [source.shop().as_of_date]).frame
    text = [feature.name for feature in source.contract if feature.kind == "category"]
    numbers = {feature.name: "float64" for feature in source.contract if feature.kind == "number"}
    with tracker.run("A") as run:
        version = tracker.log_model(
            run,
            model_folder,
            contract=source.contract,
            example=sample.dropna(subset=text)[source.contract.names]
            .astype(numbers | dict.fromkeys(text, "object"))
            .head(2),
            version_tags={},
            description="A",
        )
    workspace.registry.set_production(version, kind="promote", by="benchmark", reason="benchmark")
    mlflow.set_tracking_uri(settings.tracking_uri)
    return sum(h.p_return.num_boosted_rounds() + h.value.num_boosted_rounds() for h in predictor.hurdles)


def grow(warehouse: Path, customers: int) -> None:
    """Repeat the customers of the as-of day until there are so many."""
    with duckdb.connect(str(warehouse)) as connection:
        [(as_of_date, known)] = connection.execute(
            "select as_of_date, customer_count from marts.cutoffs where cutoff_date = as_of_date"
        ).fetchall()
        times = -(-customers // known)
        connection.execute(
            "create or replace table marts.customer_snapshots as "
            "select * exclude (copy) replace (customer_id || '-' || copy as customer_id) "
            "from marts.customer_snapshots, (select range as copy from range(?)) where cutoff_date = ? limit ?",
            [times, as_of_date, customers],
        )
        connection.execute("update marts.cutoffs set customer_count = ? where cutoff_date = as_of_date", [customers])


def raw_seconds(settings: Settings, customers: int) -> float:
    """Raw prediction of as many rows by the boosters themselves, with as many threads.

    The rows are the first ones that scoring reads, in its order: the copies of a customer lie apart, where copies side
    by side would be predicted a quarter faster.
    """
    from experiments.score import load_predictor

    workspace = Workspace(settings, Console(quiet=True))
    shop = workspace.shop()
    version = workspace.registry.production()
    assert version is not None
    predictor = load_predictor(workspace, version.number)
    frame = next(iter(stream_snapshots(workspace.warehouse, workspace.contract, shop.as_of_date)))
    matrix = np.ascontiguousarray(predictor.encoder.encode(frame))
    boosters = [booster for hurdle in predictor.hurdles for booster in (hurdle.p_return, hurdle.value)]
    best = np.inf
    with ThreadPoolExecutor(settings.threads) as pool:
        for _ in range(3):
            started = time.perf_counter()
            pieces = np.array_split(matrix, settings.threads)
            list(pool.map(lambda piece: [booster.inplace_predict(piece) for booster in boosters], pieces))
            best = min(best, time.perf_counter() - started)
    return float(best) * customers / len(matrix)


def score(folder: Path, kind: str) -> Cost:
    """`clv score` as a process: its seconds and its peak memory."""
    with measured(kind) as cost:
        clv(folder, "--quiet", "score", "--predictions", folder / f"p.{kind}")
    return cost


if __name__ == "__main__":
    main()
