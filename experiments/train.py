"""Training: test the recipe out of time, refit it on every closed label, register the model."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE
from pydantic import ValidationError

from clv import drift
from clv.bootstrap import TOO_FEW
from clv.errors import InputError
from clv.evaluation import MODEL, Evaluation, evaluate
from clv.explain import by_part, in_money
from clv.level import INTERVAL_LEVEL, fit_level
from clv.models.model import Model
from clv.models.recipe import Recipe
from clv.predictor import Contributions, Predictor, at_level
from clv.snapshots import Shop, Snapshots, read_snapshots
from clv.splits import Plan
from clv.transform import serving_sql
from experiments import report, total
from experiments.card import card
from experiments.page import html_page
from experiments.protocol import protocol_of, shop_tags
from experiments.truth import with_oracle
from experiments.workspace import Workspace

if TYPE_CHECKING:
    from experiments.tracking import Run

EXPLAINED_CUSTOMERS = 400
"""Size of the seeded sample behind importances and beeswarm."""


@dataclass(frozen=True)
class TrainResult:
    """A registered model version.

    Attributes
    ----------
    version, run_id
        Where it is.
    recipe
        Its recipe.
    evaluation
        The recipe, out of time, beside the ladder.
    facts
        The same in plain numbers.
    """

    version: str
    run_id: str
    recipe: Recipe
    evaluation: Evaluation
    facts: dict[str, Any]


def train(workspace: Workspace, *, recipe: Recipe, parent: Run | None = None) -> TrainResult:
    """Test `recipe` out of time, refit it on every closed label up to the as-of day, log and register it.

    Raises
    ------
    InputError
        If the history is shorter than twice the horizon or nobody came back.
    """
    shop = workspace.shop()
    protocol = protocol_of(shop)
    with workspace.console.step("train") as step:
        step.update("reading snapshots")
        snapshots = workspace.snapshots(protocol.cutoffs)
        run_tags = {**shop_tags(shop), "clv.kind": "train", "clv.family": recipe.family}
        with workspace.tracker.run(
            f"train {recipe.family} H={shop.horizon_days}",
            parent=parent,
            tags=run_tags,
            description=_target(shop),
        ) as run:
            run.log(params=recipe.model_dump())
            evaluation = evaluate_recipes(workspace, shop, snapshots, protocol, {MODEL: recipe}, step.update)
            # a cutoff that was to be a test may have tested nothing, so this is said only now
            tested = replace(protocol, tests=tuple(f for f in protocol.tests if f.test in evaluation.cutoffs))
            run.log(params=_data_parameters(workspace, shop, tested))
            report.log_data(run, workspace, shop, train=tested.train, tests=[fold.test for fold in tested.tests])
            step.update("fitting on every closed label")
            closed = snapshots.at(*protocol.train)
            today = read_snapshots(workspace.warehouse, workspace.contract, [shop.as_of_date]).frame
            model = Model(
                workspace.contract, recipe, seed=workspace.settings.seed, threads=workspace.settings.threads
            ).fit(
                closed.frame,
                closed.future_value,
                is_return=closed.is_return,
                today=today,
                horizon_days=shop.horizon_days,
            )
            step.update("bootstrap")
            facts = report.facts(evaluation, protocol.note)
            predictor, sample, contributions = _assemble(
                workspace, shop, protocol, model, closed, today, evaluation, facts
            )
            step.update("logging")
            if evaluation.cutoffs:
                report.log_evaluation(run, evaluation, facts, is_short=protocol.is_short)
            else:
                run.log(tags=report.verdict_tags(evaluation, is_short=protocol.is_short))
            report.log_level(run, predictor.about["level"])
            doubt = total.doubt(predictor.about["level"])
            version = _log(workspace, run, shop, predictor, sample, contributions, evaluation)
            run.rename(f"version {version}: {recipe.family} H={shop.horizon_days}")
            chosen = recipe.with_share(model.predictor_.covariate_weight)
            about = _description(shop, facts)
            run.log(tags={"clv.version": version, "clv.chosen": chosen.describe(), MLFLOW_RUN_NOTE: about})
        step.note = f"version {version}, {len(closed.frame):,} snapshots at {len(protocol.train)} cutoffs"
    if doubt:
        workspace.console.warn(doubt)
    return TrainResult(version, run.id, recipe, evaluation, facts)


def evaluate_recipes(
    workspace: Workspace,
    shop: Shop,
    snapshots: Snapshots,
    protocol: Plan,
    recipes: dict[str, Recipe],
    progress: Any = None,
) -> Evaluation:
    """Test recipes at the protocol's test cutoffs, with the seed and threads of the settings."""
    evaluation = evaluate(
        snapshots,
        workspace.contract,
        recipes,
        protocol.tests,
        horizon_days=shop.horizon_days,
        seed=workspace.settings.seed,
        threads=workspace.settings.threads,
        ledger=workspace.ledger(shop) if protocol.tests else None,
        progress=progress,
    )
    return with_oracle(workspace.home, shop, evaluation)


