"""How well the defaults rank customers, beside what can be had without them: the figures that issue and docs quote.

    python -m benchmarks.quality --output FOLDER          (one to two hours)
    python -m benchmarks.quality --output FOLDER --only cdnow   (a part anew; the rest of FOLDER/quality.json stays)
    python -m benchmarks.quality --output FOLDER --quick  (a smoke test: small shops, one cutoff, one trial)
    python -m benchmarks.quality --output FOLDER --only synthetic --seeds 7 8 --customers 5000  (shops of your own)

At every month end that leaves two horizons of history before it and a whole window after it, the steps of `clv run
--as-of` (transform, tune with its default number of trials, fit) predict everybody seen by then, and what followed is
the judge. Beside it: a reference blend that shares no code with the recipe under test (mean of BG/NBD + Gamma-Gamma on
all orders and an XGBoost hurdle, bagged over early-stopping folds), BG/NBD + Gamma-Gamma alone, and the best rung of
the ladder, chosen in hindsight. Differences are paired over 200 resamples of the customers. How much of them is luck
tells the reference blend itself, fitted again with its customers dealt into other folds. Synthetic shops, of seeds
that nothing was tuned on, give the share of the oracle's Gini. The last part is `benchmarks.level`.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb
from scipy.stats import norm

from benchmarks.shops import CDNOW, OLIST, REPOSITORY, cdnow
from clv.baselines import ladder
from clv.bootstrap import LEVEL, Difference, Interval, Outcome, intervals, paired, resample, share
from clv.home import replacing
from clv.labels import read_activity
from clv.models.btyd import BTYDModel
from clv.models.hurdle import make_encoder
from clv.models.model import Model
from clv.models.recipe import Recipe
from clv.predictor import Parts, mix
from clv.settings import Settings
from clv.snapshots import Snapshots, read_snapshots
from clv.sources.transactions import TransactionColumns
from clv.synth import write_shop
from experiments import cli, prepare
from experiments.console import Console
from experiments.protocol import protocol_of
from experiments.tune import tune
from experiments.workspace import Workspace

TRIALS = inspect.signature(cli.run).parameters["trials"].default
GINI = "normalized_gini"
OURS, REFERENCE, BTYD, ORACLE = "clv run", "reference blend", "BG/NBD alone", "oracle"
SEEDS = (2027, 2028)
REPEAT_RATES = (0.03, 0.2, 0.5)
BAR = 0.95
ERROR = 1 - LEVEL

DEALS = ("first deal......", "second deal.....", "third deal......")
"""Hash keys (of pandas, 16 characters) by which the reference blend's customers are dealt into other folds."""

PARTS = {"synthetic": "synthetic", "cdnow": "CDNOW", "olist": "Olist"}
"""How the names of a part's shops begin."""

CDNOW_COLUMNS = TransactionColumns(amount="dollar_value")


@dataclass(frozen=True)
class Shops:
    """Which synthetic shops: one of each repeat rate and seed, with so many customers."""

    repeat_rates: Sequence[float]
    seeds: Sequence[int]
    customers: int


@dataclass(frozen=True)
class Row:
    """One shop at one cutoff, or several of them together.

    Attributes
    ----------
    gini
        Normalized Gini of each model.
    over
        Paired difference of ours to each other one.
    oracle_share
        Our Gini as a share of the oracle's; None where there is no oracle.
    again
        Paired difference of the reference blend to itself with other folds, for each of ``DEALS``; none where there is
        an oracle.
    """

    shop: str
    horizon_days: int
    cutoff: str
    customers: int
    returned: float
    recipe: str
    seconds: float
    gini: Mapping[str, Interval]
    over: Mapping[str, Difference]
    oracle_share: Interval | None = None
    again: Sequence[Difference] = ()


@dataclass(frozen=True)
class Case:
    """What each model predicted at one cutoff, and what happened."""

    cutoff: date
    outcome: Outcome
    parts: Mapping[str, Parts]
    recipe: Recipe
    seconds: float


