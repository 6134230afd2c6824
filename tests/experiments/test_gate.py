"""What the gate lets through: worse beyond noise is refused, not distinguishable is not."""

import time
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clv.bootstrap import TOO_FEW, Outcome
from clv.evaluation import MODEL, Evaluation
from clv.predictor import Parts
from clv.snapshots import Snapshots
from experiments.gate import (
    ARTIFACT,
    Check,
    GateReport,
    _check_evaluation,
    _check_latency,
    _check_too_good,
    _unjudged,
    _why_unjudged,
)

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


def of_few(evaluation: Evaluation, came_back: int) -> Evaluation:
    """The same, of only so many returners."""
    (outcome,) = evaluation.outcomes
    stays = outcome.is_return & (np.cumsum(outcome.is_return) <= came_back)
    less = Outcome(outcome.customer_id, stays, np.where(stays, outcome.future_value, 0.0))
    return replace(evaluation, outcomes=(less,), ceilings=(0.5,))


def test_what_too_few_returners_say_is_told_not_judged() -> None:
    judged = of_few(evaluation(level=2.5, model=5.0, total_spend=0.5, mean=4.0), came_back=2)
    tested = _check_evaluation(judged, None, same_recipe=False)
    assert failed(tested) == ["level"]
    assert f"Normalized Gini {TOO_FEW} (" in tested[0].detail
    assert "nan" not in tested[0].detail
    why = _why_unjudged(judged, is_short=False)
    assert why == "2 customers came back in the test windows, too few to tell"
    check = _unjudged(tested, why)
    assert check.passed
    assert check.detail.startswith(why)
    assert _why_unjudged(judged, is_short=True) == "too little history to judge"
    assert _why_unjudged(evaluation(model=1.0, mean=5.0), is_short=False) == ""


def test_one_returner_ranked_first_is_no_alarm() -> None:
    few = of_few(evaluation(model=0.0, mean=5.0), came_back=1)
    foresight = Parts(few.outcomes[0].is_return * 0.9, np.full(3000, 50.0))
    found = replace(few, parts={**few.parts, MODEL: (foresight,)})
    assert found.intervals()["normalized_gini"].estimate == pytest.approx(1.0)
    nothing: Any = None  # nothing else is looked at
    check, page = _check_too_good(nothing, nothing, nothing, nothing, found, "")
    assert (check.passed, page) == (True, "")
    assert "too few to tell" in check.detail


def test_what_could_not_be_tested_is_not_put_down_to_the_history() -> None:
    nothing = Evaluation((), (), {}, seed=1, untested={CUTOFF: "nobody came back within 60 days"})
    (check,) = _check_evaluation(nothing, None, same_recipe=False)
    assert check.passed
    assert "nothing could be tested at 2018-05-31: nobody came back within 60 days" in check.detail
    assert "history" not in check.detail
    page = GateReport("4", None, (check,), nothing).to_markdown()
    assert "| out-of-time test | not judged |" in page
    assert "**Passed**, but nothing was judged out of time" in page


def test_the_head_of_the_report_says_what_was_judged_when_and_how_good_it_is() -> None:
    tested = evaluation(model=1.0, mean=5.0, production=2.0)
    about = {"judged": "2026-11-23 20:49 UTC", "recipe": "a|b"}
    served = replace(tested, parts={MODEL: tested.parts[MODEL], ARTIFACT: tested.parts["production"]})
    page = GateReport("4", "3", (Check("level", True, "fine"),), tested, about=about, served=served).to_markdown()
    head, rest = page.split("| check | result | detail |")
    gini = tested.intervals()["normalized_gini"]
    assert "| judged | 2026-11-23 20:49 UTC |" in head
    assert "| recipe | a\\|b |" in head
    assert f"| Normalized Gini, out of time | {gini.estimate:.3f} ({gini.low:.3f} to {gini.high:.3f}) |" in head
    gini = served.intervals(ARTIFACT)["normalized_gini"]
    assert f"| version 3, the artifact itself | {gini.estimate:.3f} ({gini.low:.3f} to {gini.high:.3f}) |" in rest


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
