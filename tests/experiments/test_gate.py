"""What the gate lets through: worse beyond noise is refused, not distinguishable is not."""

import time
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from clv.bootstrap import Outcome
from clv.evaluation import MODEL, Evaluation
from clv.predictor import Parts
from clv.snapshots import Snapshots
from experiments.gate import Check, GateReport, _check_evaluation, _check_latency, _unjudged

CUTOFF = date(2018, 5, 31)


def evaluation(*, level: float = 1.0, **noise: float) -> Evaluation:
    """Models that know the future up to their noise; `level` scales the candidate's total."""
    rng = np.random.default_rng(3)
    n = 3000
    value = np.where(rng.random(n) < 0.1, rng.gamma(2, 50, n), 0.0)
    outcome = Outcome(np.arange(n), value > 0, value)
    parts = {}
    for name, amount in noise.items():
        guess = np.exp(rng.normal(size=n) * amount) * (0.05 + (value > 0))
        p = guess / (1 + guess)
        spend = np.full(n, value.sum() / p.sum() * (level if name == MODEL else 1.0))
        parts[name] = (Parts(p, spend),)
    return Evaluation((CUTOFF,), (outcome,), parts, seed=1)


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


def test_a_better_and_an_equal_candidate_pass() -> None:
    assert not failed(_check_evaluation(evaluation(model=1.0, mean=5.0, production=2.0), "1", same_recipe=False))
    assert not failed(_check_evaluation(evaluation(model=1.5, mean=5.0, production=1.5), "1", same_recipe=False))


def test_a_candidate_worse_than_production_is_refused_by_name() -> None:
    checks = _check_evaluation(evaluation(model=3.0, mean=5.0, production=0.5), "7", same_recipe=False)
    assert failed(checks) == ["against version 7 in Production"]
    assert "Normalized Gini worse" in next(check.detail for check in checks if not check.passed)


def test_a_candidate_worse_than_a_baseline_is_refused() -> None:
    assert failed(_check_evaluation(evaluation(model=5.0, total_spend=0.5, mean=4.0), None, same_recipe=False)) == [
        "against total_spend, the best baseline"
    ]


def test_what_is_worse_by_one_metric_in_twenty_is_chance() -> None:
    """Beyond the 95 % interval and within that of two metrics."""
    close = evaluation(model=1.5, mean=1.49)
    rng = np.random.default_rng(2)
    usual = close.draws.replicates["mean"]
    drawn = usual - np.abs(rng.normal(size=usual.shape)) * np.where(np.arange(usual.shape[1]) < 4, -1.0, 1.0)[:, None]
    tested = replace(close)
    tested.__dict__["draws"] = replace(close.draws, replicates={"model": drawn, "mean": usual})
    assert tested.paired("mean")["normalized_gini"].verdict == "worse"
    assert "against mean, the best baseline" not in failed(_check_evaluation(tested, None, same_recipe=False))


@pytest.mark.parametrize(("level", "passes"), [(0.4, False), (0.6, True), (1.9, True), (2.5, False)])
def test_the_level_must_be_within_bounds(level: float, passes: bool) -> None:
    checks = _check_evaluation(evaluation(level=level, model=1.0, mean=5.0), None, same_recipe=False)
    assert ("level" not in failed(checks)) is passes


def test_a_window_in_which_hardly_anything_is_sold_does_not_decide_on_the_level() -> None:
    usual, dull = evaluation(model=1.0, mean=5.0), evaluation(level=8.0, model=1.0, mean=5.0)
    cent = dull.outcomes[0].future_value / 100
    (parts,) = dull.parts[MODEL]
    both = replace(
        usual,
        cutoffs=(CUTOFF, date(2018, 6, 30)),
        outcomes=(*usual.outcomes, replace(dull.outcomes[0], future_value=cent)),
        parts={
            MODEL: (*usual.parts[MODEL], Parts(parts.p_return, parts.value_if_return / 100)),
            "mean": usual.parts["mean"] * 2,
        },
    )
    assert both.intervals()["total_ratio"].estimate == pytest.approx(4.5)
    assert "level" not in failed(_check_evaluation(both, None, same_recipe=False))


def test_too_little_history_is_said_not_judged() -> None:
    (check,) = _check_evaluation(None, None, same_recipe=False)
    assert check.passed
    assert "too little history to judge" in check.detail


def test_what_one_cutoff_of_a_short_history_says_is_told_not_judged() -> None:
    tested = _check_evaluation(evaluation(level=2.5, model=5.0, total_spend=0.5, mean=4.0), None, same_recipe=False)
    assert failed(tested) == ["against total_spend, the best baseline", "level"]
    check = _unjudged(tested)
    assert check.passed
    for words in ("too little history to judge", "against total_spend", "Normalized Gini worse", "actual 2.50"):
        assert words in check.detail
    assert "failed" not in _unjudged(_check_evaluation(evaluation(model=1.0, mean=5.0), None, same_recipe=False)).detail


def test_the_report_is_one_page_that_names_what_failed() -> None:
    report = GateReport("4", "3", (Check("level", False, "total 9.00"), Check("same shop", True, "a|b")))
    assert not report.passed
    assert report.failures == "level: total 9.00"
    page = report.to_markdown()
    assert "**Refused**, against version 3 in Production." in page
    assert "| level | **FAILED** | total 9.00 |" in page
    assert "| same shop | passed | a\\|b |" in page
    assert report.figures() == {}


def test_the_report_shows_the_candidate_beside_the_others() -> None:
    tested = evaluation(model=1.0, mean=5.0, production=2.0)
    report = GateReport("4", "3", (Check("level", True, "fine"),), tested)
    page = report.to_markdown()
    for line in ("| version 4's recipe | ", "| version 3's recipe (in Production) | ", "| mean, the best baseline | "):
        assert page.count(line) == (1 if "version 4" in line else 2)
    gini = tested.intervals()["normalized_gini"]
    assert f"{gini.estimate:.3f} ({gini.low:.3f} to {gini.high:.3f})" in page
    gain, ladder = report.figures().values()
    drawn = [text.get_text() for text in gain.get_axes()[0].get_legend().get_texts()]
    assert [label.split(" (")[0] for label in drawn] == [
        "perfect order",
        "version 4",
        "version 3",
        "mean",
        "random order",
    ]
    assert len(ladder.get_axes()) == 6


@pytest.mark.parametrize(("trees", "passes"), [(5, True), (60_000, False)])
def test_a_model_too_slow_to_serve_is_refused(trees: int, passes: bool) -> None:
    class Slow:
        """Takes a microsecond a tree."""

        class encoder:
            @staticmethod
            def encode(frame: pd.DataFrame) -> np.ndarray:
                return np.zeros((len(frame), 1))

        def predict_matrix(self, matrix: np.ndarray) -> None:
            time.sleep(trees / 1e6)

    check = _check_latency(Slow(), Snapshots(pd.DataFrame(index=range(30))))  # type: ignore[arg-type]
    assert check.passed is passes
    assert "bound 50 ms" in check.detail
