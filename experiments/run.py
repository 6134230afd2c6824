"""The whole chain in one call: load, transform, tune, train, gate, promote, score."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.prepare import load, transform
from experiments.score import check_predictions_path
from experiments.workspace import Workspace

if TYPE_CHECKING:
    from clv.load import Source
    from clv.sources.transactions import TransactionColumns
    from experiments.learn import RunResult


def run(
    workspace: Workspace,
    paths: Sequence[Path],
    *,
    source: Source,
    columns: TransactionColumns | None,
    horizon_days: int,
    as_of_date: date | None,
    predictions: Path | None,
    replace_shop: bool,
    trials: int,
    jobs: int,
    by: str,
    resume: bool = False,
    accept_too_good: str = "",
) -> RunResult:
    """Run all of it on the shop in `paths`.

    A version that the gate refuses is not promoted; predictions are written all the same, by the model in Production
    if it fits, else by the best baseline, and the result says so. With `resume` the last search on these data goes on.
    """
    target = check_predictions_path(predictions) if predictions else None
    loaded = load(workspace, paths, source=source, columns=columns, append=False, replace_shop=replace_shop)
    transformed = transform(workspace, as_of_date=as_of_date, horizon_days=horizon_days)
    # Only now: what training takes in packages alone would lie idle beside dbt, which needs as much.
    from experiments.learn import learn

    return learn(
        workspace,
        loaded,
        transformed,
        trials=trials,
        jobs=jobs,
        resume=resume,
        by=by,
        target=target,
        accept_too_good=accept_too_good,
    )
