"""The XGBoost families: two boosters, P(return) and a spend, read in one of the predictor's ``FORMS``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event, Lock
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb
from numpy.typing import NDArray

from clv.contract import Contract
from clv.errors import InputError
from clv.models.recipe import Recipe
from clv.predictor import Encoder, Hurdle, Parts, start_margins

MAX_BIN = 128
"""Histogram bins of a column; half of XGBoost's default, no loss seen and less memory."""

SMALLEST_SPEND = 1e-4
"""A returner's net spend can be 0 after returns, and gamma regression needs more: this part of what returners spend in
the mean, in whatever unit the shop counts."""

OTHERS_PER_RETURNER = 15
"""Where returners are rare, a bag takes about this many others for each of them."""

FEWEST_OTHERS = 0.25
"""Smallest share of the others in a bag."""

CUSTOMER_FOLDS = 5
"""A bag holds out one fold of the customers, to see when another round of boosting no longer helps."""

BAGS_AT_ONCE = 2
"""Bags that are trained side by side: XGBoost's threads wait for each other several times a tree, those of two bags
don't. More at once would gain little, and each takes memory."""

MONOTONE_RETURN = {"purchase_count": 1, "recency_days": -1}
MONOTONE_VALUE = {"amount_mean": 1}
"""Signs of what a feature may do, if the recipe asks for it."""


Pair = tuple[xgb.DMatrix, xgb.DMatrix]


@dataclass(frozen=True)
class Binned:
    """Training rows of one bag, binned once, to be reused by every trial.

    Attributes
    ----------
    returns
        Every row of the bag, labelled by who returned.
    values
        Those who returned, labelled by their spend; for ``tweedie`` every row.
    base_rate, mean_value
        What the boosters start from.
    form
        How the boosters are read; for ``offset`` the rows carry the margins they start from.
    held_out
        Makes the same as `returns` and `values` of the customers that were held out, not binned: so XGBoost is four
        times as quick to ask after each round. It takes eight times the memory, and is not kept. None if nobody was.
    """

    returns: xgb.DMatrix
    values: xgb.DMatrix
    base_rate: float
    mean_value: float
    form: str = "hurdle"
    held_out: Callable[[], Pair] | None = None


def make_encoder(contract: Contract, X: pd.DataFrame) -> Encoder:
    """Encoder with the categories seen in `X`, sorted so that row order does not matter."""
    vocabulary = {
        feature.name: tuple(sorted(X[feature.name].dropna().astype(str).unique()))
        for feature in contract
        if feature.kind == "category"
    }
    return Encoder(tuple(contract.names), vocabulary)


