"""``clv backtest``: a recipe over the shop's whole history, by cutoff, horizon and age of the model."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clv.backtest import SMALLEST_LOSS, Backtest, Fitted, run
from clv.bootstrap import Interval
from clv.errors import InputError
from clv.home import remove, replacing
from clv.labels import closed, label, read_activity
from clv.ledger import read_ledger
from clv.level import fit_level
from clv.models.model import Model
from clv.models.recipe import Recipe
from clv.predictor import Predictor
from clv.snapshots import Shop, Snapshots
from clv.splits import Fold, every_fold
from experiments import report
from experiments.choices import Cutoffs
from experiments.protocol import shop_tags
from experiments.workspace import Workspace

if TYPE_CHECKING:
    from experiments.console import Console, Step
    from experiments.tracking import Run

MOST_CUTOFFS = 12
"""Cutoffs tested by default: the latest ones, a year of months."""

SHOWN = ("normalized_gini", "top_decile_capture", "roc_auc", "total_ratio")
"""Metrics in the grid of ``backtest.json``."""


@dataclass(frozen=True)
class BacktestResult:
    """What was found.

    Attributes
    ----------
    run_id
        The parent run.
    by_horizon
        The backtests, by horizon.
    facts
        The same in plain numbers, as in ``backtest.json``.
    version
        The version in Production whose run got a copy, as it has this recipe; else None.
    notes
        What could not be tested, and why.
    """

    run_id: str
    by_horizon: dict[int, Backtest]
    facts: dict[str, Any]
    version: str | None
    notes: tuple[str, ...]


def backtest(
    workspace: Workspace, recipe: Recipe, *, cutoffs: Cutoffs | None = None, horizons: Sequence[int] = ()
) -> BacktestResult:
    """Test `recipe` at many cutoffs, for one or more horizons, and let its models grow old.

    A run that is stopped goes on where it was: fitted models are kept in the home until it has ended.

    Parameters
    ----------
    cutoffs
        Which to test; by default the latest :data:`MOST_CUTOFFS`.
    horizons
        Days ahead; by default the marts' horizon.

    Raises
    ------
    InputError
        If the history is too short for any of them, or a named cutoff can't be tested.
    """
    shop = workspace.shop()
    plans: dict[int, tuple[Fold, ...]] = {}
    notes: list[str] = []
    for horizon_days in dict.fromkeys(horizons or [shop.horizon_days]):
        if tests := _tests(shop, horizon_days, cutoffs):
            plans[horizon_days] = tests
        else:
            had = (shop.as_of_date - shop.first_purchase_date).days + 1
            notes.append(
                f"Horizon {horizon_days}: no cutoff has both a closed label and an earlier one to train on; the "
                f"history has {had} days, {shop.first_purchase_date} to {shop.as_of_date}, and needs about "
                f"{2 * horizon_days + 30}."
            )
    if not plans:
        raise InputError(" ".join(notes))
    with (
        workspace.console.step("backtest") as step,
        workspace.tracker.run(
            f"backtest {recipe.family} H={', '.join(map(str, plans))}",
            tags={**shop_tags(shop), "clv.kind": "backtest", "clv.family": recipe.family},
            description=f"{recipe.describe()}, refitted at each cutoff, and the models of earlier cutoffs beside it.",
        ) as parent,
    ):
        _log_data(workspace, parent, shop, plans)
        kept = _kept(workspace, shop, recipe)
        by_horizon = dict(_run_all(workspace, shop, recipe, plans, kept, step))
        if empty := [days for days, found in by_horizon.items() if not found.cutoffs]:
            raise InputError(f"Nobody returned within {empty[0]} days around any cutoff; there is nothing to test.")
        step.update("bootstrap, logging", None, None)
        facts = _facts(shop, recipe, by_horizon)
        _log(workspace, parent, recipe, by_horizon, facts)
        version = _copy_to_production(workspace, shop, recipe, by_horizon, facts)
        remove(kept)
        step.note = f"{sum(len(found.cells) for found in by_horizon.values())} cells, run {parent.id}"
    return BacktestResult(parent.id, by_horizon, facts, version, tuple(notes))


def _tests(shop: Shop, horizon_days: int, cutoffs: Cutoffs | None) -> tuple[Fold, ...]:
    """The folds to test for a horizon, earliest first; empty if the history is too short for it."""
    labelled = closed(shop.cutoffs, horizon_days, shop.as_of_date)
    possible = {fold.test: fold for fold in every_fold(labelled, horizon_days)}
    if not possible:
        return ()
    chosen = (cutoffs or Cutoffs(latest=MOST_CUTOFFS)).among(list(possible), horizon_days)
    return tuple(possible[cutoff] for cutoff in chosen)


def _run_all(
    workspace: Workspace, shop: Shop, recipe: Recipe, plans: dict[int, tuple[Fold, ...]], kept: Path, step: Step
) -> Iterator[tuple[int, Backtest]]:
    windows = {horizon_days: closed(shop.cutoffs, horizon_days, shop.as_of_date) for horizon_days in plans}
    ledger = read_ledger(workspace.warehouse, windows)
    total = sum(len(tests) for tests in plans.values())
    done = 0
    for horizon_days, tests in plans.items():
        snapshots = _labelled(workspace, shop, tests, horizon_days)

        def fit(fold: Fold, horizon_days: int = horizon_days, snapshots: Snapshots = snapshots) -> Fitted:
            folder = kept / f"H{horizon_days}-{fold.test}"
            if folder.exists():
                return Predictor.load(folder)
            train, today = snapshots.at(*fold.train), snapshots.at(fold.test)
            model = Model(workspace.contract, recipe, seed=workspace.settings.seed, threads=workspace.settings.threads)
            model.fit(
                train.frame,
                train.future_value,
                is_return=train.is_return,
                today=today.frame,
                horizon_days=horizon_days,
            )
            forecast = fit_level(ledger, fold.test, horizon_days).forecast
            predictor = replace(model.predictor_, level=forecast.factor(model.predict_parts(today.frame)))
            with replacing(folder) as temporary:
                predictor.save(temporary)
            return predictor

        def progress(fold: Fold, number: int, horizon_days: int = horizon_days, before: int = done) -> None:
            step.update(f"{horizon_days} days from {fold.test}", before + number, total)

        yield (
            horizon_days,
            run(
                snapshots,
                tests,
                fit,
                horizon_days=horizon_days,
                seed=workspace.settings.seed,
                progress=progress,
            ),
        )
        done += len(tests)


def _labelled(workspace: Workspace, shop: Shop, tests: Sequence[Fold], horizon_days: int) -> Snapshots:
    """Snapshots of all cutoffs that training and testing need, with the labels of this horizon."""
    needed = sorted({cutoff for fold in tests for cutoff in (*fold.train, fold.test)})
    snapshots = workspace.snapshots(needed)
    if horizon_days == shop.horizon_days:
        return snapshots
    return Snapshots(label(snapshots.frame, read_activity(workspace.warehouse, needed, horizon_days)))


def _kept(workspace: Workspace, shop: Shop, recipe: Recipe) -> Path:
    """Folder of the fitted models of this very backtest; those of others that never ended are removed."""
    from clv import __version__
    from experiments.tracking import commit

    settings = workspace.settings
    essence = [
        recipe.model_dump(),
        shop.fingerprint,
        str(shop.as_of_date),
        workspace.contract.fingerprint,
        settings.seed,
        __version__,
        commit(),
    ]
    folder = workspace.home.root / "backtest" / hashlib.sha256(json.dumps(essence).encode()).hexdigest()[:16]
    for other in folder.parent.glob("*"):
        if other != folder:
            remove(other)
    return folder


def _facts(shop: Shop, recipe: Recipe, by_horizon: dict[int, Backtest]) -> dict[str, Any]:
    """``backtest.json``."""
    main = by_horizon[_main(shop, by_horizon)]
    return {
        "as_of_date": shop.as_of_date.isoformat(),
        "horizon_days": main.horizon_days,
        "recipe": recipe.model_dump(),
        "grid": [
            {
                "cutoff": cell.cutoff.isoformat(),
                "horizon_days": found.horizon_days,
                "age_days": cell.age_days,
                "customers": cell.customers,
                "returners": cell.returners,
                **report.flat(report.plain({name: cell.metrics[name] for name in SHOWN})),
            }
            for found in by_horizon.values()
            for cell in found.cells
        ],
        "by_age": [
            {
                "horizon_days": found.horizon_days,
                "age_days": age.days,
                "cutoffs": age.cutoffs,
                **{name: report.number(age.old[name]) for name in SHOWN},
                **{f"refitted_{name}": report.number(age.new[name]) for name in SHOWN},
                "difference": report.flat(report.plain({name: age.difference[name] for name in SHOWN})),
                "verdict": age.verdict,
            }
            for found in by_horizon.values()
            for age in found.ages
        ],
        "scatter": {
            str(days): dict(zip(("over_cutoffs", "by_chance"), map(report.number, found.scatter()), strict=True))
            for days, found in by_horizon.items()
        },
        "retrain_after_days": main.retrain_after_days(),
        "note": main.note(),
    }


def _main(shop: Shop, by_horizon: Mapping[int, object]) -> int:
    """The horizon that is served, or else the first that was asked for."""
    return shop.horizon_days if shop.horizon_days in by_horizon else next(iter(by_horizon))


def _log(
    workspace: Workspace, parent: Run, recipe: Recipe, by_horizon: dict[int, Backtest], facts: dict[str, Any]
) -> None:
    """The parent with the main horizon's mean, its series by cutoff and by age; a child for each refitted cell."""
    main = by_horizon[facts["horizon_days"]]
    parent.log(
        params={
            **recipe.model_dump(),
            "horizons": ", ".join(map(str, by_horizon)),
            "test_cutoffs": ", ".join(map(str, main.cutoffs)),
            "seed": workspace.settings.seed,
        },
        metrics=report.flat(report.plain(main.refitted())) | {"retrain_after_days": facts["retrain_after_days"]},
        tags={"clv.note": facts["note"]},
    )
    for age in main.ages:
        loss = {f"old_minus_refitted_{name}": age.difference[name].estimate for name in SHOWN}
        parent.log(metrics=loss, step=age.days)
    for found in by_horizon.values():
        for cell in found.cells:
            if cell.age_days == 0:
                workspace.tracker.trial(
                    parent,
                    f"{cell.cutoff} H={found.horizon_days}",
                    params={"cutoff": cell.cutoff, "horizon_days": found.horizon_days, "customers": cell.customers},
                    metrics=report.flat(report.plain(cell.metrics)),
                    tags={"clv.kind": "backtest cell", "clv.horizon_days": found.horizon_days},
                    status="FINISHED",
                )
    _log_files(parent, by_horizon, facts)


