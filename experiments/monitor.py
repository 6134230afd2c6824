"""``clv monitor``: whether predictions came true, inputs still look alike and the model is not too old."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clv import drift
from clv.bootstrap import FEWEST_RETURNERS, Interval, Outcome, intervals, resample
from clv.errors import InputError, RefusedError
from clv.labels import label, read_activity
from clv.predictor import Parts, Predictor
from clv.snapshots import Shop, read_snapshots
from clv.splits import apart
from experiments import monitor_page
from experiments.monitor_report import Closed, FeatureDrift, MonitorReport, checks_of
from experiments.prediction_history import COLUMNS, Scoring, scorings, served
from experiments.protocol import shop_tags
from experiments.report import flat, log_data, plain
from experiments.score import load_predictor
from experiments.workspace import Workspace

if TYPE_CHECKING:
    from experiments.registry import Version

MOST_SCORINGS = 12
"""Closed scorings that are looked at: the latest ones, and of those close to each other one (:func:`apart`)."""

NEAR_DAYS = 16
"""A mart's cutoff this near stands for a day: cutoffs lie a month apart at most."""


def monitor(workspace: Workspace, *, prediction_logs: Sequence[str] = ()) -> MonitorReport:
    """Compare stored predictions with what happened, and today's customers with those the model was made for.

    It is logged as one run with a page (Markdown, HTML, figures).

    Parameters
    ----------
    prediction_logs
        Where services log their answers: folders, or ``warehouse``.

    Raises
    ------
    InputError
        If there is neither a stored prediction nor a model in Production, or no such log.
    """
    shop = workspace.shop()
    with workspace.console.step("monitor") as step:
        step.update("reading predictions")
        stored = scorings(workspace.home, shop.shop_id, workspace.settings)
        answers = served(workspace.home, workspace.warehouse, prediction_logs, workspace.settings)
        version = _production(workspace, shop)
        if not stored and version is None:
            raise InputError(
                "Nothing to monitor: no prediction is stored and no model is in Production; run `clv score`."
            )
        closed = [scoring for scoring in stored if scoring.closes_on <= shop.as_of_date]
        report = MonitorReport(
            as_of_date=shop.as_of_date,
            currency=shop.currency,
            version=version.number if version else None,
            model_as_of_date=None,
            is_backtested=False,
            retrain_after_days=None,
            closed=tuple(_judged(workspace, scoring) for scoring in _latest(closed)),
            served=tuple(_from_services(workspace, shop, answers)),
            waiting=tuple(scoring for scoring in stored if scoring.closes_on > shop.as_of_date),
            drift=(),
        )
        if version is not None:
            step.update("comparing inputs")
            predictor = load_predictor(workspace, version.number)
            tested = _backtest(workspace, version)
            report = replace(
                report,
                model_as_of_date=date.fromisoformat(predictor.about["as_of_date"]),
                is_backtested=tested is not None,
                retrain_after_days=tested["retrain_after_days"] if tested else None,
            )
            if not report.is_model_newer:
                report = replace(report, drift=tuple(_drift(workspace, shop, predictor)))
        report = replace(report, checks=tuple(checks_of(report)))
        step.update("logging")
        report = replace(report, run_id=_log(workspace, shop, report))
        failed = len(report.failures)
        count = len(report.closed)
        bounds = f"{failed} out of bounds" if failed else "in bounds"
        step.note = f"{count} closed scoring{'' if count == 1 else 's'}, {bounds}"
    return report


def refuse(report: MonitorReport) -> None:
    """Raise if something is out of bounds, so that a scheduler can act on exit code 3.

    Raises
    ------
    RefusedError
        Saying what.
    """
    if report.failures:
        raise RefusedError(report.verdict)


# ---- what happened


def _latest(closed: Sequence[Scoring]) -> list[Scoring]:
    """Closed scorings, latest first: of each day the last one written, and none too near to another."""
    by_key = {
        (scoring.horizon_days, scoring.as_of_date): scoring
        for scoring in sorted(closed, key=lambda scoring: scoring.scored_at)
    }
    kept: list[Scoring] = []
    for horizon_days in {horizon_days for horizon_days, _ in by_key}:
        days = [day for horizon, day in by_key if horizon == horizon_days]
        kept += [by_key[horizon_days, day] for day in apart(days, horizon_days)]
    return sorted(kept, key=lambda scoring: (scoring.as_of_date, scoring.horizon_days), reverse=True)[:MOST_SCORINGS]


def _judged(workspace: Workspace, scoring: Scoring) -> Closed:
    rows = scoring.read(workspace.settings).assign(cutoff_date=scoring.as_of_date)
    return _closed(workspace, rows, scoring.scored_by, scoring.horizon_days)


def _from_services(workspace: Workspace, shop: Shop, answers: pd.DataFrame) -> Iterator[Closed]:
    """What services answered, by version and horizon; of each customer the last answer whose window has closed."""
    # A log outlives the shop: answers of another one's models are not ours to judge.
    versions = workspace.registry.versions()
    ours = {version.number for version in versions if version.tags.get("clv.shop_id") == shop.shop_id}
    answers = answers[answers["version"].isin(ours)]
    for _, rows in answers[answers["closes_on"] <= shop.as_of_date].groupby(["version", "horizon_days"]):
        version, horizon_days = rows["version"].iloc[0], int(rows["horizon_days"].iloc[0])
        last = rows.sort_values("as_of_date").groupby("customer_id").tail(1).sort_values("customer_id")
        last = last.rename(columns={"as_of_date": "cutoff_date"})
        yield _closed(workspace, last[[*COLUMNS, "cutoff_date"]], f"service, version {version}", horizon_days)


