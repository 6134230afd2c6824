"""Prediction, self-contained: this very file travels inside every model artifact.

It imports numpy, pandas and xgboost only, never ``clv``, reads no pickle, and is loaded by path under a name of its
own, so that two versions of it live side by side in one process. A model folder holds

``model.json``
    what the model is: features with their vocabulary, components, horizon, as-of day, shop, intervals;
``*.ubj``
    XGBoost boosters in their native format;
``features.sql``
    one DuckDB SELECT from purchases to features, the very SQL of the marts;
``predictor.py``
    this file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Parts:
    """The two-part answer for n customers.

    Attributes
    ----------
    p_return
        P(at least one purchase in the window), shape (n,).
    value_if_return
        Expected net spend in the window, given a purchase in it, in the shop's currency, shape (n,).
    """

    p_return: Array
    value_if_return: Array

    @property
    def expected_value(self) -> Array:
        """Expected net spend in the window: the product of the two parts."""
        return self.p_return * self.value_if_return


@dataclass(frozen=True)
class Encoder:
    """From named columns to the matrix the boosters take: numbers as they are, categories as codes.

    Attributes
    ----------
    features
        Column names in order.
    vocabulary
        For each categorical column its known values; the position is the code. Anything else counts as missing.
    """

    features: tuple[str, ...]
    vocabulary: Mapping[str, tuple[str, ...]]

    @property
    def feature_types(self) -> list[str]:
        """XGBoost's types: ``c`` for a category, ``q`` for a number."""
        return ["c" if name in self.vocabulary else "q" for name in self.features]

    def encode(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Encode a frame with the features as columns; shape (n, features), missing as NaN."""
        matrix = np.empty((len(frame), len(self.features)), dtype=np.float32)
        for position, name in enumerate(self.features):
            column = frame[name]
            if name in self.vocabulary:
                codes = pd.Categorical(column, categories=list(self.vocabulary[name])).codes.astype(np.float32)
                matrix[:, position] = np.where(codes < 0, np.nan, codes)
            else:
                matrix[:, position] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return matrix

    def unknown(self, frame: pd.DataFrame) -> dict[str, list[str]]:
        """Values outside the vocabulary, by column; they are predicted as missing."""
        found = {
            name: sorted(set(frame[name].dropna().astype(str)) - set(known)) for name, known in self.vocabulary.items()
        }
        return {name: values for name, values in found.items() if values}


@dataclass(frozen=True)
class Hurdle:
    """Two boosters: P(return), and the spend of those who return."""

    p_return: xgb.Booster
    value: xgb.Booster

    def predict_parts(self, matrix: NDArray[np.float32]) -> Parts:
        """Two-part answer for an encoded matrix."""
        return Parts(
            np.clip(self.p_return.inplace_predict(matrix).astype(np.float64), 0.0, 1.0),
            np.maximum(self.value.inplace_predict(matrix).astype(np.float64), 0.0),
        )


@dataclass(frozen=True)
class Predictor:
    """A model ready to predict.

    Attributes
    ----------
    encoder
        Columns and vocabularies.
    hurdles
        One or more hurdles; p_return and expected_value are averaged over them, value_if_return follows.
    about
        Facts of the model, as in ``model.json``: horizon_days, as_of_date, currency, shop_id, contract, ...
    value_interval
        Factors (low, high) around value_if_return which held the spend of those who returned, out of time.
    value_cap
        Largest value_if_return that is answered, a guard against runaway predictions.
    percentiles
        Expected values of the scored shop at its 0th, 1st, ..., 100th percentile; empty if unknown.
    """

    encoder: Encoder
    hurdles: tuple[Hurdle, ...]
    about: Mapping[str, Any]
    value_interval: tuple[float, float]
    value_cap: float
    percentiles: tuple[float, ...] = ()
    features_sql: str = field(default="", repr=False)

    def predict_matrix(self, matrix: NDArray[np.float32]) -> Parts:
        """Two-part answer for an encoded matrix, shape (n, features)."""
        each = [hurdle.predict_parts(matrix) for hurdle in self.hurdles]
        p_return = np.mean([parts.p_return for parts in each], axis=0)
        expected = np.mean([parts.expected_value for parts in each], axis=0)
        value = np.divide(expected, p_return, out=np.zeros_like(expected), where=p_return > 0)
        return Parts(p_return, np.minimum(value, self.value_cap))

    def predict_parts(self, frame: pd.DataFrame) -> Parts:
        """Two-part answer for a frame with the features as columns."""
        return self.predict_matrix(self.encoder.encode(frame))

    def table(self, parts: Parts) -> pd.DataFrame:
        """All the answer's columns: the parts, the interval of value_if_return, the percentile."""
        low, high = self.value_interval
        expected = parts.expected_value
        return pd.DataFrame(
            {
                "p_return": parts.p_return,
                "value_if_return": parts.value_if_return,
                "expected_value": expected,
                "value_if_return_low": parts.value_if_return * low,
                "value_if_return_high": parts.value_if_return * high,
                "percentile": self.percentile(expected),
            }
        )

    def percentile(self, expected_value: Array) -> Array:
        """Share of the scored shop's customers below, 0 to 100; NaN if the shop has not been scored."""
        if not self.percentiles:
            return np.full(len(expected_value), np.nan)
        position = np.searchsorted(np.asarray(self.percentiles), expected_value, side="right") - 1
        return np.clip(position, 0, 100).astype(np.float64)

    def save(self, folder: Path) -> None:
        """Write the model folder, this file included."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, hurdle in enumerate(self.hurdles):
            hurdle.p_return.save_model(folder / f"p_return-{number}.ubj")
            hurdle.value.save_model(folder / f"value-{number}.ubj")
        description = {
            "features": list(self.encoder.features),
            "vocabulary": {name: list(values) for name, values in self.encoder.vocabulary.items()},
            "hurdles": len(self.hurdles),
            "about": dict(self.about),
            "value_interval": list(self.value_interval),
            "value_cap": self.value_cap,
            "percentiles": list(self.percentiles),
        }
        (folder / "model.json").write_text(json.dumps(description, indent=1), encoding="utf-8")
        (folder / "features.sql").write_text(self.features_sql, encoding="utf-8")
        (folder / "predictor.py").write_bytes(Path(__file__).read_bytes())

    @classmethod
    def load(cls, folder: Path) -> Predictor:
        """Read a model folder; each booster predicts with one thread, as a service wants it."""
        description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        return cls(
            encoder=Encoder(
                tuple(description["features"]),
                {name: tuple(values) for name, values in description["vocabulary"].items()},
            ),
            hurdles=tuple(
                Hurdle(_booster(folder / f"p_return-{number}.ubj"), _booster(folder / f"value-{number}.ubj"))
                for number in range(description["hurdles"])
            ),
            about=description["about"],
            value_interval=(description["value_interval"][0], description["value_interval"][1]),
            value_cap=description["value_cap"],
            percentiles=tuple(description["percentiles"]),
            features_sql=(folder / "features.sql").read_text(encoding="utf-8"),
        )


def frame_of(customers: Sequence[Mapping[str, Any]], contract: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Frame of a list of feature dictionaries, typed as the contract says; the fast way in for a service."""
    return pd.DataFrame(
        {
            feature["name"]: pd.Series(
                [customer[feature["name"]] for customer in customers],
                dtype="float64" if feature["kind"] == "number" else "object",
            )
            for feature in contract
        }
    )


def _booster(path: Path) -> xgb.Booster:
    booster = xgb.Booster()
    booster.load_model(path)
    booster.set_param({"nthread": 1})
    return booster
