"""The default recipe stays until another is better by a paired verdict; a search is the same however it is run."""

from collections.abc import Sequence

import numpy as np
import optuna
import pandas as pd
import pytest

from clv.bootstrap import Outcome
from clv.contract import Contract, Feature
from clv.models.hurdle import make_encoder
from clv.models.model import Model, fit_history
from clv.models.recipe import Recipe, default_recipe
from clv.predictor import Parts, mix
from experiments.tune import FoldData, candidates, choose, search

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
            [mix(one, other, weight) for one, other in zip(hurdle, history, strict=True)],
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
    returned = rng.random(n) < 0.05 + 0.4 * np.exp(-recency / 60)
    return frame, returned, np.where(returned, rng.gamma(2.0, amount), 0.0)


@pytest.fixture(scope="module")
def fold() -> FoldData:
    X, returned, value = customers(1500, seed=1)
    today, came, spent = customers(1500, seed=2)
    encoder = make_encoder(CONTRACT, X)
    matrix, rows = encoder.encode(today), encoder.encode(X)
    history = fit_history(encoder, today, 90)
    outcome = Outcome(np.arange(len(today)), came, spent)
    predicted = history.predict_parts(matrix), history.predict_parts(rows)
    return FoldData(encoder, rows, returned, value, matrix, outcome, *predicted, seed=5)


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


def test_parallel_trials_score_as_trials_one_by_one(fold: FoldData) -> None:
    def scores(jobs: int) -> dict[str, float]:
        study = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
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
        )
        assert sorted(recorded) == list(range(8))
        return {str(trial.params): trial.value for trial in study.trials}

    alone = scores(1)
    assert len(set(alone.values())) > 4
    assert scores(3) == alone


def test_every_candidate_is_named_by_what_it_is(fold: FoldData) -> None:
    small = Recipe(bags=1, trees=10, value_trees=10)
    tuned = {family: small.model_copy(update={"family": family, "trees": 15}) for family in ("hurdle", "offset")}
    found = candidates(small, tuned, [fold], threads=1)
    assert sum(recipe == small for recipe, _ in found.values()) == 1
    assert {"hurdle", "blend_50", "tuned_hurdle", "tuned_blend_10", "offset", "btyd"} <= set(found)
    blend, [parts] = found["tuned_blend_25"]
    assert (blend.family, blend.history_weight, blend.trees) == ("blend", 0.25, 15)
    mixed = mix(found["tuned_hurdle"][1][0], fold.history, 0.25)
    np.testing.assert_allclose(parts.expected_value, mixed.expected_value)


def test_a_short_history_leans_on_what_needs_no_label() -> None:
    weights = [default_recipe(is_short=True, returners=n).history_weight for n in (0, 500, 10_000)]
    assert weights[0] == 0.75
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] > default_recipe(is_short=False).history_weight == 0.5