def _closed(workspace: Workspace, rows: pd.DataFrame, by: str, horizon_days: int) -> Closed:
    """Join predictions with what their customers did."""
    rows = label(rows, read_activity(workspace.warehouse, rows["cutoff_date"].unique(), horizon_days))
    parts = Parts(rows["p_return"].to_numpy(dtype=float), rows["value_if_return"].to_numpy(dtype=float))
    outcome = Outcome(
        rows["customer_id"].to_numpy(dtype=object),
        rows["is_return"].to_numpy(dtype=bool),
        rows["future_value"].to_numpy(dtype=float),
    )
    metrics: dict[str, Interval] = {}
    if outcome.is_return.sum() >= FEWEST_RETURNERS:
        rng = np.random.default_rng(workspace.settings.seed)
        metrics = intervals(resample({by: [parts]}, [outcome], rng=rng), by)
    as_of_date = max(rows["cutoff_date"])
    gini, total = _promises(workspace, by, as_of_date)
    return Closed(by, as_of_date, horizon_days, parts, outcome, gini, total, metrics)


def _promises(workspace: Workspace, by: str, as_of_date: date) -> tuple[Interval | None, Interval | None]:
    """What the version's run says of Gini, and of the total if the predictions are of its own as-of day."""
    kind, _, number = by.rpartition(" ")
    found = [version for version in workspace.registry.versions() if version.number == number]
    if not kind.endswith("version") or not found:
        return None, None
    metrics = workspace.tracker.metrics(found[0].run_id)
    gini = ("normalized_gini", "normalized_gini_low", "normalized_gini_high")
    total = ("total_expected", "total_interval_low", "total_interval_high")
    is_own_day = found[0].tags.get("clv.as_of_date") == str(as_of_date)
    return (
        Interval(*(metrics[name] for name in gini)) if metrics.keys() >= set(gini) else None,
        Interval(*(metrics[name] for name in total)) if is_own_day and metrics.keys() >= set(total) else None,
    )


# ---- the model in Production


def _production(workspace: Workspace, shop: Shop) -> Version | None:
    """The version in Production, if it is of this shop."""
    version = workspace.registry.production()
    return version if version is not None and version.tags.get("clv.shop_id") == shop.shop_id else None


def _backtest(workspace: Workspace, version: Version) -> dict[str, Any] | None:
    """What ``clv backtest`` laid beside the version."""
    found = workspace.tracker.artifact(version.run_id, "backtest/backtest.json")
    return json.loads(found) if found else None


def _drift(workspace: Workspace, shop: Shop, predictor: Predictor) -> Iterator[FeatureDrift]:
    """Index of each feature from the model's as-of day to today, the largest first."""
    about = predictor.about
    inputs: drift.Profile = about.get("inputs", {})
    made = date.fromisoformat(about["as_of_date"])
    today = read_snapshots(workspace.warehouse, workspace.contract, [shop.as_of_date]).frame
    usual = _usual_drift(workspace, shop, made)
    weights = {item["feature"]: item["mean_abs_contribution"] for item in about["importance"]}
    total = sum(weights.values()) or 1.0
    found = drift.stability(inputs, today)
    for name in sorted(found, key=lambda name: (-found[name], name)):
        yield FeatureDrift(name, found[name], usual.get(name), weights.get(name, 0.0) / total)


def _usual_drift(workspace: Workspace, shop: Shop, made: date) -> dict[str, float]:
    """The index over as many days before the model was made; empty where the marts do not reach back as far."""
    age = shop.as_of_date - made
    end = _nearest(shop.cutoffs, made)
    start = _nearest(shop.cutoffs, made - age)
    if start is None or end is None or start >= end:
        return {}
    before, after = (read_snapshots(workspace.warehouse, workspace.contract, [day]).frame for day in (start, end))
    return drift.stability(drift.profile(before, workspace.contract), after)


def _nearest(days: Sequence[date], wanted: date) -> date | None:
    near = [day for day in days if abs((day - wanted).days) <= NEAR_DAYS]
    return min(near, key=lambda day: abs((day - wanted).days), default=None)


def _log(workspace: Workspace, shop: Shop, report: MonitorReport) -> str:
    metrics = {
        **(flat(plain(report.closed[0].metrics)) if report.closed else {}),
        "largest_drift": report.drift[0].index if report.drift else None,
        "model_age_days": report.age_days,
        "out_of_bounds": len(report.failures),
    }
    with workspace.tracker.run(
        f"monitor {report.as_of_date}",
        tags={
            **shop_tags(shop),
            "clv.kind": "monitor",
            "clv.version": report.version or "none",
            "clv.verdict": "out of bounds" if report.failures else "in bounds",
        },
        description=report.verdict,
    ) as run:
        # What was predicted and has closed, and today's customers, whose inputs are compared.
        days = sorted({*(closed.as_of_date for closed in report.closed), shop.as_of_date})
        log_data(run, workspace, shop, tests=days, what="monitor")
        run.log(metrics=metrics)
        monitor_page.log(run, replace(report, run_id=run.id))
    return run.id
