"""The gate: whether a version may go to Production.

Recipes are compared, refitted at the same later cutoffs; the artifact in Production itself only on cutoffs that lie a
horizon or more after its as-of day. Beside that: shop, horizon and contract, sane and quick answers, the level, and
whether the model knows the future.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from clv import leaks
from clv.bootstrap import Difference
from clv.evaluation import MODEL, Evaluation
from clv.level import LEVEL_BOUNDS
from clv.metrics import METRICS
from clv.models.recipe import Recipe
from clv.money import money
from clv.predictor import Predictor
from clv.snapshots import Shop, Snapshots, read_snapshots
from experiments import report
from experiments.protocol import protocol_of
from experiments.score import load_model
from experiments.train import evaluate_recipes
from experiments.truth import ORACLE
from experiments.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.registry import Version

JUDGED = ("normalized_gini", "top_decile_capture")
"""Metrics on which a candidate must not be worse beyond noise."""

CONFIDENCE = 1 - 0.05 / len(JUDGED)
"""Of the intervals of differences: as wide as for one metric, chance would refuse the more, the more are judged."""

SLOWEST_SECONDS = 0.05
"""Longest time one customer's prediction may take; the default recipe takes about a millisecond."""

PRODUCTION, ARTIFACT = "production", "artifact"
"""Production's recipe, refitted, and its artifact as it is, among the models of an evaluation."""

UNJUDGED = "out-of-time test"
"""Name of the check that stands for those which could not be judged."""

TOO_SHORT = "too little history to judge"
NO_FORMER = "the baselines (nothing is in Production)"


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
    evaluation
        What they were judged by, None if nothing could be tested.
    alarm
        What was found out about a result that is too good to be true, in Markdown.
    currency
        Of the shop.
    about
        What was judged and when, name and value, for the head of the page.
    served
        The candidate's recipe beside the artifact in Production, None where there is no cutoff it has not seen.
    """

    candidate: str
    former: str | None
    checks: tuple[Check, ...]
    evaluation: Evaluation | None = field(default=None, repr=False)
    alarm: str = ""
    currency: str = ""
    about: Mapping[str, str] = field(default_factory=dict, repr=False)
    served: Evaluation | None = field(default=None, repr=False)

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> str:
        """What failed, in one sentence."""
        return "; ".join(f"{check.name}: {check.detail}" for check in self.checks if not check.passed)

    @property
    def is_judged(self) -> bool:
        """Whether an out-of-time test was judged."""
        return all(check.name != UNJUDGED for check in self.checks)

    def to_json(self) -> list[dict[str, Any]]:
        """The checks as plain dictionaries."""
        return [asdict(check) for check in self.checks]

    def to_markdown(self) -> str:
        """One page for a reviewer."""
        lines = [
            f"# Gate report: version {self.candidate}",
            "",
            f"**{'Passed' if self.passed else 'Refused'}**, "
            + ("" if self.is_judged else "but nothing was judged out of time ")
            + f"against {f'version {self.former} in Production' if self.former else NO_FORMER}.",
            "",
            *self._head(),
            "| check | result | detail |",
            "|---|---|---|",
            *(f"| {check.name} | {_result(check)} | {report.in_table(check.detail)} |" for check in self.checks),
        ]
        if self.alarm:
            lines += ["", "## Too good to be true?", "", self.alarm]
        if self.evaluation is not None and self.evaluation.cutoffs:
            lines += ["", *self._compared(self.evaluation)]
        if self.served is not None:
            lines += ["", *self._as_served(self.served)]
        return "\n".join(lines) + "\n"

    def _head(self) -> list[str]:
        """What was judged and when, and the candidate's own metrics."""
        rows = dict(self.about)
        if self.evaluation is not None and self.evaluation.cutoffs:
            own = report.plain(self.evaluation.intervals())
            rows |= {f"{METRICS[name].label}, out of time": report.with_interval(own[name]) for name in report.COMPARED}
        if not rows:
            return []
        return ["| | |", "|---|---|", *(f"| {name} | {report.in_table(value)} |" for name, value in rows.items()), ""]

    def _as_served(self, served: Evaluation) -> list[str]:
        labels = {MODEL: f"version {self.candidate}'s recipe", ARTIFACT: f"version {self.former}, the artifact itself"}
        return [
            f"## As it is served, at {', '.join(map(str, served.cutoffs))}",
            "",
            f"Cutoffs that the artifact of version {self.former} can't have learnt from.",
            "",
            *report.metric_table({label: report.plain(served.intervals(name)) for name, label in labels.items()}),
        ]

    def _compared(self, evaluation: Evaluation) -> list[str]:
        names = {
            MODEL: f"version {self.candidate}'s recipe",
            PRODUCTION: f"version {self.former}'s recipe (in Production)",
            evaluation.best_baseline(): f"{evaluation.best_baseline()}, the best baseline",
            ORACLE: "oracle (knows the synthetic shop's parameters)",
        }
        there = {name: label for name, label in names.items() if name in evaluation.parts}
        cutoffs = ", ".join(map(str, evaluation.cutoffs))
        return [
            f"## Out of time, at {cutoffs}",
            "",
            "Mean over the cutoffs, 95 % interval. A recipe is refitted at each cutoff on what was known by then.",
            "",
            *report.metric_table({label: report.plain(evaluation.intervals(name)) for name, label in there.items()}),
            "",
            "## The candidate less the other, on the same customers",
            "",
            f"{CONFIDENCE:.1%} intervals, as {len(JUDGED)} metrics are judged.",
            "",
            *_differences(
                {label: evaluation.paired(name, level=CONFIDENCE) for name, label in there.items() if name != MODEL}
            ),
        ]

    def figures(self) -> dict[str, Figure]:
        """Figures by caption: value found by rank, and metrics with their intervals."""
        if self.evaluation is None or not self.evaluation.cutoffs:
            return {}
        from clv import plots

        evaluation = self.evaluation
        names = {
            f"version {self.candidate}": MODEL,
            f"version {self.former}": PRODUCTION,
            evaluation.best_baseline(): evaluation.best_baseline(),
            ORACLE: ORACLE,
        }
        there = {label: name for label, name in names.items() if name in evaluation.parts}
        _, outcome = evaluation.pooled()
        return {
            "Value found by predicted rank": plots.gain_curve(
                outcome.future_value,
                {label: evaluation.pooled(name)[0].expected_value for label, name in there.items()},
            ),
            "Metrics with their intervals": plots.metric_ladder(
                {label: evaluation.intervals(name) for label, name in there.items()}
            ),
        }


