"""The second half of the chain, from marts to predictions: tune, train, gate, promote, score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clv.errors import RefusedError
from clv.evaluation import BTYD
from clv.snapshots import Shop
from experiments import report
from experiments.promote import promote
from experiments.protocol import protocol_of, shop_tags
from experiments.score import ScoreResult, baseline_scorer, check_same, default_path, load_predictor, scorer, write
from experiments.train import TrainResult, train
from experiments.tune import TuneResult, tune
from experiments.workspace import Workspace

if TYPE_CHECKING:
    from clv.load import LoadReport
    from clv.transform import TransformReport


@dataclass(frozen=True)
class RunResult:
    """What the chain made.

    Attributes
    ----------
    refused
        What the gate said, if it refused the new version; else empty.
    """

    loaded: LoadReport
    transformed: TransformReport
    tuned: TuneResult
    trained: TrainResult
    scored: ScoreResult
    refused: str


def learn(
    workspace: Workspace,
    loaded: LoadReport,
    transformed: TransformReport,
    *,
    trials: int,
    jobs: int,
    resume: bool,
    by: str,
    target: Path | None,
    accept_too_good: str = "",
) -> RunResult:
    """Tune, train, promote and score on the marts that were just built; see :func:`experiments.run.run`."""
    shop = workspace.shop()
    protocol = protocol_of(shop)  # refuses too short a history before anything is written
    tracker = workspace.tracker
    with tracker.run(
        f"clv run {shop.source} H={shop.horizon_days}",
        tags={**shop_tags(shop), "clv.kind": "run"},
        description=f"{shop.customers:,} customers as of {shop.as_of_date}; tuning and training are child runs.",
    ) as parent:
        tuned = tune(workspace, trials=trials, jobs=jobs, resume=resume, parent=parent)
        trained = train(workspace, recipe=tuned.recipe, parent=parent)
        refused = ""
        try:
            promote(
                workspace,
                version=trained.version,
                by=by,
                accept_too_good=accept_too_good,
                evaluation=trained.evaluation,
            )
        except RefusedError as error:
            refused = str(error)
        scored = _score(workspace, shop, trained, refused, target)
        parent.log(
            params={
                "horizon_days": shop.horizon_days,
                "as_of_date": shop.as_of_date,
                "trials": trials,
                "family": trained.recipe.family,
            },
            metrics={
                "customers": shop.customers,
                "total_expected_value": scored.expected_value,
                "total_expected_value_low": scored.expected_value_low,
                "total_expected_value_high": scored.expected_value_high,
                **report.headline(trained.facts),
            },
            tags={
                "clv.version": trained.version,
                "clv.scored_by": scored.scored_by,
                "clv.gate": "refused" if refused else "passed",
                **report.verdict_tags(trained.evaluation, is_short=protocol.is_short),
                "clv.refused": refused or "no",
            },
        )
        outcome = "refused" if refused else "in Production"
        parent.rename(f"clv run {shop.source} H={shop.horizon_days}: version {trained.version} {outcome}")
    return RunResult(loaded, transformed, tuned, trained, scored, refused)


def _score(workspace: Workspace, shop: Shop, trained: TrainResult, refused: str, target: Path | None) -> ScoreResult:
    target = target or default_path(workspace)
    version = workspace.registry.production()
    if version is not None:
        predictor = load_predictor(workspace, version.number)
        fits = version.is_of(shop) and (version.tags.get("clv.contract_fingerprint") == workspace.contract.fingerprint)
        if fits or not refused:
            check_same(predictor, workspace, shop, f"Version {version.number} in Production")
            return write(workspace, shop, scorer(predictor), f"version {version.number}", target)
    name = trained.evaluation.best_baseline() if trained.evaluation.cutoffs else BTYD
    return write(workspace, shop, baseline_scorer(workspace, shop, name), f"baseline {name}", target)