def _log_data(workspace: Workspace, run: Run, shop: Shop, plans: dict[int, tuple[Fold, ...]]) -> None:
    """The snapshots of the main horizon; those of another one are the same customers on the same days."""
    days = _main(shop, plans)
    train = sorted({cutoff for fold in plans[days] for cutoff in fold.train})
    tests = [fold.test for fold in plans[days]]
    shop = replace(shop, horizon_days=days)
    report.log_data(run, workspace, shop, train=train, tests=tests, what=f"backtest {days} days")


def _log_files(run: Run, by_horizon: dict[int, Backtest], facts: dict[str, Any]) -> None:
    from clv import plots

    run.json(facts, "backtest/backtest.json")
    run.figure(plots.backtest(by_horizon, facts["horizon_days"], SMALLEST_LOSS), "backtest/backtest.png")


def _copy_to_production(
    workspace: Workspace, shop: Shop, recipe: Recipe, by_horizon: dict[int, Backtest], facts: dict[str, Any]
) -> str | None:
    """Lay the result beside the version in Production, if that is what was tested; the answer is its number."""
    from experiments.tracking import Run

    version = workspace.registry.production()
    if version is None or shop.horizon_days not in by_horizon:
        return None
    if not version.is_of(shop) or version.recipe != recipe:
        return None
    _log_files(Run(workspace.tracker.client, version.run_id), by_horizon, facts)
    return version.number