def gate(
    workspace: Workspace, candidate: str, evaluation: Evaluation | None = None, *, accept_too_good: str = ""
) -> GateReport:
    """Check a candidate against the model in Production and the baselines.

    Parameters
    ----------
    candidate
        Version under test.
    evaluation
        The candidate's recipe out of time on the present data, if it was just made; else it is made here.
    accept_too_good
        Why a result that looks too good to be true is to be believed; empty if it is not.
    """
    shop = workspace.shop()
    staged = workspace.registry.production()
    former = staged.number if staged and staged.number != candidate else None
    with workspace.console.step("gate") as step:
        version = workspace.registry.version(candidate)
        recipe = version.recipe
        checks, predictor = _check_artifact(workspace, shop, candidate)
        alarm, why, served = "", "", None
        if predictor is not None:
            rival = _rival(workspace, shop, former)
            evaluation = _evaluate(workspace, shop, recipe, rival, evaluation, step.update)
            tested = _check_evaluation(evaluation, former, rival == recipe)
            if evaluation is not None and former is not None and rival is not None:
                served = _served(workspace, shop, former, evaluation)
                if served is not None:
                    days = ", ".join(map(str, served.cutoffs))
                    tested.append(_not_worse(f"against version {former} as it is served, at {days}", served, ARTIFACT))
            why = _why_unjudged(evaluation, is_short=protocol_of(shop).is_short)
            checks += [_unjudged(tested, why)] if why else tested
            step.update("looking for leaks")
            check, alarm = _check_too_good(workspace, shop, recipe, predictor, evaluation, accept_too_good)
            checks += [_check_leaks(workspace, shop, predictor), check]
        about = _about(shop, version, predictor)
        result = GateReport(candidate, former, tuple(checks), evaluation, alarm, shop.currency, about, served)
        judged = [check for check in checks if check.name != UNJUDGED]
        step.note = f"version {candidate}: {sum(check.passed for check in judged)} of {len(judged)} checks passed"
        if why:
            step.note += f"; the out-of-time test was not judged: {why}"
    return result


