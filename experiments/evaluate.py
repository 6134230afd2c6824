"""Testing a recipe out of time as a run of its own, without registering anything."""

from __future__ import annotations

from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from clv.errors import InputError
from clv.evaluation import MODEL
from clv.models.recipe import Recipe
from clv.snapshots import Shop
from clv.splits import Plan, every_fold
from experiments import report
from experiments.choices import Cutoffs
from experiments.protocol import protocol_of, shop_tags
from experiments.train import evaluate_recipes
from experiments.workspace import Workspace


def evaluate(workspace: Workspace, recipe: Recipe, cutoffs: Cutoffs | None = None) -> tuple[str, dict[str, Any]]:
    """Test `recipe` at the protocol's test cutoffs, or at others; returns the run's id and the plain facts.

    Raises
    ------
    InputError
        If the history is too short, or a cutoff that was named can't be tested.
    """
    shop = workspace.shop()
    protocol = protocol_of(shop)
    if cutoffs is not None:
        protocol = at_cutoffs(shop, cutoffs)
    with (
        workspace.console.step("evaluate") as step,
        workspace.tracker.run(
            f"evaluate {recipe.family} H={shop.horizon_days}",
            tags={**shop_tags(shop), "clv.kind": "evaluate", "clv.family": recipe.family},
            description=f"{recipe.describe()}, tested without registering anything.",
        ) as run,
    ):
        snapshots = workspace.snapshots(protocol.cutoffs)
        evaluation = evaluate_recipes(workspace, shop, snapshots, protocol, {MODEL: recipe}, step.update)
        facts = report.facts(evaluation, protocol.note)
        run.log(params={**recipe.model_dump(), "horizon_days": shop.horizon_days, "as_of_date": shop.as_of_date})
        report.log_data(run, workspace, shop, train=protocol.train, tests=[fold.test for fold in protocol.tests])
        if evaluation.cutoffs:
            report.log_evaluation(run, evaluation, facts, is_short=protocol.is_short)
        for name, figure in report.figures(evaluation, shop.currency):
            run.figure(figure, f"figures/{name}")
        tested = f"tested at {', '.join(map(str, evaluation.cutoffs)) or 'no cutoff'}"
        run.log(tags={MLFLOW_RUN_NOTE: f"{recipe.describe()}, refitted and {tested}; nothing is registered."})
        step.note = tested
    return run.id, facts


def at_cutoffs(shop: Shop, cutoffs: Cutoffs) -> Plan:
    """The plan that tests at chosen cutoffs: each trains on those whose label window had closed by then.

    Raises
    ------
    InputError
        If a named cutoff has no closed label, or nothing to train on before it.
    """
    possible = {fold.test: fold for fold in every_fold(shop.cutoffs, shop.horizon_days)}
    chosen = cutoffs.among(list(possible), shop.horizon_days)
    if not chosen:
        raise InputError(
            f"No cutoff has both a closed label and an earlier one to train on; load more history than "
            f"{shop.first_purchase_date} to {shop.as_of_date}, or shorten --horizon-days."
        )
    return Plan((), tuple(possible[test] for test in chosen), (), "")