def show(console: Console, result: BacktestResult) -> None:
    """Print the tables and what they mean."""
    for found in result.by_horizon.values():
        mean = found.refitted()["normalized_gini"]
        console.table(
            f"Refitted at each cutoff, {found.horizon_days} days ahead: mean Gini {mean.estimate:.3f} "
            f"({mean.low:.2f} to {mean.high:.2f}){_scatter(found)}",
            ["cutoff", "customers", "returned", "Gini", "interval", "top 10 %", "ROC AUC", "total"],
            [
                [
                    str(cell.cutoff),
                    f"{cell.customers:,}",
                    f"{cell.returners / cell.customers:.1%}",
                    *_with_interval(cell.metrics["normalized_gini"]),
                    *(report.cell(cell.metrics[name].estimate) for name in SHOWN[1:]),
                ]
                for cell in found.cells
                if cell.age_days == 0
            ],
        )
        if found.ages:
            console.table(
                "Gini of old models beside that of refitted ones on the same cutoffs: read along the rows, as each has "
                "others",
                ["age, days", "cutoffs", "old", "refitted", "difference", "interval", "old is"],
                [
                    [
                        str(age.days),
                        str(age.cutoffs),
                        report.cell(age.old["normalized_gini"]),
                        report.cell(age.new["normalized_gini"]),
                        *_with_interval(age.difference["normalized_gini"], "+"),
                        age.verdict,
                    ]
                    for age in found.ages
                ],
            )
        console.say(found.note() if len(result.by_horizon) == 1 else f"{found.horizon_days} days: {found.note()}")
    for note in result.notes:
        console.say(note)


def _scatter(found: Backtest) -> str:
    seen, by_chance = found.scatter()
    return f", scatter {seen:.3f}, by chance {by_chance:.3f}" if math.isfinite(seen) else ""


def _with_interval(found: Interval, sign: str = "") -> list[str]:
    digits = 3 if sign else 2
    return [
        f"{found.estimate:{sign}.3f}" if math.isfinite(found.estimate) else "-",
        f"{found.low:{sign}.{digits}f} to {found.high:{sign}.{digits}f}" if math.isfinite(found.low) else "",
    ]
