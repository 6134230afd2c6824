from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from clv.bootstrap import FEWEST_RETURNERS, TOO_FEW, Outcome
from clv.contract import Contract, Feature
from clv.evaluation import BTYD, MODEL, Evaluation, baseline_names, evaluate
from clv.ledger import Ledger, number
from clv.level import fit_level
from clv.models.btyd import BTYDModel
from clv.models.hurdle import make_encoder
from clv.models.model import Model, fit_history
from clv.models.recipe import Recipe
from clv.predictor import Parts, Predictor
from clv.snapshots import Snapshots
from clv.splits import Fold

HORIZON = 90
CUTOFFS = [date(2018, 1, 31) + timedelta(30 * k) for k in range(5)]
NUMBERS = ["purchase_count", "recency_days", "tenure_days", "amount_mean", "amount_total"]
WINDOWS = [f"amount_{days}d" for days in (30, 90, 180, 365)]
CONTRACT = Contract(tuple(Feature(name, "number", "", nullable=False) for name in NUMBERS + WINDOWS))


def snapshots(seed: int = 0, n: int = 400) -> Snapshots:
    rng = np.random.default_rng(seed)
    frames = []
    for cutoff in CUTOFFS:
        tenure = rng.integers(40, 400, n).astype(float)
        count = rng.geometric(0.5, n).astype(float)
        amount = rng.gamma(3, 20, n)
        recency = np.where(count > 1, np.floor(tenure * rng.random(n)), tenure)
        returned = rng.random(n) < 0.05 + 0.4 * np.exp(-recency / 50)
        frame = pd.DataFrame(
            {
                "customer_id": [f"c{i}" for i in range(n)],
                "cutoff_date": cutoff,
                "is_return": returned,
                "future_value": np.where(returned, rng.gamma(2, 30, n), 0.0),
                "purchase_count": count,
                "recency_days": recency,
                "tenure_days": tenure,
                "amount_mean": amount,
                "amount_total": amount * count,
                **dict.fromkeys(WINDOWS, amount * (recency < 60)),
            }
        )
        frames.append(frame)
    return Snapshots(pd.concat(frames, ignore_index=True))


def run(data: Snapshots, *folds: Fold, ledger: Ledger | None = None) -> Evaluation:
    recipes = {MODEL: Recipe(bags=1, trees=20, value_trees=10)}
    return evaluate(data, CONTRACT, recipes, folds, horizon_days=HORIZON, seed=1, threads=2, ledger=ledger)


FOLD = Fold(train=tuple(CUTOFFS[:2]), test=CUTOFFS[4])


def test_every_rung_stands_beside_the_model() -> None:
    evaluation = run(snapshots(), FOLD)
    assert evaluation.baselines == baseline_names()
    assert evaluation.baselines[-1] == BTYD
    assert set(evaluation.parts) == {MODEL, *baseline_names()}
    assert evaluation.best_baseline() in baseline_names()
    assert evaluation.intervals()["normalized_gini"].low > 0


def test_labels_after_the_training_cutoffs_are_never_used() -> None:
    """Corrupt every label but those of the training cutoffs: the predictions stay the same to the bit."""
    clean = snapshots()
    frame = clean.frame.copy()
    later = ~frame["cutoff_date"].isin(FOLD.train)
    frame.loc[later, "future_value"] = 1e6
    frame.loc[later, "is_return"] = True
    before, after = run(clean, FOLD), run(Snapshots(frame), FOLD)
    for name in before.parts:
        np.testing.assert_array_equal(before.parts[name][0].expected_value, after.parts[name][0].expected_value)