def _about(shop: Shop, version: Version, predictor: Predictor | None) -> dict[str, str]:
    """What is judged and when: the page of the same version is written anew by a later gate."""
    recipe = version.recipe if predictor is None else version.recipe.with_share(predictor.covariate_weight)
    trained = version.tags.get("clv.data_fingerprint", "")
    data = f"{shop.source}, shop {_short(shop.shop_id)}, {shop.customers:,} customers"
    data += f"; fingerprint {_short(shop.fingerprint)}"
    if trained != shop.fingerprint:
        data += f", trained on {_short(trained) or 'unknown'}"
    as_of = version.tags.get("clv.as_of_date", "unknown")
    return {
        "judged": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "candidate": f"version {version.number}, run {version.run_id}",
        "recipe": recipe.describe(),
        "data": data,
        "as of": as_of if as_of == str(shop.as_of_date) else f"{as_of}, judged on data up to {shop.as_of_date}",
        "horizon": f"{version.tags.get('clv.horizon_days', 'unknown')} days",
    }


def _result(check: Check) -> str:
    if not check.passed:
        return "**FAILED**"
    return "not judged" if check.name == UNJUDGED else "passed"


def _rival(workspace: Workspace, shop: Shop, former: str | None) -> Recipe | None:
    """Production's recipe, if it was made for this shop and horizon; another shop's is no measure."""
    if former is None:
        return None
    version = workspace.registry.version(former)
    return version.recipe if version.is_of(shop) else None


def _evaluate(
    workspace: Workspace,
    shop: Shop,
    recipe: Recipe,
    rival: Recipe | None,
    evaluation: Evaluation | None,
    progress: Any,
) -> Evaluation | None:
    """Refit what was not tested yet on the present data: the candidate's recipe, and Production's if it differs."""
    missing = {} if evaluation is not None else {MODEL: recipe}
    if rival is not None and rival != recipe:
        missing[PRODUCTION] = rival
    protocol = protocol_of(shop)
    if not missing or not protocol.tests:
        return evaluation
    progress("refitting at the test cutoffs")
    snapshots = workspace.snapshots(protocol.cutoffs)  # as for training, so that a sample is of the same customers
    made = evaluate_recipes(workspace, shop, snapshots, protocol, missing, progress)
    return made if evaluation is None else replace(evaluation, parts={**evaluation.parts, **made.parts})


def _served(workspace: Workspace, shop: Shop, former: str, evaluation: Evaluation) -> Evaluation | None:
    """The candidate's recipe beside the artifact in Production, on cutoffs that artifact can't have learnt from.

    These lie a horizon or more after its as-of day. None if there are none, or the artifact takes other features.
    """
    tags = workspace.registry.version(former).tags
    if tags.get("clv.contract_fingerprint") != workspace.contract.fingerprint:
        return None
    unseen = date.fromisoformat(tags["clv.as_of_date"]) + timedelta(days=shop.horizon_days)
    positions = [position for position, cutoff in enumerate(evaluation.cutoffs) if cutoff >= unseen]
    if not positions:
        return None
    cutoffs = [evaluation.cutoffs[position] for position in positions]
    predictor: Predictor = load_model(workspace, former).unwrap_python_model().predictor
    snapshots = workspace.snapshots(protocol_of(shop).cutoffs)
    return Evaluation(
        tuple(cutoffs),
        tuple(evaluation.outcomes[position] for position in positions),
        {
            MODEL: tuple(evaluation.parts[MODEL][position] for position in positions),
            ARTIFACT: tuple(predictor.predict_parts(snapshots.at(cutoff).frame) for cutoff in cutoffs),
        },
        evaluation.seed,
    )


def _check_artifact(workspace: Workspace, shop: Shop, version: str) -> tuple[list[Check], Predictor | None]:
    """Shop, horizon and contract; and that the artifact, loaded as a service loads it, answers sanely and in time.

    The predictor is None if it is of another shop, horizon or contract: nothing more can be asked of it.
    """
    model = load_model(workspace, version)
    predictor: Predictor = model.unwrap_python_model().predictor
    about = predictor.about
    same = {
        "same shop": (about["shop_id"], shop.shop_id),
        "same horizon": (about["horizon_days"], shop.horizon_days),
        "same feature contract": (about["contract_fingerprint"], workspace.contract.fingerprint),
    }
    checks = [
        Check(
            name,
            found == expected,
            _short(found) + ("" if found == expected else f", the warehouse holds {_short(expected)}"),
        )
        for name, (found, expected) in same.items()
    ]
    if not all(check.passed for check in checks):
        return checks, None
    today = read_snapshots(workspace.warehouse, workspace.contract, [shop.as_of_date])
    parts = predictor.predict_parts(today.frame)
    sane = bool(
        np.isfinite(parts.expected_value).all()
        and (parts.p_return >= 0).all()
        and (parts.p_return <= 1).all()
        and (parts.value_if_return >= 0).all()
    )
    total = money(parts.expected_value.sum(), 0)
    detail = f"{len(parts.p_return):,} customers, total expected value {total} {shop.currency}"
    checks.append(Check("smoke prediction", sane, detail if sane else "not finite or out of range"))
    checks += [_check_signature(workspace, model), _check_latency(predictor, today)]
    return checks, predictor


