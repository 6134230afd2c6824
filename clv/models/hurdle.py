"""The XGBoost hurdle: logistic P(return), gamma regression of the spend of those who return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb
from numpy.typing import NDArray

from clv.contract import Contract
from clv.errors import InputError
from clv.models.recipe import Recipe
from clv.predictor import Encoder, Hurdle

MAX_BIN = 128
"""Histogram bins of a column; half of XGBoost's default, no loss seen and less memory."""

SMALLEST_SPEND = 0.01
"""A returner's net spend can be 0 after returns; gamma regression needs more."""


OTHERS_PER_RETURNER = 15
"""Where returners are rare, a bag takes about this many others for each of them."""

FEWEST_OTHERS = 0.25
"""Smallest share of the others in a bag."""


@dataclass(frozen=True)
class Binned:
    """Training rows of one bag, binned once, to be reused by every trial."""

    returns: xgb.QuantileDMatrix
    values: xgb.QuantileDMatrix
    base_rate: float
    mean_value: float


def make_encoder(contract: Contract, X: pd.DataFrame) -> Encoder:
    """Encoder with the categories seen in `X`, sorted so that row order does not matter."""
    vocabulary = {
        feature.name: tuple(sorted(X[feature.name].dropna().astype(str).unique()))
        for feature in contract
        if feature.kind == "category"
    }
    return Encoder(tuple(contract.names), vocabulary)


def bin_rows(
    encoder: Encoder,
    matrix: NDArray[np.float32],
    is_return: NDArray[np.bool_],
    future_value: NDArray[np.float64],
    *,
    seed: int,
) -> Binned:
    """Bin a bag of an encoded matrix of labelled snapshots: every returner, and all or a part of the others.

    99 of 100 rows may be customers who did not return. They hold little that a part of them does not, so a bag draws
    that part and weighs it up: bags cost less, differ more, and their mean sees nearly all rows.

    Raises
    ------
    InputError
        If nobody returned: there is nothing to learn from.
    """
    returners = np.flatnonzero(is_return)
    if len(returners) == 0:
        raise InputError(
            f"No repeat buyer among {len(is_return):,} labelled snapshots; a model needs customers who came back, so "
            "load more history or shorten --horizon-days."
        )
    others = np.flatnonzero(~is_return)
    share = max(FEWEST_OTHERS, OTHERS_PER_RETURNER * len(returners) / max(len(others), 1))
    if share < 1:
        others = np.random.default_rng(seed).choice(others, size=int(share * len(others)), replace=False)
    rows = np.sort(np.concatenate([returners, others]))
    weight = np.where(is_return[rows], 1.0, max(1.0, 1.0 / share))
    spend = np.maximum(future_value[returners], SMALLEST_SPEND)
    shape: dict[str, Any] = {
        "feature_names": list(encoder.features),
        "feature_types": encoder.feature_types,
        "enable_categorical": True,
        "max_bin": MAX_BIN,
    }
    return Binned(
        returns=xgb.QuantileDMatrix(matrix[rows], label=is_return[rows].astype(np.float32), weight=weight, **shape),
        values=xgb.QuantileDMatrix(matrix[returners], label=spend, **shape),
        base_rate=float(np.mean(is_return)),
        mean_value=float(np.mean(spend)),
    )


def fit_boosters(binned: Binned, recipe: Recipe, *, seed: int, threads: int) -> Hurdle:
    """Train both boosters on rows that are binned already."""
    shared = {
        "tree_method": "hist",
        "max_bin": MAX_BIN,
        "nthread": threads,
        "seed": seed,
        "learning_rate": recipe.learning_rate,
        "subsample": recipe.subsample,
        "colsample_bytree": recipe.colsample,
        "reg_lambda": recipe.reg_lambda,
    }
    p_return = xgb.train(
        {
            **shared,
            "objective": "binary:logistic",
            "base_score": min(max(binned.base_rate, 1e-6), 1 - 1e-6),
            "max_depth": recipe.max_depth,
            "min_child_weight": recipe.min_child_weight,
        },
        binned.returns,
        num_boost_round=recipe.trees,
    )
    value = xgb.train(
        {
            **shared,
            "objective": "reg:gamma",
            "base_score": binned.mean_value,
            "max_depth": recipe.value_max_depth,
            "min_child_weight": recipe.value_min_child_weight,
        },
        binned.values,
        num_boost_round=recipe.value_trees,
    )
    return Hurdle(p_return, value)