def month_ends(first: date, last: date, horizon_days: int) -> list[date]:
    """Month ends with two horizons of history up to them (that day included) and a whole window after them."""
    days = pd.date_range(first + timedelta(2 * horizon_days - 1), last - timedelta(horizon_days), freq="ME")
    return [day.date() for day in days]


def reference_blend(
    closed: Snapshots, today: pd.DataFrame, workspace: Workspace, horizon_days: int, deal: str = "0123456789123456"
) -> Parts:
    """Mean of BG/NBD + Gamma-Gamma on all orders and an XGBoost hurdle bagged over five early-stopping folds."""
    encoder = make_encoder(workspace.contract, closed.frame)
    matrix, asked = encoder.encode(closed.frame), encoder.encode(today)
    fold = pd.util.hash_array(closed.customer_id, hash_key=deal) % 5  # a customer's snapshots stay together
    kinds: dict[str, Any] = {"feature_types": encoder.feature_types, "enable_categorical": True}
    common = {"tree_method": "hist", "nthread": workspace.settings.threads, "eta": 0.05, "subsample": 0.8}
    common |= {"colsample_bytree": 0.8, "max_depth": 4, "min_child_weight": 10}
    spend = np.maximum(closed.future_value, 0.01)

    def fitted(objective: str, target: np.ndarray, rows: np.ndarray, number: int) -> np.ndarray:
        learn, stop = (
            xgb.DMatrix(matrix[chosen], label=target[chosen], **kinds)
            for chosen in (rows & (fold != number), rows & (fold == number))
        )
        if stop.num_row() == 0 or learn.num_row() == 0:
            learn = stop = xgb.DMatrix(matrix[rows], label=target[rows], **kinds)
        options = {**common, "objective": objective, "seed": number, "base_score": float(target[rows].mean())}
        booster = xgb.train(options, learn, 600, evals=[(stop, "stop")], early_stopping_rounds=30, verbose_eval=False)
        predicted: np.ndarray = booster.inplace_predict(asked, iteration_range=(0, booster.best_iteration + 1))
        return predicted.astype(np.float64)

    everybody = np.ones(len(matrix), dtype=bool)
    hurdle: Parts | None = None
    for number in range(5):
        bag = Parts(
            fitted("binary:logistic", closed.is_return.astype(np.float64), everybody, number),
            fitted("reg:gamma", spend, closed.is_return, number),
        )
        hurdle = bag if hurdle is None else mix(hurdle, bag, 1 / (number + 1))
    assert hurdle is not None
    return mix(hurdle, BTYDModel().fit(today, horizon_days=horizon_days).predict_parts(today), 0.5)


def case(workspace: Workspace, as_of: date, horizon_days: int, trials: int, truth: pd.DataFrame) -> Case:
    """Predict as of a day as `clv run` does, then look at what happened.

    `truth` has is_return and future_value of customers who came back (or of all), and where the shop is synthetic the
    oracle's p_return and expected_value.
    """
    started = time.monotonic()
    prepare.transform(workspace, as_of_date=as_of, horizon_days=horizon_days)
    shop = workspace.shop()
    protocol = protocol_of(shop)
    settings = workspace.settings
    recipe = tune(workspace, trials=trials).recipe
    closed = workspace.snapshots(protocol.train)
    today = read_snapshots(workspace.warehouse, workspace.contract, [as_of]).frame
    model = Model(workspace.contract, recipe, seed=settings.seed, threads=settings.threads).fit(
        closed.frame, closed.future_value, is_return=closed.is_return, today=today, horizon_days=horizon_days
    )
    parts = {OURS: model.predict_parts(today)}
    seconds = time.monotonic() - started
    parts[REFERENCE] = reference_blend(closed, today, workspace, horizon_days)
    parts[BTYD] = BTYDModel().fit(today, horizon_days=horizon_days).predict_parts(today)
    for name, rung in ladder().items():
        rung.fit(closed.frame, closed.future_value, horizon_days=horizon_days)
        parts[name] = rung.predict_parts(today)
    known = truth.set_index("customer_id").reindex(today["customer_id"])
    if "p_return" in known:
        p, expected = known["p_return"].to_numpy(), known["expected_value"].to_numpy()
        parts[ORACLE] = Parts(p, np.divide(expected, p, out=np.zeros_like(expected), where=p > 0))
    else:
        parts |= {deal: reference_blend(closed, today, workspace, horizon_days, deal) for deal in DEALS}
    outcome = Outcome(
        today["customer_id"].to_numpy(dtype=object),
        (known["is_return"] == True).to_numpy(),  # noqa: E712  (who did nothing has no row)
        known["future_value"].fillna(0.0).to_numpy(dtype=np.float64),
    )
    return Case(as_of, outcome, parts, recipe.with_share(model.predictor_.covariate_weight), seconds)


