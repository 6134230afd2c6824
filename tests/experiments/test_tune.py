"""The default recipe stays until another is better by a paired verdict; a search is the same however it is run."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import optuna
import pandas as pd
import pytest

from clv.bootstrap import Difference, Outcome
from clv.contract import Contract, Feature
from clv.deviance import explained
from clv.models.covariates import fit_covariates
from clv.models.hurdle import customer_folds, make_encoder
from clv.models.model import Model, fit_history
from clv.models.recipe import COVARIATE_WEIGHT, Recipe, default_recipe
from clv.predictor import Parts, blend
from experiments.tune import OTHERS_IN_TRIALS, FoldData, candidates, choose, history_weight, search

N = 2000
WEIGHTS = (0.1, 0.25, 0.5, 0.75)


def shop(hurdle_noise: float, history_noise: float) -> tuple[dict[str, tuple[Recipe, Sequence[Parts]]], list[Outcome]]:
    """Two folds whose members know the future up to their own noise."""
    rng = np.random.default_rng(7)
    outcomes, hurdle, history = [], [], []
    for _ in range(2):
        value = np.where(rng.random(N) < 0.15, rng.gamma(2, 50, N), 0.0)

        def guess(noise: float, value: np.ndarray = value) -> Parts:
            odds = np.exp(rng.normal(size=N) * noise) * (0.02 + 0.5 * (value > 0))
            return Parts(odds / (1 + odds), np.full(N, 100.0))

        outcomes.append(Outcome(np.arange(N), value > 0, value))
        history.append(guess(history_noise))
        hurdle.append(guess(hurdle_noise))
    recipe = Recipe(max_depth=3)
    found: dict[str, tuple[Recipe, Sequence[Parts]]] = {
        f"blend_{weight}": (
            recipe.model_copy(update={"history_weight": weight}),
            [blend(one, other, weight) for one, other in zip(hurdle, history, strict=True)],
        )
        for weight in WEIGHTS
    }
    found["hurdle"] = (recipe.model_copy(update={"family": "hurdle"}), hurdle)
    found["btyd"] = (recipe.model_copy(update={"family": "btyd"}), history)
    return found, outcomes


def history_share(recipe: Recipe) -> float:
    return {"hurdle": 0.0, "btyd": 1.0}.get(recipe.family, recipe.history_weight)


@pytest.mark.parametrize(
    ("hurdle_noise", "history_noise", "shares"),
    [(2.0, 2.0, {0.5}), (0.3, 6.0, {0.0, 0.1}), (6.0, 0.3, {0.75, 1.0})],
    ids=["equals", "XGBoost knows", "BG/NBD knows"],
)
def test_the_recipe_follows_the_evidence(hurdle_noise: float, history_noise: float, shares: set[float]) -> None:
    found, outcomes = shop(hurdle_noise, history_noise)
    default = Recipe(max_depth=3)
    recipe, differences = choose(found, default, outcomes, seed=1)
    assert history_share(recipe) in shares
    if 0.5 in shares:
        assert recipe == default
    else:
        assert max(d.estimate for d in differences.values() if d.verdict == "better") > 0.1


CONTRACT = Contract(
    tuple(
        Feature(name, "number", "", nullable=False)
        for name in ("purchase_count", "recency_days", "tenure_days", "amount_mean", "amount_total")
    )
)


def customers(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    count, tenure = rng.geometric(0.5, n).astype(float), rng.integers(30, 400, n).astype(float)
    amount = rng.gamma(3.0, 20.0, n)
    recency = np.where(count > 1, np.floor(tenure * rng.random(n)), tenure)
    frame = pd.DataFrame(dict(zip(CONTRACT.names, (count, recency, tenure, amount, amount * count), strict=True)))
    frame["customer_id"] = np.arange(n).astype(str)
    returned = rng.random(n) < 0.05 + 0.4 * np.exp(-recency / 60)
    return frame, returned, np.where(returned, rng.gamma(2.0, amount), 0.0)


@pytest.fixture(scope="module")
def fold() -> FoldData:
    X, returned, value = customers(1500, seed=1)
    today, came, spent = customers(1500, seed=2)
    encoder = make_encoder(CONTRACT, X)
    matrix, rows = encoder.encode(today), encoder.encode(X)
    history = fit_history(encoder, today, 90, rows[returned], value[returned])
    outcome = Outcome(np.arange(len(today)), came, spent)
    held_out = customer_folds(X["customer_id"].to_numpy(dtype=object), returned)
    fitted = fit_covariates(encoder, rows, returned, held_out == 0, horizon_days=90, seed=5)
    predicted = history.predict_parts(matrix), history.predict_parts(rows), fitted.process.p_return(matrix)
    return FoldData(encoder, rows, returned, value, matrix, outcome, *predicted, seed=5, customer_fold=held_out)


@pytest.mark.parametrize("family", ["hurdle", "offset", "tweedie"])
def test_a_fold_predicts_what_the_model_of_the_recipe_would(family: str, fold: FoldData) -> None:
    X, returned, value = customers(1500, seed=1)
    today, _, _ = customers(1500, seed=2)
    recipe = Recipe(family=family, bags=2, trees=30, value_trees=30)  # type: ignore[arg-type]
    model = Model(CONTRACT, recipe, seed=5, threads=1)
    parts = model.fit(X, value, is_return=returned, today=today, horizon_days=90).predict_parts(today)
    expected = fold.predict(recipe, threads=1, bags=2)
    np.testing.assert_allclose(parts.p_return, expected.p_return, rtol=1e-5)
    capped = parts.value_if_return < model.predictor_.value_cap
    np.testing.assert_allclose(parts.expected_value[capped], expected.expected_value[capped], rtol=1e-5)


def test_a_trial_learns_from_a_part_of_those_who_did_not_return(fold: FoldData) -> None:
    whole, part = fold.bag("hurdle", 0).returns, fold.binned("hurdle").returns
    came = int(part.get_label().sum())
    assert came == whole.get_label().sum()
    assert part.num_row() == pytest.approx((1 + OTHERS_IN_TRIALS) * came, rel=0.05)
    assert part.num_row() < 0.8 * whole.num_row()
    assert part.get_weight().sum() == pytest.approx(whole.get_weight().sum(), rel=0.02)
    recipe = Recipe(family="hurdle", bags=1, trees=30, value_trees=30)
    tried, fitted = fold.tried(recipe, threads=1), fold.predict(recipe, threads=1)
    assert not np.array_equal(tried.p_return, fitted.p_return)
    assert tried.p_return.mean() == pytest.approx(fitted.p_return.mean(), rel=0.1)


def test_parallel_trials_score_as_trials_one_by_one(fold: FoldData) -> None:
    def scores(jobs: int) -> dict[str, float]:
        study = optuna.create_study(direction="maximize")
        for trees in (10, 20, 30, 40):
            for family in ("hurdle", "tweedie"):
                study.enqueue_trial({"trees": trees, "family": family})
        recorded: list[int] = []

        def draw(trial: optuna.Trial) -> Recipe:
            family = trial.suggest_categorical("family", ["hurdle", "tweedie"])
            return Recipe(family=family, trees=trial.suggest_int("trees", 10, 40), value_trees=10)

        search(
            study,
            [fold, fold],
            trials=8,
            jobs=jobs,
            threads=1,
            record=lambda _, t: recorded.append(t.number),
            draw=draw,
            prune=False,
        )
        assert sorted(recorded) == list(range(8))
        return {str(trial.params): trial.value for trial in study.trials}

    alone = scores(1)
    assert len(set(alone.values())) > 4
    assert scores(3) == alone


def test_every_candidate_is_named_by_what_it_is(fold: FoldData) -> None:
    small = Recipe(bags=1, trees=10, value_trees=10)
    tuned = {family: small.model_copy(update={"family": family, "trees": 15}) for family in ("hurdle", "offset")}
    told: list[str] = []
    returners = int(fold.is_return.sum())
    found = candidates(small, tuned, [fold], returners=returners, threads=1, progress=told.append)
    assert told == ["hurdle", "tuned_hurdle", "tuned_offset"]
    assert sum(recipe == small for recipe, _ in found.values()) == 1
    assert {"hurdle", "blend_50", "tuned_hurdle", "tuned_blend_10", "tuned_offset", "btyd"} <= set(found)
    recipe, [parts] = found["tuned_blend_25"]
    assert (recipe.family, recipe.history_weight, recipe.trees) == ("blend", 0.25, 15)
    mixed = blend(found["tuned_hurdle"][1][0], fold.history, 0.25)
    np.testing.assert_allclose(parts.expected_value, mixed.expected_value)


@pytest.mark.parametrize(("name", "share"), [("hurdle", 0.0), ("hurdle", 0.6), ("blend_25", 0.6)])
def test_a_candidate_predicts_what_its_model_would(name: str, share: float, fold: FoldData) -> None:
    X, returned, value = customers(1500, seed=1)
    today, _, _ = customers(1500, seed=2)
    small = Recipe(bags=2, trees=10, value_trees=10, covariate_weight=share)
    recipe, [expected] = candidates(small, {}, [fold], returners=int(fold.is_return.sum()), threads=1)[name]
    model = Model(CONTRACT, recipe, seed=5, threads=1)
    parts = model.fit(X, value, is_return=returned, today=today, horizon_days=90).predict_parts(today)
    assert model.predictor_.covariate_weight == share
    np.testing.assert_allclose(parts.p_return, expected.p_return, rtol=1e-5)
    capped = parts.value_if_return < model.predictor_.value_cap
    np.testing.assert_allclose(parts.value_if_return[capped], expected.value_if_return[capped], rtol=1e-5)


def test_buy_till_you_die_counts_for_as_many_returners_when_there_are_more(fold: FoldData) -> None:
    small = Recipe(bags=1, trees=10, value_trees=10)
    returners = 3 * int(fold.is_return.sum())
    found = candidates(small, {}, [fold], returners=returners, threads=1)
    assert found["blend_25"][0].history_weight == 0.1
    assert found["blend_50"][0] == small
    for weight in (0.1, 0.25, 0.4, 0.75):
        same, more, most = (history_weight(weight, growth, even=0.5) for growth in (1.0, 3.0, 1e6))
        assert same == weight
        assert weight > more > most > 0 or weight > more == most == 0.5


def test_the_same_order_takes_no_place() -> None:
    rng = np.random.default_rng(3)
    n = 1500
    rate = rng.gamma(0.5, 0.16, n)
    value = np.where(rng.random(n) < -np.expm1(-rate), rng.lognormal(3, 1.5, n), 0.0)
    outcomes = [Outcome(np.arange(n), value > 0, value)]
    knows = Parts(-np.expm1(-rate), np.full(n, 60.0))
    coarse = Parts(-np.expm1(-np.sqrt(rate * rate.mean())), np.full(n, 60.0))  # the same order, but too flat
    found = {"default": (Recipe(), [coarse]), "hurdle": (Recipe(family="hurdle"), [knows])}
    assert explained([knows], [coarse], outcomes).verdict == "better"
    assert choose(found, Recipe(), outcomes, seed=1)[0] == Recipe()


def test_what_was_tuned_must_beat_what_was_not() -> None:
    found, outcomes = shop(0.3, 6.0)
    best, _ = choose(found, Recipe(max_depth=3), outcomes, seed=1)
    tuned = best.model_copy(update={"trees": 77})
    [(_, parts)] = [entry for entry in found.values() if entry[0] == best]
    slightly = [
        Parts(one.p_return, one.value_if_return + 0.5 * o.future_value) for one, o in zip(parts, outcomes, strict=True)
    ]
    both = {**found, "tuned_hurdle": (tuned, slightly)}
    assert choose(both, Recipe(max_depth=3), outcomes, seed=1)[0] == tuned
    both["tuned_hurdle"] = (tuned, parts)
    assert choose(both, Recipe(max_depth=3), outcomes, seed=1)[0] == best


@pytest.mark.parametrize(
    ("verdicts", "untuned", "tuned"),
    [
        (("better", "not distinguishable", "not distinguishable"), True, False),
        (("not distinguishable", "better", "better"), True, True),
        (("better", "better", "worse"), False, False),
        (("not distinguishable",) * 3, False, False),
    ],
)
def test_one_of_three_verdicts_is_enough_but_for_what_was_tuned(
    verdicts: tuple[str, str, str], untuned: bool, tuned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gini, auc, deviance = (SimpleNamespace(verdict=verdict) for verdict in verdicts)
    shown = Difference(0.1, 0.0, 0.2, gini.verdict)
    monkeypatch.setattr("experiments.tune.paired", lambda *_: {"normalized_gini": shown, "roc_auc": auc})
    monkeypatch.setattr("experiments.tune.explained", lambda *_: deviance)
    value = np.random.default_rng(5).random(50)
    outcomes = [Outcome(np.arange(50), value > 0, value)]
    parts = {"blend_50": Parts(np.full(50, 0.5), np.ones(50)), "better": Parts(np.full(50, 0.5), value)}
    for name, wins in (("hurdle", untuned), ("tuned_hurdle", tuned)):
        found = {"blend_50": (Recipe(), [parts["blend_50"]]), name: (Recipe(family="hurdle"), [parts["better"]])}
        assert choose(found, Recipe(), outcomes, seed=1)[0].family == ("hurdle" if wins else "blend")


def test_a_short_history_leans_on_what_needs_no_label() -> None:
    weights = [default_recipe(is_short=True, returners=n).history_weight for n in (0, 500, 10_000)]
    assert weights[0] == 0.75
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] > default_recipe(is_short=False, returners=10_000).history_weight == 0.5


def test_the_folds_judge_the_smaller_share_and_the_fit_chooses(fold: FoldData) -> None:
    default = default_recipe(is_short=False, returners=500)
    small = default.model_copy(update={"bags": 1, "trees": 10, "value_trees": 10})
    found = candidates(small, {}, [fold], returners=500, threads=1)
    assert found["blend_50"][0] == small
    assert small.covariate_weight is None
    assert fold.covariates is not None
    trees = fold.predict(small, threads=1)
    recipe, [told] = found["hurdle"]
    assert recipe.covariate_weight is None
    np.testing.assert_allclose(
        told.p_return, (1 - COVARIATE_WEIGHT) * trees.p_return + COVARIATE_WEIGHT * fold.covariates
    )
    given, [told] = candidates(small.with_share(0.6), {}, [fold], returners=500, threads=1)["hurdle"]
    assert given.covariate_weight == 0.6
    np.testing.assert_allclose(told.p_return, 0.4 * trees.p_return + 0.6 * fold.covariates)


def test_a_recipe_says_what_it_mixes() -> None:
    recipe = Recipe(history_weight=0.5, covariate_weight=0.2)
    assert recipe.describe() == "a blend of 40% XGBoost, 10% BG/NBD with covariates, 50% BG/NBD and Gamma-Gamma"
    alone = Recipe(family="hurdle", covariate_weight=0.5)
    assert alone.describe() == "a blend of 50% XGBoost, 50% BG/NBD with covariates"
    assert Recipe(family="hurdle").describe() == "XGBoost alone"
    chosen = Recipe(history_weight=0.1, covariate_weight=None)
    assert chosen.describe() == "a blend of 90% XGBoost and BG/NBD with covariates, 10% BG/NBD and Gamma-Gamma"
    assert chosen.model_copy(update={"family": "hurdle"}).describe() == "a blend of XGBoost and BG/NBD with covariates"
    assert chosen.with_share(0.5).describe().startswith("a blend of 45% XGBoost, 45% BG/NBD with covariates, 10%")
    assert Recipe(family="btyd", covariate_weight=0.5).describe() == "BG/NBD and Gamma-Gamma alone"


def test_where_everybody_spends_the_same_nothing_is_tuned(
    fold: FoldData, copy_of_lab, clv, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = np.ones(len(fold.outcome.customer_id), dtype=bool)
    same = replace(fold, outcome=Outcome(fold.outcome.customer_id, everybody, np.full(len(everybody), 29.97)))
    monkeypatch.setattr("experiments.tune.bin_folds", lambda workspace, protocol: [same, same])
    done = clv(copy_of_lab.home, "--json", "tune", "--trials", 2)
    assert done.code == 0, done.err
    assert "Trial" not in done.err  # Optuna's complaint of a value that is none
    assert done.json["run_id"] is None
    assert "everybody spent the same" in done.json["note"]