def _short(value: object) -> str:
    """A fingerprint's first dozen characters tell it from others."""
    return str(value)[:12]


def _check_signature(workspace: Workspace, model: Any) -> Check:
    """What MLflow says that the model takes must be the contract."""
    signature = model.metadata.signature
    found = {column.name: column.type.name for column in signature.inputs.inputs} if signature else {}
    expected = {feature.name: "double" if feature.kind == "number" else "string" for feature in workspace.contract}
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    return Check(
        "signature",
        not wrong,
        f"differs from the contract in {', '.join(wrong[:5])}" if wrong else f"the contract's {len(expected)} features",
    )


def _check_latency(predictor: Predictor, today: Snapshots) -> Check:
    """One customer's answer, the quickest of some: what else the machine does is not the model's fault."""
    matrix = predictor.encoder.encode(today.frame.head(20))
    took = []
    for row in range(len(matrix)):
        started = time.perf_counter()
        predictor.predict_matrix(matrix[row : row + 1])
        took.append(time.perf_counter() - started)
    return Check(
        "latency",
        min(took) <= SLOWEST_SECONDS,
        f"one customer in {1000 * min(took):.1f} ms, bound {1000 * SLOWEST_SECONDS:.0f} ms",
    )


def _check_evaluation(evaluation: Evaluation | None, former: str | None, same_recipe: bool) -> list[Check]:
    if evaluation is None or not evaluation.cutoffs:
        return [_unjudged([], _why_unjudged(evaluation, is_short=False) or TOO_SHORT)]
    best = evaluation.best_baseline()
    checks = [_not_worse(f"against {best}, the best baseline", evaluation, best)]
    if PRODUCTION in evaluation.parts:
        checks.append(_not_worse(f"against version {former} in Production", evaluation, PRODUCTION))
    elif same_recipe:
        checks.append(Check(f"against version {former} in Production", True, "the same recipe"))
    # of all cutoffs together: a window in which hardly anything is sold has a ratio that says nothing
    parts, outcome = evaluation.pooled()
    ratio = float(parts.expected_value.sum() / outcome.future_value.sum())
    low, high = LEVEL_BOUNDS
    level = f"total predicted / actual {ratio:.2f} over all test cutoffs, bounds {low} to {high}"
    return [*checks, Check("level", low <= ratio <= high, level)]


def _why_unjudged(evaluation: Evaluation | None, *, is_short: bool) -> str:
    """Why the out-of-time test is told and not judged; empty if it is judged."""
    if is_short or evaluation is None:
        return TOO_SHORT
    if not evaluation.cutoffs:
        return evaluation.doubt or TOO_SHORT
    return evaluation.doubt


def _unjudged(tested: Sequence[Check], why: str = TOO_SHORT) -> Check:
    """What would have failed, told and not held against the candidate: it says as much of the one cutoff as of it."""
    against = "; ".join(f"{check.name}: {check.detail}" for check in tested if not check.passed)
    told = f", though it would have failed {against}" if against else ""
    return Check(UNJUDGED, True, f"{why}; recorded as such{told}")


def _not_worse(name: str, evaluation: Evaluation, rival: str) -> Check:
    differences = evaluation.paired(rival, level=CONFIDENCE)
    judged = {metric: differences[metric] for metric in JUDGED}
    detail = ", ".join(
        f"{METRICS[metric].label} {d.verdict} ({', '.join(filter(None, (f'{d.estimate:+.3f}', _bounds(d))))})"
        for metric, d in judged.items()
    )
    return Check(name, all(d.verdict != "worse" for d in judged.values()), detail)


def _bounds(found: Difference) -> str:
    """The interval of a difference; nothing where it is unknown."""
    return f"{found.low:+.3f} to {found.high:+.3f}" if math.isfinite(found.low) else ""