@pytest.mark.parametrize("family", ["blend", "hurdle", "tweedie", "offset", "btyd"])
def test_what_has_the_same_labels_to_learn_from_is_learnt_once(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """... and says what it would say alone; but an offset model learns from the history of each cutoff as well."""
    fits: list[str] = []
    fit = Model.fit
    monkeypatch.setattr(Model, "fit", lambda self, *a, **k: fits.append(self.recipe.family) or fit(self, *a, **k))
    data, early, late = snapshots(), FOLD.train, (*FOLD.train, CUTOFFS[2])
    folds = [Fold(early, CUTOFFS[3]), Fold(early, CUTOFFS[4]), Fold(late, CUTOFFS[4])]
    recipe = Recipe(family=family, bags=1, trees=20, value_trees=10, covariate_weight=0.3)  # type: ignore[arg-type]

    def tested(*folds: Fold) -> Evaluation:
        return evaluate(data, CONTRACT, {MODEL: recipe}, folds, horizon_days=HORIZON, seed=1, threads=2)

    together = tested(*folds)
    assert len(fits) == (3 if family == "offset" else 2)
    for fold, found in zip(folds, together.parts[MODEL], strict=True):
        [alone] = tested(fold).parts[MODEL]
        np.testing.assert_array_equal(found.p_return, alone.p_return)
        np.testing.assert_array_equal(found.value_if_return, alone.value_if_return)


def test_a_cutoff_nobody_returned_after_tests_nothing() -> None:
    data = snapshots()
    data.frame.loc[data.frame["cutoff_date"] == FOLD.test, ["is_return", "future_value"]] = [False, 0.0]
    assert run(data, FOLD).cutoffs == ()


def test_a_cutoff_that_tests_nothing_says_why() -> None:
    data, tested = snapshots(), Fold(FOLD.train, CUTOFFS[3])
    data.frame.loc[data.frame["cutoff_date"] == FOLD.test, ["is_return", "future_value"]] = [False, 0.0]
    found = run(data, tested, FOLD)
    assert (found.cutoffs, found.doubt) == ((tested.test,), "")
    assert found.left_out == f"nothing could be tested at {FOLD.test}: nobody came back within 90 days"
    assert run(data, FOLD).doubt == found.left_out
    data.frame.loc[data.frame["cutoff_date"].isin(FOLD.train), ["is_return", "future_value"]] = [False, 0.0]
    assert "nobody had come back by then" in run(data, FOLD).left_out


def few(came_back: int, cutoffs: int = 2) -> Evaluation:
    """The same customers came back after each cutoff; resampled, they rank the same each time."""
    value = np.where(np.arange(500) < came_back, 10.0, 0.0)
    outcome = Outcome(np.arange(500), value > 0, value)
    parts = {
        MODEL: Parts(np.linspace(0.9, 0.1, 500), np.full(500, 10.0)),
        "mean": Parts(np.full(500, 0.1), np.full(500, 10.0)),
    }
    return Evaluation(
        tuple(CUTOFFS[:cutoffs]), (outcome,) * cutoffs, {name: (one,) * cutoffs for name, one in parts.items()}, seed=0
    )


@pytest.mark.parametrize("came_back", [1, FEWEST_RETURNERS - 1])
def test_too_few_returners_have_an_estimate_but_neither_interval_nor_verdict(came_back: int) -> None:
    """However often each is counted: a customer who returned in several windows is one customer."""
    found = few(came_back)
    for one in (*found.intervals().values(), *found.paired("mean").values(), found.share("mean")):
        assert np.isnan([one.low, one.high]).all()
    assert found.intervals()["normalized_gini"].estimate > 0.9
    assert {one.verdict for one in found.paired("mean").values()} == {TOO_FEW}
    assert found.doubt.startswith("1 customer came" if came_back == 1 else "19 customers came")


def test_enough_returners_are_judged() -> None:
    found = few(FEWEST_RETURNERS)
    assert found.intervals()["normalized_gini"].low > 0.9
    assert found.paired("mean")["normalized_gini"].verdict == "better"
    assert found.doubt == ""


def returners(n: int, seed: int) -> Evaluation:
    rng = np.random.default_rng(seed)
    value = rng.gamma(2.0, 10.0, n)
    outcome = Outcome(np.arange(n), np.ones(n, dtype=bool), value)
    return Evaluation((CUTOFFS[0],), (outcome,), {MODEL: (Parts(np.full(n, 0.5), np.full(n, 20.0)),)}, seed=0)


def test_the_value_interval_holds_its_share_of_new_returners() -> None:
    low, high = returners(2000, seed=1).value_interval(0.8) or (0, 0)
    fresh = returners(2000, seed=2).outcomes[0].future_value / 20.0
    assert 0.77 < np.mean((fresh >= low) & (fresh <= high)) < 0.83


@pytest.mark.parametrize("n", [0, 19])
def test_too_few_returners_make_no_interval(n: int) -> None:
    assert returners(n, seed=1).value_interval(0.8) is None


def joined(*evaluations: Evaluation) -> Evaluation:
    outcomes = tuple(outcome for one in evaluations for outcome in one.outcomes)
    parts = tuple(part for one in evaluations for part in one.parts[MODEL])
    return Evaluation(CUTOFFS[: len(outcomes)], outcomes, {MODEL: parts}, seed=0)


def test_the_coverage_of_value_intervals_is_told_by_cutoffs_that_did_not_set_them() -> None:
    alike = [returners(1000, seed) for seed in range(3)]
    assert joined(*alike).value_coverage(0.8) == pytest.approx(0.8, abs=0.03)
    [outcome] = alike[2].outcomes
    dear = replace(alike[2], outcomes=(Outcome(outcome.customer_id, outcome.is_return, 100 * outcome.future_value),))
    assert (joined(*alike[:2], dear).value_coverage(0.8) or 0) < 0.6
    assert alike[0].value_coverage(0.8) is None
    assert joined(returners(5, seed=1), returners(5, seed=2)).value_coverage(0.8) is None


def test_the_value_interval_has_no_unit() -> None:
    one = returners(500, seed=1)
    [outcome], [parts] = one.outcomes, one.parts[MODEL]
    small = Outcome(outcome.customer_id, outcome.is_return, outcome.future_value * 2**-20)
    other = replace(one, outcomes=(small,), parts={MODEL: (Parts(parts.p_return, parts.value_if_return * 2**-20),)})
    assert other.value_interval(0.8) == one.value_interval(0.8)


def ledger_of(data: Snapshots) -> Ledger:
    """A history in which each customer's spend of a window fell on one day of it."""
    first = data.frame.groupby("customer_id", as_index=False).first().assign(day=number(CUTOFFS[0]) - 40)
    later = data.frame[data.frame["is_return"]].assign(
        day=lambda frame: [number(cutoff) + 10 for cutoff in frame["cutoff_date"]]
    )
    return Ledger.of(
        pd.concat([first, later])["customer_id"],
        pd.concat([first, later])["day"],
        np.concatenate([first["amount_mean"], later["future_value"]]),
    )


def test_recipes_are_brought_to_the_forecast_of_each_cutoff_and_nothing_later_is_used() -> None:
    data = snapshots()
    ledger = ledger_of(data)
    bare, levelled = run(data, FOLD), run(data, FOLD, ledger=ledger)
    (level,) = levelled.levels
    before, after = bare.parts[MODEL][0].expected_value, levelled.parts[MODEL][0].expected_value
    assert level.forecast == fit_level(ledger.until(FOLD.test), FOLD.test, HORIZON).forecast
    assert after.sum() == pytest.approx(level.forecast.total)
    np.testing.assert_allclose(after / before, after.sum() / before.sum())
    np.testing.assert_array_equal(bare.parts[BTYD][0].expected_value, levelled.parts[BTYD][0].expected_value)
    later = ledger.day > number(FOLD.test)
    spoilt = replace(ledger, amount=np.where(later, 1e6, ledger.amount))
    again = run(data, FOLD, ledger=spoilt)
    np.testing.assert_array_equal(after, again.parts[MODEL][0].expected_value)


def test_a_part_of_the_customers_is_brought_to_the_same_level() -> None:
    data = snapshots()
    test = data.at(FOLD.test)
    model = BTYDModel().fit(test.frame, horizon_days=HORIZON)
    found = fit_level(ledger_of(data), FOLD.test, HORIZON).forecast
    encoder = make_encoder(CONTRACT, test.frame)
    returned, spent = encoder.encode(test.frame[test.is_return]), test.future_value[test.is_return]
    history = fit_history(encoder, test.frame, HORIZON, returned, spent)
    predictor = Predictor(encoder, (), {}, (1.0, 1.0), 1e9, history=history, history_weight=1.0)
    assert model.model_ == predictor.history.model
    whole, part = (found.factor(predictor.predict_parts(frame)) for frame in (test.frame, test.frame.iloc[::2]))
    assert part == pytest.approx(whole, rel=0.15)


def test_where_no_rung_ranks_the_mean_stands_for_everybody_not_nothing() -> None:
    """Who bought last returns last, so that every rule ranks worse than none."""
    spent = np.arange(40.0)
    outcome = Outcome(np.arange(40).astype(str), spent > 0, spent)
    constant = {"zero": np.zeros(40), "mean": np.full(40, spent.mean())}
    scores = {name: constant.get(name, spent[::-1]) for name in baseline_names()}
    parts = {name: (Parts(np.full(40, 0.5), 2 * score),) for name, score in scores.items()}
    assert Evaluation((CUTOFFS[0],), (outcome,), parts, 1).best_baseline() == "mean"
