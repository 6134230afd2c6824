"""What an evaluation looks like: MLflow metrics, the table in the terminal, figures, the model's own facts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clv.bootstrap import LEVEL, TOO_FEW, Interval
from clv.evaluation import BTYD, MODEL, Evaluation
from clv.level import INTERVAL_LEVEL
from clv.metrics import METRICS, decile_table
from experiments.total import doubt
from experiments.truth import ORACLE

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

    from clv.snapshots import Shop
    from experiments.console import Console
    from experiments.tracking import Run
    from experiments.workspace import Workspace

SHOWN = {
    "normalized_gini": "Gini",
    "top_decile_capture": "top 10 %",
    "roc_auc": "ROC AUC",
    "total_ratio": "total",
}
"""Columns of the table in the terminal; the first one with its interval."""


def log_evaluation(run: Run, evaluation: Evaluation, facts: dict[str, Any], *, is_short: bool) -> None:
    """Log an evaluation.

    Metrics of the model with their intervals (``roc_auc``, ``roc_auc_low``, ``roc_auc_high``), those of a baseline
    under its name (``total_spend/roc_auc``), those of each cutoff as the steps of ``by_cutoff/roc_auc``; verdicts as
    tags; tables as files.
    """
    metrics = flat(facts["models"][MODEL])
    for name, by_metric in facts["models"].items():
        if name != MODEL:
            metrics |= {f"{name}/{metric}": estimate for metric, (estimate, _, _) in by_metric.items()}
    best = evaluation.best_baseline()
    difference = evaluation.paired(best)["normalized_gini"]
    metrics |= flat(plain({"gini_over_best_baseline": difference})) | {"gini_ceiling": facts["ceiling"]}
    for name, one in facts["added"].items():
        metrics |= flat({"gini_over_btyd" if name == BTYD else "gini_over_ladder": one["gini"]})
    if facts["value_coverage"] is not None:
        metrics["value_interval_coverage"] = facts["value_coverage"]
    if facts["oracle"]:
        metrics |= flat({"oracle_share": facts["oracle"]["share"]})
        metrics["oracle/normalized_gini"] = facts["oracle"]["normalized_gini"][0]
    run.log(
        metrics=metrics,
        tags={**verdict_tags(evaluation, is_short=is_short), "clv.added": what_is_added(facts)},
    )
    for step, by_metric in enumerate(facts["by_cutoff"]):
        run.log(metrics={f"by_cutoff/{name}": by_metric[name] for name in METRICS}, step=step)
    parts, outcome = evaluation.pooled()
    deciles = decile_table(parts, outcome.is_return, outcome.future_value)
    run.text(deciles.to_csv(index=False), "evaluation/deciles.csv")
    run.text(_slices_table(facts["slices"]).to_csv(index=False), "evaluation/slices.csv")
    run.json(facts, "evaluation/evaluation.json")


def added(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """What the model adds in normalized Gini to buy till you die alone, and to the best of the plainer rungs."""
    best = evaluation.best_baseline([name for name in evaluation.baselines if name != BTYD])
    found = {name: evaluation.paired(name)["normalized_gini"] for name in (BTYD, best)}
    return {name: {"gini": triple(d), "verdict": d.verdict} for name, d in found.items()}


def what_is_added(facts: Mapping[str, Any]) -> str:
    """The same in words."""
    words = []
    if any(one["verdict"] == TOO_FEW for one in facts["added"].values()):
        return "What the model adds in Gini can't be told: too few customers came back in the test windows."
    if facts["added"] and all(one["gini"][0] is None for one in facts["added"].values()):
        return (
            "What the model adds in Gini can't be told: in the test windows everybody spent the same, so that no order "
            "of the customers is better than another."
        )
    for name, one in facts["added"].items():
        estimate, low, high = (f"{x:+.3f}" if x is not None else "?" for x in one["gini"])
        shown = "BG/NBD and Gamma-Gamma alone" if name == BTYD else f"{name}, the best of the plain rules"
        words.append(f"{estimate} ({low} to {high}, {one['verdict']}) over {shown}")
    return f"What the model adds in Gini: {'; '.join(words)}."


def log_level(run: Run, level: Mapping[str, Any]) -> None:
    """Log the total that is forecast, its interval, and how the same forecast met closed windows.

    ``level/forecast``, ``level/low``, ``level/high`` and ``level/spent`` have a step for each closed window.
    """
    metrics = {
        "total_expected": level["total"],
        "total_interval_low": level["total_low"],
        "total_interval_high": level["total_high"],
        "level_factor": level["factor"],
        "level_sd": level["sd"],
        "level_windows": level["windows"],
    }
    if level["windows"]:
        metrics["level_coverage"] = level["windows_covered"] / level["windows"]
    run.log(metrics=metrics, tags={"clv.level": f"{level['note']} {doubt(level)}".strip()})
    for step, window in enumerate(level["record"]):
        names = ("forecast", "low", "high", "spent")
        run.log(metrics={f"level/{name}": window[name] for name in names}, step=step)


def headline(facts: dict[str, Any]) -> dict[str, float | None]:
    """What a run that has a tested model somewhere below it shows of it in the list."""
    if not facts["models"]:
        return {}
    names = ("normalized_gini", "top_decile_capture", "total_ratio")
    return flat({name: facts["models"][MODEL][name] for name in names})


def log_data(
    run: Run,
    workspace: Workspace,
    shop: Shop,
    *,
    train: Sequence[date] = (),
    tests: Sequence[date] = (),
    what: str = "",
) -> None:
    """Log which data the run looked at: fingerprint, snapshots, schema.

    Parameters
    ----------
    train, tests
        Cutoffs of the snapshots that it learnt from and that it was tested on.
    what
        Names who looked at other cutoffs than training: of one name and fingerprint MLflow keeps those it saw first.
    """
    columns = {feature.name: "double" if feature.kind == "number" else "string" for feature in workspace.contract}
    keys = {"customer_id": "string", "cutoff_date": "datetime"}
    labels = {"is_return": "boolean", "future_value": "double"}
    for context, cutoffs in (("training", train), ("test", tests)):
        if cutoffs:
            run.dataset(
                "/".join(filter(None, ("customer_snapshots", context, what))),
                digest=shop.fingerprint,
                source=f"{workspace.warehouse.address}#marts.customer_snapshots",
                columns={**keys, **columns, **labels},
                profile={
                    "source": shop.source,
                    "shop_id": shop.shop_id,
                    "customers": shop.customers,
                    "first_purchase_date": shop.first_purchase_date,
                    "as_of_date": shop.as_of_date,
                    "horizon_days": shop.horizon_days,
                    "cutoffs": [str(cutoff) for cutoff in cutoffs],
                },
                context=context,
            )


def verdict_tags(evaluation: Evaluation, *, is_short: bool) -> dict[str, str]:
    """The best baseline, and whether the model is better; empty if nothing was tested.

    A short history is too little to judge by: what its one cutoff said stands in brackets. Where nothing can be judged
    though the history is long enough, the verdict says why.
    """
    if not evaluation.cutoffs:
        return {"clv.verdict": evaluation.doubt} if evaluation.doubt else {}
    best = evaluation.best_baseline()
    found = evaluation.doubt or verdict(evaluation.paired(best)["normalized_gini"].verdict, best)
    return {
        "clv.best_baseline": best,
        "clv.verdict": f"too little history to judge ({found})" if is_short else found,
    }


def verdict(word: str, reference: str) -> str:
    """A verdict in words."""
    return f"not distinguishable from {reference}" if word == "not distinguishable" else f"{word} than {reference}"


def facts(evaluation: Evaluation, note: str) -> dict[str, Any]:
    """The evaluation as the model artifact carries it: plain numbers, None where undefined.

    The note gets what could not be tested or judged, and why, beside what the protocol says.
    """
    doubts = dict.fromkeys(filter(None, (evaluation.left_out, evaluation.doubt)))
    note = " ".join([*filter(None, [note]), *(f"{doubt[0].upper()}{doubt[1:]}." for doubt in doubts)])
    if not evaluation.cutoffs:
        return {
            "note": note,
            "tests": [],
            "level": LEVEL,
            "models": {},
            "best_baseline": None,
            "verdicts": {},
            "added": {},
            "by_cutoff": [],
            "slices": [],
            "ceiling": None,
            "value_coverage": None,
            "oracle": None,
        }
    return {
        "note": note,
        "tests": [cutoff.isoformat() for cutoff in evaluation.cutoffs],
        "level": LEVEL,
        "models": {name: plain(evaluation.intervals(name)) for name in (MODEL, *evaluation.baselines)},
        "best_baseline": evaluation.best_baseline(),
        "added": added(evaluation),
        "verdicts": {
            name: {metric: difference.verdict for metric, difference in evaluation.paired(name).items()}
            for name in evaluation.baselines
        },
        "by_cutoff": _by_cutoff(evaluation),
        "slices": [
            {
                "slice": one.slicing,
                "value": one.value,
                "customers": one.customers,
                "returners": one.returners,
                "enough": one.is_enough,
                "metrics": plain(one.metrics),
            }
            for one in evaluation.slices
        ],
        "ceiling": evaluation.ceiling,
        "value_coverage": evaluation.value_coverage(INTERVAL_LEVEL),
        "oracle": None
        if ORACLE not in evaluation.parts
        else {
            "normalized_gini": triple(evaluation.intervals(ORACLE)["normalized_gini"]),
            "share": triple(evaluation.share(ORACLE)),
        },
    }


def _by_cutoff(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The model's metrics, cutoff by cutoff."""
    ceilings = evaluation.ceilings or (math.nan,) * len(evaluation.cutoffs)
    return [
        {
            "cutoff": cutoff.isoformat(),
            "customers": len(outcome.customer_id),
            "returners": int(outcome.is_return.sum()),
            "normalized_gini_ceiling": number(ceiling),
            **{name: number(value) for name, value in zip(METRICS, values, strict=True)},
        }
        for cutoff, outcome, ceiling, values in zip(
            evaluation.cutoffs, evaluation.outcomes, ceilings, evaluation.draws.estimates[MODEL].tolist(), strict=True
        )
    ]