def customer_folds(customer_id: NDArray[np.object_], is_return: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Put the customers into ``CUSTOMER_FOLDS`` folds, all snapshots of one into the same, and returners into each.

    Returns
    -------
    numpy array
        Fold of each row, shape (n,); it depends on who the customers are, not on the order of the rows.
    """
    code, customers = pd.factorize(customer_id, sort=True)
    ever = np.zeros(len(customers), dtype=bool)
    np.logical_or.at(ever, code, is_return)
    shuffled = np.lexsort((pd.util.hash_array(np.asarray(customers, dtype=object)), ever))
    fold = np.empty(len(customers), dtype=np.intp)
    fold[shuffled] = np.arange(len(customers)) % CUSTOMER_FOLDS
    return fold[code]


def bin_rows(
    encoder: Encoder,
    matrix: NDArray[np.float32],
    is_return: NDArray[np.bool_],
    future_value: NDArray[np.float64],
    *,
    seed: int,
    form: str = "hurdle",
    start: Parts | None = None,
    held_out: NDArray[np.bool_] | None = None,
    others_per_returner: float = OTHERS_PER_RETURNER,
) -> Binned:
    """Bin a bag of an encoded matrix of labelled snapshots: every returner, and all or a part of the others.

    99 of 100 rows may be customers who did not return. They hold little that a part of them does not, so a bag draws
    that part and weighs it up: bags cost less, differ more, and their mean sees nearly all rows.

    Parameters
    ----------
    form
        One of the predictor's ``FORMS``.
    start
        What buy till you die says of the rows, for ``offset``.
    held_out
        Rows that are not learnt from, shape (n,). Nobody is held out where that would leave no returner on either side.
    others_per_returner
        How many are drawn of those who did not return, but at least ``FEWEST_OTHERS`` of them.

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
    share = max(FEWEST_OTHERS, others_per_returner * len(returners) / max(len(others), 1))
    if share < 1:
        others = np.random.default_rng(seed).choice(others, size=int(share * len(others)), replace=False)
    rows = np.sort(np.concatenate([returners, others]))
    weight = np.where(is_return[rows], 1.0, max(1.0, 1.0 / share))
    spend = np.maximum(future_value, SMALLEST_SPEND * (float(np.mean(future_value[returners])) or 1.0))
    shape: dict[str, Any] = {
        "feature_names": list(encoder.features),
        "feature_types": encoder.feature_types,
        "enable_categorical": True,
    }
    base_rate, mean_value = float(np.mean(is_return)), float(np.mean(spend[returners]))
    paid = np.where(is_return, spend, 0.0)
    if form == "tweedie":
        mean_value = float(np.mean(paid))
    if form == "offset":
        if start is None:
            raise ValueError("An offset model needs what buy till you die says.")
        p_start, value_start = start_margins(start)
        base_rate, mean_value = 0.5, 1.0  # margins of 0: all is in the rows'

    def pair(chosen: NDArray[np.bool_], *, is_binned: bool) -> Pair:
        inner, came = chosen[rows], returners[chosen[returners]]
        kept = rows[inner]
        labels, weights = is_return[kept].astype(np.float32), weight[inner]
        kind: Any = partial(xgb.QuantileDMatrix, max_bin=MAX_BIN) if is_binned else xgb.DMatrix
        returns = kind(matrix[kept], label=labels, weight=weights, **shape)
        if form == "tweedie":
            bins = {"ref": returns} if is_binned else {}
            return returns, kind(matrix[kept], label=paid[kept], weight=weights, **bins, **shape)
        values = kind(matrix[came], label=spend[came], **shape)
        if form == "offset":
            returns.set_base_margin(p_start[kept].astype(np.float32))
            values.set_base_margin(value_start[came].astype(np.float32))
        return returns, values

    if held_out is None or not is_return[held_out].any() or not is_return[~held_out].any():
        return Binned(*pair(np.ones(len(matrix), dtype=bool), is_binned=True), base_rate, mean_value, form)
    make_held_out = partial(pair, held_out, is_binned=False)
    return Binned(*pair(~held_out, is_binned=True), base_rate, mean_value, form, make_held_out)


def fit_bags(
    binned: Callable[[int], Binned], recipe: Recipe, bags: Sequence[int], *, seed: int, threads: int
) -> tuple[Hurdle, ...]:
    """Train some bags, ``BAGS_AT_ONCE``; they are those of one after another.

    Parameters
    ----------
    binned
        Bins the rows of the bag of a number.
    bags
        Their numbers.
    seed
        Of the first bag; each has its own.
    """
    at_once = max(1, min(BAGS_AT_ONCE, threads, len(bags)))
    stop, binning = Event(), Lock()

    def fit(bag: int) -> Hurdle:
        with binning:  # it takes memory, and has all threads by itself
            rows = binned(bag)
        hurdle = fit_boosters(rows, recipe, seed=seed + bag, threads=threads // at_once, stop=stop)
        for booster in (hurdle.p_return, hurdle.value):
            booster.set_param({"nthread": threads})  # it predicts alone
        return hurdle

    if at_once == 1:  # a thread of its own would have to make XGBoost's anew, for each of a search's many fits
        return tuple(map(fit, bags))
    with ThreadPoolExecutor(at_once) as pool:
        try:
            return tuple(pool.map(fit, bags))
        finally:
            stop.set()  # a Ctrl-C waits for no bag that is under way


def fit_boosters(binned: Binned, recipe: Recipe, *, seed: int, threads: int, stop: Event | None = None) -> Hurdle:
    """Train both boosters on rows that are binned already; whoever sets `stop` wants them no longer."""
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
    names = set(binned.returns.feature_names or [])
    signs = [
        {name: sign for name, sign in wanted.items() if recipe.monotone and name in names}
        for wanted in (MONOTONE_RETURN, MONOTONE_VALUE)
    ]
    out = binned.held_out() if binned.held_out is not None and recipe.patience else (None, None)
    p_return = _boost(
        {
            **shared,
            "objective": "binary:logistic",
            "base_score": min(max(binned.base_rate, 1e-6), 1 - 1e-6),
            "max_depth": recipe.max_depth,
            "min_child_weight": recipe.min_child_weight,
            "monotone_constraints": signs[0],
        },
        binned.returns,
        out[0],
        rounds=recipe.trees,
        patience=recipe.patience,
        stop=stop,
    )
    is_tweedie = binned.form == "tweedie"
    is_log_normal = recipe.value_objective == "lognormal" and not is_tweedie
    value = _boost(
        {
            **shared,
            **({"tweedie_variance_power": recipe.tweedie_power} if is_tweedie else {}),
            "objective": "reg:tweedie" if is_tweedie else "reg:gamma",
            "base_score": binned.mean_value,
            "max_depth": recipe.max_depth if is_tweedie else recipe.value_max_depth,
            "min_child_weight": recipe.min_child_weight if is_tweedie else recipe.value_min_child_weight,
            "monotone_constraints": signs[1],
        },
        binned.values,
        out[1],
        rounds=recipe.trees if is_tweedie else recipe.value_trees,
        patience=recipe.patience,
        stop=stop,
        is_log_normal=is_log_normal,
    )
    return Hurdle(p_return, _levelled(value, binned.values) if is_log_normal else value, binned.form)


def _boost(
    parameters: dict[str, Any],
    learnt: xgb.DMatrix,
    held_out: xgb.DMatrix | None,
    *,
    rounds: int,
    patience: int,
    stop: Event | None,
    is_log_normal: bool = False,
) -> xgb.Booster:
    """Boost until the loss of the held-out rows no longer falls; with too few to hold any out, a few rounds only."""
    log_normal: dict[str, Any] = {}
    if is_log_normal:
        parameters = {**parameters, "disable_default_eval_metric": True}
        log_normal = {"obj": _log_gradient, "custom_metric": _log_error}
    callbacks = [_Stop(stop)] if stop is not None else []
    if patience == 0 or held_out is None:
        few = rounds if patience == 0 else min(rounds, patience)
        return xgb.train(parameters, learnt, few, obj=log_normal.get("obj"), callbacks=callbacks)
    booster = xgb.train(
        parameters,
        learnt,
        rounds,
        evals=[(held_out, "held_out")],
        early_stopping_rounds=patience,
        verbose_eval=False,
        callbacks=callbacks,
        **log_normal,
    )
    return booster[: booster.best_iteration + 1]


class _Stop(xgb.callback.TrainingCallback):  # type: ignore[misc]
    """Trains no further round once the event is set."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self._event = event

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Whether to stop."""
        return self._event.is_set()


def _log_gradient(margin: Any, data: xgb.DMatrix) -> tuple[Any, Any]:
    """Squared error of the logarithm; the margins are logarithms, as gamma regression's are."""
    return margin - np.log(data.get_label()), np.ones_like(margin)


def _log_error(margin: Any, data: xgb.DMatrix) -> tuple[str, float]:
    return "log_error", float(np.mean((margin - np.log(data.get_label())) ** 2))


def _levelled(booster: xgb.Booster, data: xgb.DMatrix) -> xgb.Booster:
    """Scale by a factor: the exponential of a mean logarithm is a median, and the total shall be that of the data."""
    factor = float(data.get_label().sum() / booster.predict(data).sum())
    document = json.loads(booster.save_raw("json"))
    parameters = document["learner"]["learner_model_param"]
    parameters["base_score"] = json.dumps([json.loads(parameters["base_score"])[0] * factor])
    threads = json.loads(booster.save_config())["learner"]["generic_param"]["nthread"]
    scaled = xgb.Booster(model_file=bytearray(json.dumps(document).encode()))
    scaled.set_param({"nthread": threads})
    return scaled