def recipe_of_run(workspace: Workspace, run_id: str) -> Recipe:
    """The best recipe of a tuning run.

    Raises
    ------
    InputError
        If there is no such run or it found no recipe.
    """
    from mlflow.exceptions import MlflowException

    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(workspace.tracker.client.download_artifacts(run_id, "recipe.json", folder))
            return Recipe.model_validate_json(path.read_bytes())
    except (MlflowException, OSError, ValidationError):
        raise InputError(
            f"Run {run_id!r} holds no recipe.json; expected the id of a finished `clv tune` run."
        ) from None


def _assemble(
    workspace: Workspace,
    shop: Shop,
    protocol: Plan,
    model: Model,
    snapshots: Snapshots,
    today: pd.DataFrame,
    evaluation: Evaluation,
    facts: dict[str, Any],
) -> tuple[Predictor, pd.DataFrame, Contributions]:
    """The predictor with all its facts, a seeded sample of today's customers, and what moves their predictions."""
    from experiments.tracking import commit

    level = fit_level(workspace.ledger(shop), shop.as_of_date, shop.horizon_days)
    unlevelled = model.predict_parts(today)
    bare = replace(model.predictor_, level=level.forecast.factor(unlevelled))
    parts = at_level(unlevelled, bare.level)
    rng = np.random.default_rng(workspace.settings.seed)
    chosen = rng.choice(len(today), size=min(EXPLAINED_CUSTOMERS, len(today)), replace=False)
    sample = today.iloc[np.sort(chosen)].reset_index(drop=True)

    contributions = bare.contributions(bare.encoder.encode(sample))
    weight = np.abs(contributions.expected_value).mean(axis=0)
    order = np.argsort(-weight, kind="stable")
    calibration = bare.history.calibration if bare.history is not None else None
    about = {
        "horizon_days": shop.horizon_days,
        "as_of_date": shop.as_of_date.isoformat(),
        "currency": shop.currency,
        "shop_id": shop.shop_id,
        "source": shop.source,
        "customers": len(today),
        "first_purchase_date": shop.first_purchase_date.isoformat(),
        "training_rows": len(snapshots.frame),
        "training_returners": int(snapshots.is_return.sum()),
        "seed": workspace.settings.seed,
        "contract": workspace.contract.to_json(),
        "contract_fingerprint": workspace.contract.fingerprint,
        "inputs": drift.profile(today, workspace.contract),
        "data_fingerprint": shop.fingerprint,
        "commit": commit(),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": model.recipe.model_dump(),
        "covariate_weight": bare.covariate_weight,
        "spend_slope": calibration.slope if calibration is not None else None,
        "cutoffs": [cutoff.isoformat() for cutoff in protocol.train],
        "interval_level": INTERVAL_LEVEL,
        "level": level.to_json(INTERVAL_LEVEL, bare.level),
        "importance": [
            {"feature": workspace.contract.names[i], "mean_abs_contribution": float(weight[i])} for i in order
        ],
        "evaluation": facts,
    }
    predictor = replace(
        bare,
        about=about,
        value_interval=evaluation.value_interval(INTERVAL_LEVEL) or _spread(snapshots),
        percentiles=tuple(np.percentile(parts.expected_value, np.arange(101)).tolist()),
        features_sql=serving_sql(workspace.settings),
    )
    return predictor, sample, contributions


