"""Testing a recipe out of time as a run of its own, without registering anything."""

from __future__ import annotations

from typing import Any

from clv.evaluation import MODEL
from clv.models.recipe import Recipe
from clv.snapshots import read_snapshots
from experiments import report
from experiments.train import evaluate_recipes
from experiments.tune import protocol_of, shop_tags
from experiments.workspace import Workspace


def evaluate(workspace: Workspace, recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """Test `recipe` at the protocol's test cutoffs; returns the run's id and the plain facts."""
    shop = workspace.shop()
    protocol = protocol_of(shop)
    with (
        workspace.console.step("evaluate") as step,
        workspace.tracker.run(
            f"evaluate {recipe.family} H={shop.horizon_days}",
            tags={**shop_tags(shop), "clv.kind": "evaluate", "clv.family": recipe.family},
        ) as run,
    ):
        snapshots = read_snapshots(workspace.warehouse, workspace.contract, protocol.cutoffs)
        evaluation = evaluate_recipes(workspace, shop, snapshots, protocol, {MODEL: recipe}, step.update)
        facts = report.facts(evaluation, protocol.note)
        run.log(params=recipe.model_dump())
        if evaluation.cutoffs:
            report.log_evaluation(run, evaluation)
        for name, figure in report.figures(evaluation, shop.currency):
            run.figure(figure, f"figures/{name}")
        step.note = f"{len(evaluation.cutoffs)} test cutoffs"
    return run.id, facts


def recipe_of_version(workspace: Workspace, version: str | None) -> Recipe:
    """Recipe of a version: the one named, else Production's, else the newest."""
    registry = workspace.registry
    chosen = registry.version(version) if version else registry.production() or registry.latest()
    return Recipe.model_validate_json(chosen.tags["clv.recipe"])
