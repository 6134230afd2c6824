"""What ``clv monitor`` shows: tables in the terminal, a page with figures in the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from clv import drift
from clv.bootstrap import FEWEST_RETURNERS
from clv.level import LEVEL_BOUNDS
from clv.metrics import decile_table
from experiments.monitor_report import (
    DRIFT_BOUND,
    SMALLEST_IMPORTANCE,
    USUAL_FACTOR,
    Closed,
    FeatureDrift,
    MonitorReport,
    no_drift,
    no_scoring_closed,
)
from experiments.page import html_page
from experiments.report import plain, triple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.console import Console
    from experiments.tracking import Run


def facts(report: MonitorReport) -> dict[str, Any]:
    """The report in plain numbers."""
    return {
        "as_of_date": report.as_of_date.isoformat(),
        "version": report.version,
        "model_as_of_date": report.model_as_of_date.isoformat() if report.model_as_of_date else None,
        "age_days": report.age_days,
        "retrain_after_days": report.retrain_after_days,
        "verdict": report.verdict,
        "checks": [{"name": check.name, "passed": check.passed, "detail": check.detail} for check in report.checks],
        "closed": [_plain(closed) for closed in (*report.closed, *report.served)],
        "waiting": [
            {"by": scoring.scored_by, "as_of_date": str(scoring.as_of_date), "closes_on": str(scoring.closes_on)}
            for scoring in report.waiting
        ],
        "drift": [
            {"feature": f.feature, "index": f.index, "usual": f.usual, "importance": f.importance, "is_out": f.is_out}
            for f in report.drift
        ],
        "run_id": report.run_id,
    }


def _plain(closed: Closed) -> dict[str, Any]:
    return {
        "by": closed.by,
        "as_of_date": closed.as_of_date.isoformat(),
        "horizon_days": closed.horizon_days,
        "customers": len(closed.parts.p_return),
        "returners": closed.returners,
        "predicted_returners": float(closed.parts.p_return.sum()),
        "predicted_total": float(closed.parts.expected_value.sum()),
        "actual_total": float(closed.outcome.future_value.sum()),
        "promised_gini": triple(closed.promised) if closed.promised else None,
        "promised_total": triple(closed.promised_total) if closed.promised_total else None,
        "metrics": plain(closed.metrics),
    }


CALM = 0.01
"""Smaller drifts are only counted."""

MOST_DRIFTS = 8
"""Features in the terminal's table."""

DRIFT_COLUMNS = ("feature", "index", "usual", "importance", "")
CLOSED_COLUMNS = ("predictions", "customers", "back", "expected", "Gini", "interval", "promised", "total")


def closed_rows(report: MonitorReport) -> list[list[str]]:
    """The table of closed predictions, latest first."""
    rows = []
    for closed in (*report.closed, *report.served):
        gini, ratio = closed.metrics.get("normalized_gini"), closed.metrics.get("total_ratio")
        rows.append(
            [
                f"{closed.by}, {closed.as_of_date} +{closed.horizon_days} d",
                f"{len(closed.parts.p_return):,}",
                f"{closed.returners:,}",
                f"{closed.parts.p_return.sum():,.0f}",
                f"{gini.estimate:.3f}" if gini else "too few",
                f"{gini.low:.2f} to {gini.high:.2f}" if gini else "",
                f"{closed.promised.low:.2f} to {closed.promised.high:.2f}" if closed.promised else "",
                f"{ratio.estimate:.2f}" if ratio else "",
            ]
        )
    return rows