def _check_leaks(workspace: Workspace, shop: Shop, predictor: Predictor) -> Check:
    """The features, rebuilt by the model's own SQL without the future, must be those it was trained on."""
    cutoff, customers, changed = leaks.changed_features(
        workspace.warehouse, shop, workspace.contract, predictor.features_sql, workspace.settings
    )
    if not changed:
        count = len(workspace.contract.names)
        same = f"{count} features of {customers:,} customers at {cutoff} are the same without the future"
        return Check("no leak", True, same)
    worst = sorted(changed.items(), key=lambda item: -item[1])
    named = ", ".join(f"{name} of {count:,}" for name, count in worst[:5])
    return Check(
        "no leak",
        False,
        f"rebuilt without what came after {cutoff}, features differ for some of {customers:,} customers: {named}",
    )


def _check_too_good(
    workspace: Workspace,
    shop: Shop,
    recipe: Recipe,
    predictor: Predictor,
    evaluation: Evaluation | None,
    accepted: str,
) -> tuple[Check, str]:
    """Whether the result is beyond belief; if so, the most suspicious feature and the test on a shuffled future."""
    name = "too good to be true"
    if evaluation is None or not evaluation.cutoffs:
        return Check(name, True, "nothing was tested"), ""
    if not evaluation.is_enough:
        return Check(name, True, f"not judged: {evaluation.doubt}"), ""
    if evaluation.ceiling is None:
        return Check(name, True, "no ceiling to tell: nobody is expected to come back"), ""
    known = evaluation.share(ORACLE) if ORACLE in evaluation.parts else None
    found = leaks.too_good(evaluation, known)
    if found is None:
        gini = evaluation.intervals()["normalized_gini"].estimate
        return Check(name, True, f"no: normalized Gini {gini:.3f}, ceiling {evaluation.ceiling:.3f}"), ""
    fold = next(fold for fold in protocol_of(shop).tests if fold.test == evaluation.cutoffs[-1])
    snapshots = workspace.snapshots([*fold.train, fold.test])
    ranked = leaks.suspects(snapshots.at(*fold.train), snapshots.at(fold.test), workspace.contract)
    shuffled = leaks.shuffled_future(
        leaks.read_orders(workspace.warehouse, shop),
        predictor.features_sql,
        workspace.contract,
        recipe,
        fold,
        horizon_days=shop.horizon_days,
        seed=workspace.settings.seed,
        threads=workspace.settings.threads,
        settings=workspace.settings,
    )
    test = _told(shuffled)
    suspect = f"most suspicious feature: {ranked[0].feature} (by itself {ranked[0].gini:.3f})"
    detail = f"{found.reason}; {suspect}; {test}"
    detail += f"; accepted: {accepted}" if accepted else "; if it is true, --accept-too-good REASON"
    page = "\n".join(
        [
            f"{found.reason[0].upper()}{found.reason[1:]}.",
            "",
            f"Accepted all the same: {accepted}." if accepted else "Not accepted.",
            "",
            "How well features rank alone at the last test cutoff; one that says more than any baseline is suspect:",
            "",
            "| feature | normalized Gini alone |",
            "|---|---|",
            *(f"| {one.feature} | {one.gini:.3f} |" for one in ranked[:5]),
            f"| *{found.baseline}, the best baseline* | {found.baseline_gini:.3f} |",
            "",
            f"{test[0].upper()}{test[1:]}.",
        ]
    )
    return Check(name, bool(accepted), detail), page


def _told(shuffled: leaks.ShuffledFuture | None) -> str:
    if shuffled is None:
        return "no test on a shuffled future: nobody returned in it"
    gini = shuffled.gini
    figures = f"{gini.estimate:.3f} ({gini.low:.3f} to {gini.high:.3f})"
    if shuffled.is_clean:
        return f"with the future shuffled and features rebuilt from it the Gini falls to {figures}, as it must"
    return f"with the future shuffled the Gini is still {figures}, so features know the future"


def _differences(found: Mapping[str, Mapping[str, Difference]]) -> list[str]:
    rows = []
    for name, by_metric in found.items():
        cells = [
            f"{by_metric[metric].estimate:+.3f}"
            + (f" ({bounds})" if (bounds := _bounds(by_metric[metric])) else "")
            + f", {by_metric[metric].verdict}"
            for metric in report.COMPARED
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    header = " | ".join(METRICS[metric].label for metric in report.COMPARED)
    return [f"| against | {header} |", "|---" * (len(report.COMPARED) + 1) + "|", *rows]
