"""The mix is chosen by a paired verdict: the default stays until another weight is better."""

import numpy as np
import pytest

from clv.bootstrap import Outcome
from clv.models.recipe import Recipe
from clv.predictor import Parts
from experiments.tune import FoldData, choose_mix

N = 2000


def folds(hurdle_noise: float, history_noise: float) -> tuple[list[FoldData], list[Parts]]:
    """Two folds whose members know the future up to their own noise."""
    rng = np.random.default_rng(7)
    made, hurdle = [], []
    for _ in range(2):
        value = np.where(rng.random(N) < 0.15, rng.gamma(2, 50, N), 0.0)

        def guess(noise: float, value: np.ndarray = value) -> Parts:
            odds = np.exp(rng.normal(size=N) * noise) * (0.02 + 0.5 * (value > 0))
            return Parts(odds / (1 + odds), np.full(N, 100.0))

        outcome = Outcome(np.arange(N), value > 0, value)
        made.append(FoldData(train=None, test=np.empty((0, 0)), outcome=outcome, history=guess(history_noise)))  # type: ignore[arg-type]
        hurdle.append(guess(hurdle_noise))
    return made, hurdle


@pytest.mark.parametrize(
    ("hurdle_noise", "history_noise", "family"), [(2.0, 2.0, "blend"), (0.3, 6.0, "hurdle"), (6.0, 0.3, "btyd")]
)
def test_the_mix_follows_the_evidence(hurdle_noise: float, history_noise: float, family: str) -> None:
    made, hurdle = folds(hurdle_noise, history_noise)
    recipe, differences = choose_mix(Recipe(max_depth=3), made, hurdle, seed=1)
    assert recipe.family == family
    assert recipe.max_depth == 3
    assert set(differences) == {0.0, 0.25, 0.75, 1.0}
    if family == "blend":
        assert recipe.history_weight == 0.5
    assert 0 < recipe.history_weight < 1
