"""The gate: may this version go to Production? Compared as recipes, refitted at the same later cutoffs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clv.bootstrap import Difference
from clv.evaluation import MODEL, Evaluation
from clv.models.recipe import Recipe
from clv.snapshots import Shop, read_snapshots
from experiments.score import load_predictor
from experiments.train import evaluate_recipes
from experiments.tune import protocol_of
from experiments.workspace import Workspace

LEVEL_BOUNDS = (0.5, 2.0)
"""Total predicted / actual over the test cutoffs; further off is a broken level, not a season."""

JUDGED = ("normalized_gini", "top_decile_capture")
"""Metrics on which a candidate must not be worse beyond noise."""

PRODUCTION = "production"


@dataclass(frozen=True)
class Check:
    """One check of the gate."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class GateReport:
    """The gate's verdict on a candidate.

    Attributes
    ----------
    candidate, former
        Versions: the candidate, and the one in Production (None if there is none).
    checks
        All of them, passed or not.
    """

    candidate: str
    former: str | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> str:
        """What failed, in one sentence."""
        return "; ".join(f"{check.name}: {check.detail}" for check in self.checks if not check.passed)

    def to_json(self) -> list[dict[str, Any]]:
        """The checks as plain dictionaries."""
        return [asdict(check) for check in self.checks]

    def to_markdown(self) -> str:
        """One page for a reviewer."""
        lines = [
            f"# Gate report: version {self.candidate}",
            "",
            f"**{'Passed' if self.passed else 'Refused'}**, against "
            + (f"version {self.former} in Production." if self.former else "the baselines (nothing is in Production)."),
            "",
            "| check | result | detail |",
            "|---|---|---|",
            *(f"| {check.name} | {'passed' if check.passed else 'FAILED'} | {check.detail} |" for check in self.checks),
        ]
        return "\n".join(lines) + "\n"


def gate(workspace: Workspace, candidate: str, evaluation: Evaluation | None = None) -> GateReport:
    """Check a candidate against the model in Production and the baselines.

    Parameters
    ----------
    candidate
        Version under test.
    evaluation
        The candidate's recipe out of time on the present data, if it was just made; else it is made here.
    """
    shop = workspace.shop()
    staged = workspace.registry.production()
    former = staged.number if staged and staged.number != candidate else None
    with workspace.console.step("gate") as step:
        recipe = _recipe(workspace, candidate)
        checks = _check_artifact(workspace, shop, candidate)
        same_shop = all(check.passed for check in checks)
        rival = _rival(workspace, shop, former)
        if same_shop and (evaluation is None or (rival is not None and rival != recipe)):
            step.update("refitting at the test cutoffs")
            protocol = protocol_of(shop)
            needed = sorted({cutoff for fold in protocol.tests for cutoff in (*fold.train, fold.test)})
            recipes = {MODEL: recipe, **({PRODUCTION: rival} if rival is not None and rival != recipe else {})}
            snapshots = read_snapshots(workspace.warehouse, workspace.contract, needed) if needed else None
            if snapshots is not None:
                evaluation = evaluate_recipes(workspace, shop, snapshots, protocol, recipes, step.update)
        if same_shop:
            checks += _check_evaluation(evaluation, former, rival == recipe)
        report = GateReport(candidate, former, tuple(checks))
        passed = sum(check.passed for check in checks)
        step.note = f"version {candidate}: {passed} of {len(checks)} checks passed"
    return report


def _recipe(workspace: Workspace, version: str) -> Recipe:
    return Recipe.model_validate_json(workspace.registry.version(version).tags["clv.recipe"])


def _rival(workspace: Workspace, shop: Shop, former: str | None) -> Recipe | None:
    """Production's recipe, if it was made for this shop and horizon; another shop's is no measure."""
    if former is None:
        return None
    tags = workspace.registry.version(former).tags
    same = tags.get("clv.shop_id") == shop.shop_id and tags.get("clv.horizon_days") == str(shop.horizon_days)
    return _recipe(workspace, former) if same else None


def _check_artifact(workspace: Workspace, shop: Shop, version: str) -> list[Check]:
    """Shop, horizon and contract; and that the artifact, loaded as a service loads it, predicts sanely."""
    predictor = load_predictor(workspace, version)
    about = predictor.about
    same = {
        "same shop": (about["shop_id"], shop.shop_id),
        "same horizon": (about["horizon_days"], shop.horizon_days),
        "same feature contract": (about["contract_fingerprint"], workspace.contract.fingerprint),
    }
    checks = [
        Check(name, found == expected, f"{found}" if found == expected else f"{found}, the warehouse holds {expected}")
        for name, (found, expected) in same.items()
    ]
    if not all(check.passed for check in checks):
        return checks
    today = read_snapshots(workspace.warehouse, workspace.contract, [shop.as_of_date])
    parts = predictor.predict_parts(today.frame)
    sane = bool(
        np.isfinite(parts.expected_value).all()
        and (parts.p_return >= 0).all()
        and (parts.p_return <= 1).all()
        and (parts.value_if_return >= 0).all()
    )
    detail = (
        f"{len(parts.p_return):,} customers, total expected value {parts.expected_value.sum():,.0f} {shop.currency}"
    )
    return [*checks, Check("smoke prediction", sane, detail if sane else "not finite or out of range")]


def _check_evaluation(evaluation: Evaluation | None, former: str | None, same_recipe: bool) -> list[Check]:
    if evaluation is None or not evaluation.cutoffs:
        return [Check("out-of-time test", True, "too little history to judge; recorded as such")]
    best = evaluation.best_baseline()
    checks = [_not_worse(f"against {best}, the best baseline", evaluation.paired(best))]
    if PRODUCTION in evaluation.parts:
        checks.append(_not_worse(f"against version {former} in Production", evaluation.paired(PRODUCTION)))
    elif same_recipe:
        checks.append(Check(f"against version {former} in Production", True, "the same recipe"))
    ratio = evaluation.intervals()["total_ratio"].estimate
    low, high = LEVEL_BOUNDS
    level = f"total predicted / actual {ratio:.2f}, bounds {low} to {high}"
    return [*checks, Check("level", low <= ratio <= high, level)]


def _not_worse(name: str, differences: dict[str, Difference]) -> Check:
    judged = {metric: differences[metric] for metric in JUDGED}
    detail = ", ".join(
        f"{metric} {d.verdict} ({d.estimate:+.3f}, {d.low:+.3f} to {d.high:+.3f})" for metric, d in judged.items()
    )
    return Check(name, all(d.verdict != "worse" for d in judged.values()), detail)