def _spread(snapshots: Snapshots) -> tuple[float, float]:
    """Interval factors where no out-of-time test was possible: the plain, wider spread of returners' spend."""
    spend = snapshots.future_value[snapshots.is_return]
    tail = (1 - INTERVAL_LEVEL) / 2
    low, high = np.quantile(spend / spend.mean(), [tail, 1 - tail])
    return float(min(low, 0.5)), float(max(high, 2.0))


def _log(
    workspace: Workspace,
    run: Run,
    shop: Shop,
    predictor: Predictor,
    sample: pd.DataFrame,
    contributions: Contributions,
    evaluation: Evaluation,
) -> str:
    from clv import plots

    names = workspace.contract.names
    figures = dict(report.figures(evaluation, shop.currency))
    figures["importance.png"] = plots.feature_importance_bars(
        {item["feature"]: item["mean_abs_contribution"] for item in predictor.about["importance"]},
        unit=f"mean contribution to expected value, {shop.currency}",
    )
    figures["beeswarm.png"] = plots.shap_beeswarm(
        contributions.expected_value, sample[names], unit=f"contribution to expected value, {shop.currency}"
    )
    figures["parts.png"] = plots.shap_parts(by_part(contributions, shop.currency), sample[names])
    figures["dependence.png"] = plots.shap_dependence(
        in_money(contributions, predictor.predict_parts(sample)), sample[names], unit=shop.currency
    )
    page = card(predictor.about, value_interval=predictor.value_interval)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        predictor.save(folder)
        (folder / "figures").mkdir()
        for name, figure in figures.items():
            figure.savefig(folder / "figures" / name, dpi=120)
        (folder / "model_card.md").write_text(page, encoding="utf-8")
        run.folder(folder / "figures", "figures")
        run.text(page, "model_card.md")
        run.text(html_page(page, "Model card"), "model_card.html")
        return workspace.tracker.log_model(
            run,
            folder,
            contract=workspace.contract,
            example=_example(workspace, sample),
            version_tags={
                **shop_tags(shop),
                "clv.contract_fingerprint": workspace.contract.fingerprint,
                "clv.recipe": Recipe(**predictor.about["recipe"]).model_dump_json(),
            },
            description=_version_description(predictor),
        )


def _example(workspace: Workspace, sample: pd.DataFrame) -> pd.DataFrame:
    """Three customers as the signature wants them: doubles and strings."""
    return sample.head(3)[workspace.contract.names].astype(
        {feature.name: "float64" if feature.kind == "number" else "object" for feature in workspace.contract}
    )


def _data_parameters(workspace: Workspace, shop: Shop, protocol: Plan) -> dict[str, Any]:
    return {
        "horizon_days": shop.horizon_days,
        "as_of_date": shop.as_of_date,
        "seed": workspace.settings.seed,
        "train_cutoffs": len(protocol.train),
        "test_cutoffs": ", ".join(str(fold.test) for fold in protocol.tests),
        "features": len(workspace.contract.features),
        "contract_fingerprint": workspace.contract.fingerprint,
    }


def _target(shop: Shop) -> str:
    return (
        f"What each of {shop.customers:,} customers will spend in the {shop.horizon_days} days after {shop.as_of_date}."
    )


def _description(shop: Shop, facts: Mapping[str, Any]) -> str:
    """What the run is; it claims a test only of the cutoffs that were tested."""
    tested = "The recipe could not be tested out of time."
    if facts["tests"]:
        tested = f"Metrics are of the recipe, refitted and tested out of time at: {', '.join(facts['tests'])}."
    model = "The registered model is the same recipe fitted on every closed label."
    return f"{_target(shop)} {tested} {model} {facts['note']}".strip()


def _version_description(predictor: Predictor) -> str:
    about = predictor.about
    gini = about["evaluation"]["models"].get(MODEL, {}).get("normalized_gini", [None])[0]
    tested = f"recipe, out of time: normalized Gini {gini:.3f}" if gini is not None else "no out-of-time test"
    if any(verdict["normalized_gini"] == TOO_FEW for verdict in about["evaluation"]["verdicts"].values()):
        tested += ", too few came back to tell"
    return (
        f"{about['source']} shop, {about['customers']:,} customers as of {about['as_of_date']}, horizon "
        f"{about['horizon_days']} days; {tested}."
    )
