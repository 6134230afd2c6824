"""The model of a recipe: fitted on labelled snapshots and on what is known of the customers to predict."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clv.contract import Contract
from clv.models.btyd import BTYDModel
from clv.models.calibration import fit_calibration
from clv.models.covariates import fit_covariates
from clv.models.hurdle import CUSTOMER_FOLDS, Binned, bin_rows, customer_folds, fit_bags, make_encoder
from clv.models.recipe import Recipe
from clv.models.share import covariate_share
from clv.predictor import CovariateProcess, Encoder, History, Hurdle, Parts, Predictor


class Model:
    """Estimator of the two-part answer.

    Parameters
    ----------
    contract
        The features.
    recipe
        Family and hyper-parameters.
    seed
        Seed of XGBoost's row and column sampling.
    threads
        XGBoost's threads.

    Attributes
    ----------
    predictor_
        Set by :meth:`fit`: predicts, and knows nothing yet of intervals, percentiles and where it came from.
    """

    def __init__(self, contract: Contract, recipe: Recipe, *, seed: int, threads: int) -> None:
        self.contract = contract
        self.recipe = recipe
        self.seed = seed
        self.threads = threads

    def fit(
        self,
        X: pd.DataFrame,
        future_value: NDArray[np.float64],
        *,
        is_return: NDArray[np.bool_],
        today: pd.DataFrame,
        horizon_days: int,
    ) -> Self:
        """Fit.

        Parameters
        ----------
        X
            Features of labelled snapshots and their ``customer_id``, n rows; their label windows had closed by the
            cutoff of `today`.
        future_value, is_return
            Labels, shape (n,).
        today
            Features of all customers at the cutoff to predict from: buy till you die needs no labels and learns from
            the latest history there is.
        horizon_days
            Length of the window.

        Raises
        ------
        InputError
            If nobody returned.
        """
        encoder = make_encoder(self.contract, X)
        family = self.recipe.family
        matrix = encoder.encode(X)
        self._returned = matrix[is_return], future_value[is_return]
        history = self._fit_history(encoder, today, horizon_days)
        start = history.predict_parts(matrix) if history is not None and family == "offset" else None
        customer_id = X["customer_id"].to_numpy(dtype=object)
        fold = customer_folds(customer_id, is_return)

        def binned(bag: int) -> Binned:
            return bin_rows(
                encoder,
                matrix,
                is_return,
                future_value,
                seed=self.seed + bag,
                form=self.recipe.form,
                start=start,
                held_out=fold == bag % CUSTOMER_FOLDS if self.recipe.patience else None,
            )

        bags = range(self.recipe.bags if family != "btyd" else 0)
        hurdles = fit_bags(binned, self.recipe, bags, seed=self.seed, threads=self.threads)
        covariates, share = self._fit_covariates(encoder, matrix, is_return, customer_id, fold, hurdles, horizon_days)
        self._learnt = Predictor(
            encoder=encoder,
            hurdles=hurdles,
            about={},
            value_interval=(1.0, 1.0),
            value_cap=float(future_value.max(initial=0.0)),
            history_weight={"blend": self.recipe.history_weight, "btyd": 1.0}.get(family, 0.0),
            covariates=covariates,
            covariate_weight=share,
        )
        self._assemble(history)
        return self

    @property
    def can_move_on(self) -> bool:
        """Whether what it learnt from labels is the same whatever the cutoff to predict from."""
        return self.recipe.family != "offset"  # whose trees start from the history of that day

    def move_on(self, today: pd.DataFrame, *, horizon_days: int) -> Self:
        """The model of a later cutoff before which no other label has closed: as :meth:`fit` with the same labels.

        Parameters
        ----------
        today
            As for :meth:`fit`.
        """
        moved = copy(self)
        moved._assemble(self._fit_history(self._learnt.encoder, today, horizon_days))
        return moved

    def _fit_history(self, encoder: Encoder, today: pd.DataFrame, horizon_days: int) -> History | None:
        has_one = self.recipe.family in ("blend", "offset", "btyd")
        return fit_history(encoder, today, horizon_days, *self._returned) if has_one else None

    def _assemble(self, history: History | None) -> None:
        cap = max(self._learnt.value_cap, history.model.value_cap if history is not None else 0.0)
        self.predictor_ = replace(self._learnt, history=history, value_cap=cap)

    def _fit_covariates(
        self,
        encoder: Encoder,
        matrix: NDArray[np.float32],
        is_return: NDArray[np.bool_],
        customer_id: NDArray[np.object_],
        fold: NDArray[np.intp],
        hurdles: tuple[Hurdle, ...],
        horizon_days: int,
    ) -> tuple[CovariateProcess | None, float]:
        """BG/NBD with covariates and its share: the recipe's, or the one that held-out customers choose."""
        share = self.recipe.covariate_weight
        if share == 0 or self.recipe.family not in ("blend", "hurdle"):
            return None, 0.0
        fitted = fit_covariates(encoder, matrix, is_return, fold == 0, horizon_days=horizon_days, seed=self.seed)
        if fitted is None:
            return None, 0.0
        if share is None:
            judges = hurdles if self.recipe.patience else ()  # without patience no bag holds anybody out
            share = covariate_share(fitted, judges, matrix, is_return, customer_id, fold)
        return fitted.process, share

    def predict_parts(self, X: pd.DataFrame) -> Parts:
        """Two-part answer for n customers."""
        return self.predictor_.predict_parts(X)


def fit_history(
    encoder: Encoder,
    today: pd.DataFrame,
    horizon_days: int,
    returned: NDArray[np.float32],
    spent: NDArray[np.float64],
) -> History:
    """BG/NBD and Gamma-Gamma of the customers of one cutoff, calibrated by those who returned.

    Parameters
    ----------
    today
        Features of all customers at the cutoff.
    returned, spent
        Encoded labelled snapshots of customers who returned, n rows, and what they spent then, shape (n,).
    """
    columns = [encoder.features.index(name) for name in History.FEATURES]
    reference = [float(today[name].mean()) for name in History.FEATURES]
    model = BTYDModel().fit(today, horizon_days=horizon_days).model_
    history = History(model, (columns[0], columns[1], columns[2], columns[3]), tuple(reference))  # type: ignore[arg-type]
    foretold = history.predict_parts(returned).value_if_return
    return replace(history, calibration=fit_calibration(foretold, spent))
