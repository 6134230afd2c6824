"""What an evaluation looks like: MLflow metrics, the table in the terminal, figures, the model's own facts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from clv.bootstrap import LEVEL, Interval
from clv.evaluation import MODEL, Evaluation
from clv.metrics import decile_table, evaluate

if TYPE_CHECKING:
    from experiments.console import Console
    from experiments.tracking import Run

SHOWN = {
    "normalized_gini": "Gini",
    "top_decile_capture": "top 10 %",
    "roc_auc": "ROC AUC",
    "total_ratio": "total",
}
"""Columns of the table in the terminal; the first one with its interval."""


def log_evaluation(run: Run, evaluation: Evaluation) -> None:
    """Log metrics with intervals (``roc_auc``, ``roc_auc_low``, ``roc_auc_high``), ladder, verdicts and tables."""
    metrics: dict[str, float] = {}
    for name in (MODEL, *evaluation.baselines):
        prefix = "" if name == MODEL else f"{name}_"
        for metric, interval in evaluation.intervals(name).items():
            if not math.isfinite(interval.estimate):
                continue
            metrics[f"{prefix}{metric}"] = interval.estimate
            if name == MODEL and math.isfinite(interval.low):
                metrics[f"{metric}_low"] = interval.low
                metrics[f"{metric}_high"] = interval.high
    best = evaluation.best_baseline()
    difference = evaluation.paired(best)["normalized_gini"]
    metrics["normalized_gini_over_best_baseline"] = difference.estimate
    run.log(
        metrics=metrics,
        tags={
            "clv.best_baseline": best,
            "clv.verdict": f"{difference.verdict} than {best}"
            if difference.verdict != "not distinguishable"
            else f"not distinguishable from {best}",
        },
    )
    for step, outcome in enumerate(evaluation.outcomes):
        values = evaluate(evaluation.parts[MODEL][step], outcome.is_return, outcome.future_value)
        finite = {f"cutoff_{metric}": value for metric, value in values.items() if math.isfinite(value)}
        run.log(metrics=finite, step=step)
    parts, outcome = evaluation.pooled()
    deciles = decile_table(parts, outcome.is_return, outcome.future_value)
    run.text(deciles.to_csv(index=False), "evaluation/deciles.csv")
    run.json(facts(evaluation, note=""), "evaluation/evaluation.json")


def facts(evaluation: Evaluation, note: str) -> dict[str, Any]:
    """The evaluation as the model artifact carries it: plain numbers, None where undefined."""
    if not evaluation.cutoffs:
        return {"note": note, "tests": [], "level": LEVEL, "models": {}, "verdicts": {}}
    return {
        "note": note,
        "tests": [cutoff.isoformat() for cutoff in evaluation.cutoffs],
        "level": LEVEL,
        "models": {
            name: {metric: _plain(interval) for metric, interval in evaluation.intervals(name).items()}
            for name in (MODEL, *evaluation.baselines)
        },
        "verdicts": {
            name: {metric: difference.verdict for metric, difference in evaluation.paired(name).items()}
            for name in evaluation.baselines
        },
    }


def show(console: Console, evaluation: dict[str, Any]) -> None:
    """Print the metric table beside the baselines, from :func:`facts`."""
    if not evaluation["models"]:
        console.say(evaluation["note"] or "No out-of-time test was possible.")
        return
    rows = []
    for name, metrics in evaluation["models"].items():
        verdict = "" if name == MODEL else evaluation["verdicts"][name]["normalized_gini"]
        cells = [_cell(metrics[metric][0]) for metric in SHOWN]
        low, high = metrics["normalized_gini"][1:]
        rows.append([name, cells[0], "" if low is None else f"{_cell(low, 2)}–{_cell(high, 2)}", *cells[1:], verdict])
    console.table(
        f"Out of time at {', '.join(evaluation['tests'])}: mean, {evaluation['level']:.0%} interval",
        ["", "Gini", "interval", *list(SHOWN.values())[1:], "model is"],
        rows,
    )
    if evaluation["note"]:
        console.say(evaluation["note"])


def figures(evaluation: Evaluation, currency: str) -> Iterator[tuple[str, Any]]:
    """The evaluation's figures by file name."""
    from clv import plots

    if not evaluation.cutoffs:
        return
    parts, outcome = evaluation.pooled()
    scores = {name: evaluation.pooled(name)[0].expected_value for name in (MODEL, *evaluation.baselines)}
    yield "gain_curve.png", plots.gain_curve(outcome.future_value, scores)
    yield (
        "calibration.png",
        plots.calibration_by_decile(decile_table(parts, outcome.is_return, outcome.future_value), currency=currency),
    )
    ladder = {name: evaluation.intervals(name) for name in (MODEL, *evaluation.baselines)}
    yield "metric_ladder.png", plots.metric_ladder(ladder)
    yield "value_distribution.png", plots.value_distribution(parts, outcome.future_value, currency=currency)


def _plain(interval: Interval) -> list[float | None]:
    return [x if math.isfinite(x) else None for x in (interval.estimate, interval.low, interval.high)]


def _cell(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "-"
    shown = round(value, 2 if abs(value) >= 10 else digits) + 0.0  # + 0.0: no negative zero
    return f"{shown:.{2 if abs(value) >= 10 else digits}f}"
