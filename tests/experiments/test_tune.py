"""The default recipe stays until another is better by a paired verdict; a search is the same however it is run."""

from collections.abc import Sequence

import numpy as np
import pytest

from clv.bootstrap import Outcome
from clv.models.recipe import Recipe
from clv.predictor import Parts, mix
from experiments.tune import choose

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
