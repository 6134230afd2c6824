"""What a model must show before it is served: that it agrees with its own contract, and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd

from clv.errors import first_line
from serving.customers import Coder, Customers
from serving.features import FeatureStore
from serving.problems import Problem
from serving.schemas import allowed_value

if TYPE_CHECKING:
    from clv.predictor import Predictor

_FACTS = ("horizon_days", "as_of_date", "currency", "contract", "interval_level")
_FEATURE_FACTS = ("name", "kind", "unit", "nullable", "minimum", "maximum", "description")


class ModelRefusedError(Exception):
    """The model must not be served; the message says why."""


def is_passing(error: Exception) -> bool:
    """Whether the machine is to blame and not the model, so that the same version may do another time.

    A disk may be full, or no memory left; a file that is not there is the model's own fault.
    """
    is_missing = isinstance(error, FileNotFoundError)
    return isinstance(error, (OSError, MemoryError, duckdb.OutOfMemoryException)) and not is_missing


def check(predictor: Predictor, features: FeatureStore) -> None:
    """Check a model that was just loaded.

    Raises
    ------
    ModelRefusedError
        If its contract contradicts its encoder or its SQL, or a smoke prediction is not what a prediction must be. What
        is not the model's fault (`is_passing`) is raised as it is.
    """
    missing = [fact for fact in _FACTS if fact not in predictor.about]
    if missing:
        raise ModelRefusedError(f"its model.json says nothing of {', '.join(missing)}")
    contract: list[Mapping[str, Any]] = predictor.about["contract"]
    for feature in contract:
        if not set(_FEATURE_FACTS) <= set(feature):
            raise ModelRefusedError(f"its contract describes {feature.get('name')!r} incompletely")
    names = [feature["name"] for feature in contract]
    if names != list(predictor.encoder.features):
        raise ModelRefusedError("its contract names other features than its encoder takes")
    categories = {feature["name"] for feature in contract if feature["kind"] == "category"}
    if categories != set(predictor.encoder.vocabulary):
        raise ModelRefusedError("its contract names other categories than its encoder knows")
    _check_sql(predictor, features, names)
    try:
        _check_prediction(predictor, contract)
    except ModelRefusedError:
        raise
    except Exception as error:
        if is_passing(error):
            raise
        # Its code may fail in any way; whatever it is, it must not be served.
        raise ModelRefusedError(f"its smoke prediction fails: {type(error).__name__}: {first_line(error)}") from error


def check_successor(predictor: Predictor, former: Predictor) -> None:
    """Check that those who ask the model in service may go on asking as they do.

    Raises
    ------
    ModelRefusedError
        If the contract is another one.
    """
    new, old = _border(predictor), _border(former)
    if new != old:
        changed = sorted(name for name in new.keys() | old.keys() if new.get(name) != old.get(name))
        raise ModelRefusedError(
            f"its contract differs from the one in service in {', '.join(changed)}, so that callers would be turned "
            "away; restart the service to change over"
        )


def _border(predictor: Predictor) -> dict[str, tuple[Any, ...]]:
    """What a caller's features are checked by."""
    facts = ("kind", "nullable", "minimum", "maximum")
    return {feature["name"]: tuple(feature[fact] for fact in facts) for feature in predictor.about["contract"]}


def _check_sql(predictor: Predictor, features: FeatureStore, names: list[str]) -> None:
    try:
        made = features.check(predictor.features_sql)
    except (duckdb.Error, Problem) as error:
        if is_passing(error):
            raise
        raise ModelRefusedError(f"its features.sql can't run: {first_line(error)}") from error
    missing = [name for name in names if name not in made]
    if missing:
        raise ModelRefusedError(f"its features.sql does not make {', '.join(missing)}")


def _check_prediction(predictor: Predictor, contract: list[Mapping[str, Any]]) -> None:
    """Both ways in give the same answer, and it is one."""
    vocabulary = predictor.encoder.vocabulary
    records = [{one["name"]: allowed_value(one, vocabulary.get(one["name"])) for one in contract} for _ in range(2)]
    records[1] |= {feature["name"]: None for feature in contract if feature["nullable"]}
    customers = Customers(["1", "2"], {name: [record[name] for record in records] for name in records[0]})
    columns = predictor.columns(predictor.predict_matrix(Coder(predictor.encoder).matrix(customers)))
    frame = pd.DataFrame(
        {
            feature["name"]: pd.Series(
                [record[feature["name"]] for record in records],
                dtype="float64" if feature["kind"] == "number" else "object",
            )
            for feature in contract
        }
    )
    expected = predictor.columns(predictor.predict_parts(frame))
    for name, values in columns.items():
        is_percentile = name == "percentile"
        if not is_percentile and (not np.all(np.isfinite(values)) or np.any(values < 0)):
            raise ModelRefusedError(f"its smoke prediction gives a {name} that is negative or no number")
        if len(values) != len(records) or not np.allclose(values, expected[name], equal_nan=is_percentile):
            raise ModelRefusedError(f"its smoke prediction gives two different answers for {name}, or none")
    if np.any(columns["p_return"] > 1):
        raise ModelRefusedError("its smoke prediction gives a p_return above 1")