def row(shop: str, horizon_days: int, cases: Sequence[Case], cutoff: str) -> Row:
    """Judge the cases together; a customer who is in several is drawn with all of them."""
    names = list(cases[0].parts)
    outcomes = [one.outcome for one in cases]
    draws = resample(
        {name: [one.parts[name] for one in cases] for name in names}, outcomes, rng=np.random.default_rng(1)
    )
    gini = {name: intervals(draws, name)[GINI] for name in names}
    best = max(ladder(), key=lambda name: gini[name].estimate)
    shown = [OURS, REFERENCE, BTYD, best, *([ORACLE] if ORACLE in names else [])]
    return Row(
        shop,
        horizon_days,
        cutoff,
        max(len(outcome.customer_id) for outcome in outcomes),
        float(np.mean(np.concatenate([outcome.is_return for outcome in outcomes]))),
        cases[0].recipe.describe() if len(cases) == 1 else "",
        sum(one.seconds for one in cases),
        {name: gini[name] for name in shown},
        {name: paired(draws, OURS, name)[GINI] for name in shown[1:]},
        share(draws, OURS, ORACLE, GINI) if ORACLE in names else None,
        [paired(draws, deal, REFERENCE)[GINI] for deal in DEALS if deal in names],
    )


def ranked(
    name: str,
    data: Path,
    columns: TransactionColumns | None,
    horizons: Mapping[int, int | None],
    folder: Path,
    trials: int,
) -> Iterator[Row]:
    """One shop at every feasible month end, by horizon (with at most so many of the latest), and all together.

    `columns` are those of a transaction log; None means Olist's own files.
    """
    workspace = opened(folder / name.replace(" ", "-"))
    loaded = prepare.load(workspace, [data], source="transactions" if columns else "olist", columns=columns)
    prepare.transform(workspace, as_of_date=None, horizon_days=min(horizons))
    first = workspace.shop().first_purchase_date
    days = {
        horizon_days: month_ends(first, loaded.as_of_date, horizon_days)[-(most or 0) :]
        for horizon_days, most in horizons.items()
    }
    # what happened is read now: marts as of a day know nothing of the days after it
    happened = {
        horizon_days: read_activity(workspace.warehouse, cutoffs, horizon_days)
        for horizon_days, cutoffs in days.items()
    }
    for horizon_days, cutoffs in days.items():
        cases = []
        for as_of in cutoffs:
            truth = happened[horizon_days]
            truth = truth[truth["cutoff_date"] == as_of]
            cases.append(case(workspace, as_of, horizon_days, trials, truth))
            yield row(name, horizon_days, cases[-1:], str(as_of))
        if len(cases) > 1:
            yield row(name, horizon_days, cases, f"mean of {len(cases)}")


def synthetic(folder: Path, shops: Shops, trials: int) -> Iterator[Row]:
    """Synthetic shops, predicted at their last day, where the truth is."""
    for rate in shops.repeat_rates:
        for seed in shops.seeds:
            name = f"synthetic {rate:.0%}, seed {seed}"
            place = folder / f"synthetic-{rate:g}-{seed}"
            made = write_shop(place / "shop", customers=shops.customers, repeat_rate=rate, seed=seed)
            workspace = opened(place / "home")
            prepare.load(workspace, [made.data], source="olist")
            truth = pd.read_parquet(made.truth / "customers.parquet").rename(columns={"returned": "is_return"})
            yield row(name, 90, [case(workspace, made.shop.end, 90, trials, truth)], str(made.shop.end))


