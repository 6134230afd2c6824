"""Loading and transforming, with their steps shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from clv import load as loading
from clv import transform as transforming
from experiments import truth
from experiments.workspace import Workspace

if TYPE_CHECKING:
    from clv.load import LoadReport, Source
    from clv.sources.transactions import TransactionColumns
    from clv.transform import TransformReport


LONG_SILENCE_DAYS = 30
"""With more days than these between the last purchase and the as-of day, sales may be missing."""


def load(
    workspace: Workspace,
    paths: Sequence[Path],
    *,
    source: Source,
    columns: TransactionColumns | None = None,
    append: bool = False,
    replace_shop: bool = False,
) -> LoadReport:
    """Check and load raw files into the warehouse."""
    with workspace.console.step("load") as step:
        report = loading.load(
            workspace.settings,
            paths,
            source=source,
            columns=columns,
            append=append,
            replace_shop=replace_shop,
            progress=step.update,
        )
        truth.remember(workspace.home, paths, report.fingerprint)
        step.note = f"{report.orders:,} orders, {report.customers:,} customers, as-of day {report.as_of_date}"
    for note in report.notes:
        workspace.console.note(note)
    return report


def transform(
    workspace: Workspace, *, as_of_date: date | None, horizon_days: int | None, full_refresh: bool = False
) -> TransformReport:
    """Build and test the marts."""
    with workspace.console.step("transform") as step:
        report = transforming.transform(
            workspace.settings,
            as_of_date=as_of_date,
            horizon_days=horizon_days,
            full_refresh=full_refresh,
            progress=step.update,
        )
        step.note = (
            f"{report.snapshot_count:,} snapshots at {len(report.cutoffs)} cutoffs, {report.horizon_days} days ahead, "
            f"{len(report.tests)} tests passed"
        )
    workspace.console.note(report.changes)
    silence = (report.as_of_date - report.last_purchase_date).days
    if silence > LONG_SILENCE_DAYS:
        workspace.console.warn(
            f"As-of day {report.as_of_date} is {silence} days after the last purchase, which count as days without "
            "a sale; if sales are missing, load them or choose an earlier --as-of."
        )
    return report
