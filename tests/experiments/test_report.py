"""What is said of an evaluation."""

from datetime import date

import numpy as np

from clv.bootstrap import Outcome
from clv.evaluation import BTYD, MODEL, Evaluation, baseline_names
from clv.predictor import Parts
from experiments.report import facts, verdict_tags, what_is_added


def test_a_shop_where_everybody_spends_the_same_is_told_that_no_order_is_better() -> None:
    nothing = {"gini": [None, None, None], "verdict": "not distinguishable"}
    said = what_is_added({"added": {"btyd": nothing, "zero": nothing}})
    assert "can't be told: in the test windows everybody spent the same" in said
    assert "?" not in said


def test_what_is_known_is_told_beside_what_is_not() -> None:
    nothing = {"gini": [None, None, None], "verdict": "not distinguishable"}
    something = {"gini": [0.0123, -0.001, 0.02], "verdict": "not distinguishable"}
    said = what_is_added({"added": {"btyd": something, "zero": nothing}})
    assert "+0.012 (-0.001 to +0.020, not distinguishable) over BG/NBD" in said


def evaluation_of(came_back: int) -> Evaluation:
    value = np.where(np.arange(200) < came_back, 10.0, 0.0)
    parts = (Parts(np.linspace(0.9, 0.1, 200), np.full(200, 10.0)),)
    models = dict.fromkeys((MODEL, *baseline_names()), parts)
    outcome = Outcome(np.arange(200), value > 0, value)
    groups = ({"purchases_so_far": np.full(200, "one", dtype=object)},)
    return Evaluation((date(2020, 1, 31),), (outcome,), models, seed=0, groups=groups)


def test_of_too_few_returners_no_interval_and_no_verdict_is_written_down() -> None:
    evaluation = evaluation_of(2)
    found = facts(evaluation, "A note.")
    assert found["note"] == "A note. 2 customers came back in the test windows, too few to tell."
    assert found["models"][MODEL]["normalized_gini"][1:] == [None, None]
    assert {word for words in found["verdicts"].values() for word in words.values()} == {"too few to tell"}
    assert what_is_added(found).endswith("can't be told: too few customers came back in the test windows.")
    assert verdict_tags(evaluation, is_short=False)["clv.verdict"].startswith("2 customers came back")
    assert verdict_tags(evaluation, is_short=True)["clv.verdict"].startswith("too little history to judge (2 customers")


def test_of_enough_returners_all_is_written_down() -> None:
    found = facts(evaluation_of(20), "A note.")
    assert found["note"] == "A note."
    assert found["models"][MODEL]["normalized_gini"][1] is not None
    assert found["verdicts"][BTYD]["normalized_gini"] == "not distinguishable"
    assert verdict_tags(evaluation_of(20), is_short=False)["clv.verdict"].startswith("not distinguishable from ")


def test_what_could_not_be_tested_is_written_down() -> None:
    nothing = Evaluation((), (), {}, seed=0, untested={date(2020, 1, 31): "nobody came back within 60 days"})
    said = "othing could be tested at 2020-01-31: nobody came back within 60 days"
    assert facts(nothing, "")["note"] == f"N{said}."
    assert verdict_tags(nothing, is_short=False) == {"clv.verdict": f"n{said}"}
    assert verdict_tags(Evaluation((), (), {}, seed=0), is_short=True) == {}