def opened(home: Path) -> Workspace:
    return Workspace(Settings.from_environment(os.environ, home=home), Console(quiet=True))


def olist_log(folder: Path) -> Path:
    """Olist's purchases as a bare transaction log."""
    workspace = opened(folder / "olist-to-log")
    prepare.load(workspace, [OLIST], source="olist")
    prepare.transform(workspace, as_of_date=None, horizon_days=90)
    days = workspace.warehouse.query(
        "select customer_id, purchase_date as date, cast(amount as double) as amount from intermediate.int_purchases "
        "where is_purchase order by purchase_date, customer_id"
    )
    target = folder / "olist-log.csv"
    days.to_pandas().to_csv(target, index=False)
    return target


def cell(interval: Interval) -> str:
    return f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def markdown(rows: Sequence[Row]) -> list[str]:
    """The rows as a table."""
    lines = [
        "| shop | H | cutoff | customers | returned | ours | reference blend | BG/NBD alone | best rung | "
        "ours - reference | ours - BG/NBD | share of oracle | recipe | s |",
        "|---" * 14 + "|",
    ]
    for one in rows:
        rung = next(name for name in one.gini if name not in (OURS, REFERENCE, BTYD, ORACLE))
        over = [
            f"{d.estimate:+.3f} ({d.low:+.3f} to {d.high:+.3f}) {d.verdict}"
            for d in (one.over[REFERENCE], one.over[BTYD])
        ]
        oracle = cell(one.oracle_share) if one.oracle_share else ""
        cells = [
            one.shop,
            one.horizon_days,
            one.cutoff,
            f"{one.customers:,}",
            f"{one.returned:.1%}",
            cell(one.gini[OURS]),
        ]
        cells += [f"{one.gini[REFERENCE].estimate:.3f}", f"{one.gini[BTYD].estimate:.3f}"]
        cells += [f"{one.gini[rung].estimate:.3f} {rung}", *over, oracle, one.recipe, f"{one.seconds:.0f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def bars(rows: Sequence[Row]) -> list[str]:
    """What the rows say about the bars."""
    real = [one for one in rows if one.oracle_share is None and not one.cutoff.startswith("mean")]
    logs = [one for one in real if "own columns" not in one.shop]
    worse = [f"{one.shop} H {one.horizon_days} {one.cutoff}" for one in logs if one.over[REFERENCE].verdict == "worse"]
    lines = [
        f"- Never worse than the reference blend: {len(logs) - len(worse)} of {len(logs)} cutoffs"
        + (f"; worse at {', '.join(worse)}" if worse else ""),
        f"- With the error of {ERROR:.0%} shared among these {len(logs)} comparisons (Bonferroni), worse at "
        f"{sum(is_worse_among(one.over[REFERENCE], len(logs)) for one in logs)} of them",
    ]
    if logs and all(one.again for one in logs):
        counts = [sum(one.again[deal].verdict == "worse" for one in logs) for deal in range(len(DEALS))]
        lines.append(
            f"- The reference blend itself, its customers dealt into other folds, is worse than the reference blend at "
            f"{', '.join(map(str, counts[:-1]))} and {counts[-1]} of these {len(logs)} cutoffs ({len(DEALS)} deals)"
        )
    for one in rows:
        if one.oracle_share is not None:
            reached = (
                ""
                if "3%" in one.shop
                else f", bar {BAR:.0%}: " + ("reached" if one.oracle_share.estimate >= BAR else "MISSED")
            )
            lines.append(f"- {one.shop}: {one.oracle_share.estimate:.2%} of the oracle's Gini{reached}")
    return lines


def is_worse_among(difference: Difference, comparisons: int) -> bool:
    """Whether a difference is below 0 beyond the chance that so many comparisons have together.

    Its bootstrap distribution is taken for normal: 200 draws know nothing of such small chances.
    """
    sd = (difference.high - difference.low) / (2 * norm.ppf((1 + LEVEL) / 2))
    return bool(difference.estimate < norm.ppf(ERROR / 2 / comparisons) * sd)


def level(output: Path, *, quick: bool) -> None:
    """The level's own benchmark, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.level", "--output", str(output), *(["--quick"] if quick else [])]
    subprocess.run(command, cwd=REPOSITORY, check=True)


def stored(output: Path) -> list[Row]:
    """The rows that a folder holds."""
    path = output / "quality.json"
    if not path.exists():
        return []
    return [
        Row(
            **one
            | {
                "gini": {name: Interval(**found) for name, found in one["gini"].items()},
                "over": {name: Difference(**found) for name, found in one["over"].items()},
                "oracle_share": Interval(**one["oracle_share"]) if one["oracle_share"] else None,
                "again": [Difference(**found) for found in one["again"]],
            }
        )
        for one in json.loads(path.read_text(encoding="utf-8"))
    ]


def save(output: Path, rows: Sequence[Row], wanted: Sequence[str]) -> list[str]:
    """Write what is known so far in the place of what the folder held of these parts; returns the conclusions."""
    output.mkdir(parents=True, exist_ok=True)
    anew = tuple(PARTS[part] for part in wanted if part in PARTS)
    both = [*(one for one in stored(output) if not one.shop.startswith(anew)), *rows]
    both.sort(key=lambda one: next(place for place, name in enumerate(PARTS.values()) if one.shop.startswith(name)))
    conclusions = bars(both)
    with replacing(output / "quality.json") as file:
        file.write_text(json.dumps(both, default=lambda value: vars(value), indent=1) + "\n", encoding="utf-8")
    levels = output / "level.md"
    rest = ["", *levels.read_text(encoding="utf-8").splitlines()] if levels.exists() else []
    page = ["# Ranking", "", *conclusions, "", *markdown(both), *rest]
    (output / "quality.md").write_text("\n".join(page) + "\n", encoding="utf-8")
    return conclusions


def main() -> None:
    """Run the parts that are asked for and whose data are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, required=True, help="folder for quality.json and quality.md")
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    parser.add_argument("--only", action="append", choices=[*PARTS, "level"])
    parser.add_argument("--customers", type=int, default=20_000, help="of each synthetic shop")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of the synthetic shops")
    parser.add_argument("--repeat-rates", type=float, nargs="+", default=REPEAT_RATES, help="of the synthetic shops")
    parser.add_argument("--latest", type=int, help="at most so many cutoffs of each shop, the latest ones")
    arguments = parser.parse_args()
    quick = arguments.quick
    most, trials = (1, 1) if quick else (arguments.latest, TRIALS)
    wanted = arguments.only or [*PARTS, "level"]
    shops = Shops(arguments.repeat_rates, arguments.seeds, arguments.customers)
    if quick:
        shops = Shops((0.2,), arguments.seeds[:1], 1_500)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="clv-quality-") as temporary:
        folder = Path(temporary)
        for one in parts(folder, wanted, shops, quick=quick, most=most, trials=trials):
            rows.append(one)
            print(markdown([one])[-1], flush=True)
            save(arguments.output, rows, wanted)
    if "level" in wanted:
        level(arguments.output, quick=quick)
    print("\n".join(save(arguments.output, rows, wanted)))


def parts(
    folder: Path, wanted: Sequence[str], shops: Shops, *, quick: bool, most: int | None, trials: int
) -> Iterator[Row]:
    """Every row of the table, as soon as it is known."""
    if "synthetic" in wanted:
        yield from synthetic(folder, shops, trials)
    if "cdnow" in wanted and CDNOW.exists():
        yield from ranked("CDNOW", cdnow(folder), CDNOW_COLUMNS, {90: most}, folder, trials)
    if "olist" in wanted and OLIST.exists() and not quick:
        horizons = {90: most, 180: most}
        yield from ranked("Olist, bare log", olist_log(folder), TransactionColumns(), horizons, folder, trials)
        yield from ranked("Olist, own columns", OLIST, None, horizons, folder, trials)


if __name__ == "__main__":
    main()