def _slices_table(found: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        {key: one[key] for key in ("slice", "value", "customers", "returners", "enough")} | flat(one["metrics"])
        for one in found
    ]
    return pd.DataFrame(rows)


COMPARED = ("normalized_gini", "top_decile_capture", "roc_auc", "total_ratio")
"""Columns of a table for a reviewer."""


def metric_table(models: Mapping[str, Mapping[str, Sequence[float | None]]]) -> list[str]:
    """Models and their metrics with intervals as the lines of a Markdown table, from the triples of :func:`facts`."""
    header = " | ".join(METRICS[metric].label for metric in COMPARED)
    rows = [
        f"| {in_table(name)} | {' | '.join(with_interval(by_metric[metric]) for metric in COMPARED)} |"
        for name, by_metric in models.items()
    ]
    return [f"| | {header} |", "|---" * (len(COMPARED) + 1) + "|", *rows]


def with_interval(found: Sequence[float | None], digits: int = 3) -> str:
    """An estimate and its interval in words, from a :func:`triple`."""
    estimate, low, high = found
    if estimate is None or low is None or high is None:
        return cell(estimate, digits)
    return f"{cell(estimate, digits)} ({cell(low, digits)} to {cell(high, digits)})"


def in_table(text: object) -> str:
    """Text that stays in its cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def show(console: Console, evaluation: dict[str, Any]) -> None:
    """Print the metric table beside the baselines, from :func:`facts`."""
    if not evaluation["models"]:
        console.say(evaluation["note"] or "No out-of-time test was possible.")
        return
    rows = []
    for name, metrics in evaluation["models"].items():
        found = "" if name == MODEL else evaluation["verdicts"][name]["normalized_gini"]
        cells = [cell(metrics[metric][0]) for metric in SHOWN]
        low, high = metrics["normalized_gini"][1:]
        rows.append([name, cells[0], "" if low is None else f"{cell(low, 2)} to {cell(high, 2)}", *cells[1:], found])
    console.table(
        f"Out of time at {', '.join(evaluation['tests'])}: mean, {evaluation['level']:.0%} interval",
        ["", "Gini", "interval", *list(SHOWN.values())[1:], "model is"],
        rows,
    )
    console.say(what_is_added(evaluation))
    if evaluation["oracle"]:
        console.say(
            f"Who knows this synthetic shop's true parameters reaches a Gini of "
            f"{cell(evaluation['oracle']['normalized_gini'][0])}; the model's share of it is "
            f"{with_interval(evaluation['oracle']['share'], 2)}."
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


def plain(intervals: Mapping[str, Interval]) -> dict[str, list[float | None]]:
    """Intervals as lists of estimate, low and high; None where undefined."""
    return {name: triple(interval) for name, interval in intervals.items()}


def flat(triples: Mapping[str, Sequence[float | None]]) -> dict[str, float | None]:
    """Estimates with ``_low`` and ``_high`` beside them, from the lists of :func:`plain`.

    Examples
    --------
    >>> flat({"mae": [3.0, 2.5, None]})
    {'mae': 3.0, 'mae_low': 2.5, 'mae_high': None}
    """
    return {
        f"{name}{suffix}": value
        for name, found in triples.items()
        for suffix, value in zip(("", "_low", "_high"), found, strict=True)
    }


def triple(interval: Interval) -> list[float | None]:
    """Estimate, low and high as plain numbers; None where undefined."""
    return [number(x) for x in (interval.estimate, interval.low, interval.high)]


def number(value: float) -> float | None:
    """A plain number; None where undefined, as JSON knows neither nan nor infinity."""
    return value if math.isfinite(value) else None


def cell(value: float | None, digits: int = 3) -> str:
    """A number in a table; large ones with two decimals, undefined ones as a dash."""
    if value is None or not math.isfinite(value):
        return "-"
    shown = round(value, 2 if abs(value) >= 10 else digits) + 0.0  # + 0.0: no negative zero
    return f"{shown:.{2 if abs(value) >= 10 else digits}f}"
