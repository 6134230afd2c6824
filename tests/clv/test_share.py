"""The covariates' share of P(return): held-out customers tell a better form from one that only looks better."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from clv.models.covariates import FittedCovariates, fit_covariates
from clv.models.hurdle import CUSTOMER_FOLDS, bin_rows, customer_folds, fit_boosters
from clv.models.model import Model
from clv.models.recipe import COVARIATE_WEIGHT, MORE_COVARIATES, Recipe
from clv.models.share import covariate_share, gained, is_beyond_noise
from clv.predictor import Hurdle
from tests.clv.customers import CONTRACT, customers
from tests.clv.processes import ENCODER, HORIZON, simulated


class Shop:
    """Customers, and the trees and the covariates fitted to them."""

    def __init__(self, *, has_form: bool, customers: int = 6_000) -> None:
        self.matrix, self.is_return, _, self.fold = simulated(customers, seed=1)
        self.customer_id = np.arange(customers).astype(object)
        if not has_form:  # a chessboard of discount and tenure: no sum of effects can say it
            discount, tenure = self.matrix[:, 3], self.matrix[:, 2]
            is_dark = (discount > 0.5) == (tenure > 365)
            self.is_return = np.random.default_rng(1).random(customers) < np.where(is_dark, 0.6, 0.1)
            self.fold = customer_folds(self.customer_id, self.is_return)

    def trees(self) -> tuple[Hurdle, ...]:
        recipe = Recipe(family="hurdle", value_trees=1)
        spend = np.where(self.is_return, 10.0, 0.0)
        return tuple(
            fit_boosters(
                bin_rows(ENCODER, self.matrix, self.is_return, spend, seed=bag, held_out=self.fold == bag),
                recipe,
                seed=bag,
                threads=1,
            )
            for bag in range(CUSTOMER_FOLDS)
        )

    def covariates(self) -> FittedCovariates:
        fitted = fit_covariates(ENCODER, self.matrix, self.is_return, self.fold == 0, horizon_days=HORIZON, seed=1)
        assert fitted is not None
        return fitted

    def share(self, bags: int = CUSTOMER_FOLDS) -> float:
        trees = self.trees()[:bags]
        return covariate_share(self.covariates(), trees, self.matrix, self.is_return, self.customer_id, self.fold)


def test_where_effects_add_up_the_covariates_get_more() -> None:
    assert Shop(has_form=True).share() == MORE_COVARIATES


def test_where_only_trees_see_what_matters_they_do_not() -> None:
    assert Shop(has_form=False).share() == COVARIATE_WEIGHT


def test_without_a_bag_for_each_fold_nobody_judges() -> None:
    assert Shop(has_form=True).share(bags=CUSTOMER_FOLDS - 1) == COVARIATE_WEIGHT


def test_nobody_is_judged_by_a_fit_that_saw_them() -> None:
    """Other labels of a fold's customers change the fits of the other folds, not the one that judges them."""
    shop = Shop(has_form=True, customers=500)
    fitted = shop.covariates()
    own = shop.fold[fitted.chosen]
    before = fitted.held_out(own)
    turned = fitted._rows.is_return.copy()
    turned[own == 2] ^= True
    after = replace(fitted, _rows=replace(fitted._rows, is_return=turned)).held_out(own)
    np.testing.assert_allclose(before[own == 2], after[own == 2])
    assert np.abs(before[own != 2] - after[own != 2]).max() > 0.01


def test_the_gain_is_that_of_the_larger_share() -> None:
    trees, told = np.array([0.5, 0.5, 0.0]), np.array([0.9, 0.1, 0.0])
    came: NDArray[np.bool_] = np.array([True, True, False])
    more, less = (1 - MORE_COVARIATES) * trees + MORE_COVARIATES * told, trees + COVARIATE_WEIGHT * (told - trees)
    expected = [np.log(more[0] / less[0]), np.log(more[1] / less[1]), 0.0]
    np.testing.assert_allclose(gained(trees, told, came), expected)


def test_a_gain_that_may_be_luck_is_none() -> None:
    rng, customers = np.random.default_rng(2), np.arange(200)
    verdicts = [is_beyond_noise(rng.normal(0.0, 1.0, 200), customers) for _ in range(2000)]
    assert 0.01 < np.mean(verdicts) < 0.045
    assert is_beyond_noise(rng.normal(0.5, 1.0, 200), customers)
    assert not is_beyond_noise(np.zeros(10), np.arange(10))


def test_the_snapshots_of_a_customer_are_one_witness() -> None:
    gain = np.array([1.0, 1.0, 1.0, -0.5, -0.5])
    assert not is_beyond_noise(gain, np.arange(5))
    assert not is_beyond_noise(np.tile(gain, 9), np.tile(np.arange(5), 9))
    assert is_beyond_noise(np.tile(gain, 9), np.arange(45))


@pytest.mark.parametrize(("patience", "judges"), [(20, CUSTOMER_FOLDS), (0, 0)])
def test_a_model_takes_the_share_that_its_held_out_customers_choose(
    patience: int, judges: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bags without patience hold out nobody, so none of them may judge."""
    asked: list[int] = []

    def chosen(_: FittedCovariates, hurdles: tuple[Hurdle, ...], *rows: object) -> float:
        asked.append(len(hurdles))
        return 0.42

    monkeypatch.setattr("clv.models.model.covariate_share", chosen)
    frame, is_return, value = customers(600, seed=1)
    recipe = Recipe(covariate_weight=None, patience=patience, trees=5, value_trees=5)
    model = Model(CONTRACT, recipe, seed=1, threads=1)
    model.fit(frame, value, is_return=is_return, today=frame, horizon_days=90)
    assert asked == [judges]
    assert model.predictor_.covariate_weight == 0.42