def to_markdown(report: MonitorReport) -> str:
    """The page."""
    result = {True: "in bounds", False: "**OUT OF BOUNDS**", None: "not judged"}
    lines = [
        f"# Did it come true? {report.as_of_date}",
        "",
        f"**{report.verdict}**",
        "",
        "| watched | result | detail |",
        "|---|---|---|",
        *(f"| {check.name} | {result[check.passed]} | {check.detail} |" for check in report.checks),
        "",
        "## Predictions whose window has closed",
        "",
    ]
    if rows := closed_rows(report):
        lines += [
            *_table(CLOSED_COLUMNS, rows),
            "",
            "*back* and *expected*: customers who bought in the window, and how many were predicted to. *promised*: "
            "interval of the Gini in the version's out-of-time test. *total*: predicted / actual, 1 is exact. "
            f"Intervals hold 95 %; where fewer than {FEWEST_RETURNERS} came back, nothing can be told.",
        ]
    else:
        lines.append(_sentence(no_scoring_closed(report)))
    if report.waiting:
        waiting = ", ".join(f"{s.scored_by} of {s.as_of_date} (on {s.closes_on})" for s in report.waiting[-5:])
        lines += ["", f"Still open: {waiting}."]
    lines += ["", "## Inputs: today's customers beside those of the model's as-of day", ""]
    if report.drift:
        lines += [
            *_table(DRIFT_COLUMNS, _drift_rows([found for found in report.drift if found.index >= CALM])),
            "",
            f"{sum(found.index < CALM for found in report.drift)} other features are below {CALM}. "
            f"*index*: population stability index, below {drift.MODERATE} is calm, above {drift.LARGE} another "
            f"population. *usual*: the same over {report.age_days} days before the model was made. Out of bounds: "
            f"above {DRIFT_BOUND} and {USUAL_FACTOR:g} times the usual one, in a feature with at least "
            f"{SMALLEST_IMPORTANCE:.0%} of the model's contributions.",
        ]
    else:
        lines.append(_sentence(no_drift(report)))
    return "\n".join(lines) + "\n"


def _drift_rows(drifts: Sequence[FeatureDrift]) -> list[list[str]]:
    return [
        [
            found.feature,
            f"{found.index:.3f}",
            "" if found.usual is None else f"{found.usual:.3f}",
            f"{found.importance:.1%}",
            "out of bounds" if found.is_out else "",
        ]
        for found in drifts
    ]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    head = [f"| {' | '.join(columns)} |", "|---" + "|--:" * (len(columns) - 1) + "|"]
    return head + [f"| {' | '.join(row)} |" for row in rows]


def figures(report: MonitorReport) -> Iterator[tuple[str, str, Figure]]:
    """The page's figures: file name, caption, figure."""
    from clv import plots

    judged = [closed for closed in report.closed if closed.metrics]
    if judged:
        latest = judged[0]
        what = f"{latest.by} of {latest.as_of_date}"
        deciles = decile_table(latest.parts, latest.outcome.is_return, latest.outcome.future_value)
        promises = [
            plots.Promise(
                f"{closed.as_of_date}, {closed.by}",
                closed.metrics["normalized_gini"],
                closed.promised,
                closed.metrics["total_ratio"],
            )
            for closed in judged
        ]
        yield "promises", "Promised and kept", plots.kept_promises(promises, LEVEL_BOUNDS)
        yield (
            "calibration",
            f"Predicted and actual value by decile: {what}",
            plots.calibration_by_decile(deciles, currency=report.currency),
        )
        gains = plots.gain_curve(latest.outcome.future_value, {latest.by: latest.parts.expected_value})
        yield "gain_curve", f"Value found by predicted rank: {what}", gains
    if report.drift:
        indices = {found.feature: found.index for found in report.drift}
        usual = {found.feature: found.usual for found in report.drift if found.usual is not None}
        yield (
            "drift",
            f"Input drift since {report.model_as_of_date}",
            plots.drift_bars(indices, usual, (drift.MODERATE, drift.LARGE)),
        )


def show(console: Console, report: MonitorReport) -> None:
    """Print the tables and the checks."""
    if rows := closed_rows(report):
        console.table("Predictions whose window has closed", CLOSED_COLUMNS, rows)
    large = [found for found in report.drift if found.index > drift.MODERATE]
    if large:
        console.table(
            f"Input drift since {report.model_as_of_date}, {len(large)} of {len(report.drift)} features above "
            f"{drift.MODERATE}",
            DRIFT_COLUMNS,
            _drift_rows(large[:MOST_DRIFTS]),
        )
    for check in report.checks:
        if check.passed is None:
            console.say(f"  not judged {check.name}: {check.detail}")
        else:
            console.check(check.passed, f"{check.name}: {check.detail}")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def log(run: Run, report: MonitorReport) -> None:
    """Log page, figures and facts."""
    pictures: dict[str, Figure] = {}
    for name, caption, figure in figures(report):
        pictures[caption] = figure
        run.figure(figure, f"monitor/{name}.png")
    markdown = to_markdown(report)
    run.text(markdown, "monitor/monitor.md")
    run.text(html_page(markdown, f"clv monitor {report.as_of_date}", pictures), "monitor/monitor.html")
    run.json(facts(report), "monitor/monitor.json")
