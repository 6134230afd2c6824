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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
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
                values = column.astype("category").cat
                known = pd.Index(self.vocabulary[name], dtype=object).get_indexer(values.categories.astype(object))
                codes = np.append(known, -1)[values.codes]  # a missing value has code -1 and finds the last entry
                matrix[:, position] = np.where(codes < 0, np.nan, codes)
            else:
                matrix[:, position] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return matrix

    @cached_property
    def _codes(self) -> tuple[tuple[str, Mapping[str, float] | None], ...]:
        """Each feature with the code of its categories; None for a number."""
        codes = {
            name: {value: float(code) for code, value in enumerate(values)} for name, values in self.vocabulary.items()
        }
        return tuple((name, codes.get(name)) for name in self.features)

    def encode_records(self, records: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        """Encode dictionaries of features, missing as None: what :meth:`encode` does, without a frame."""
        rows = [
            [record[name] if codes is None else codes.get(record[name]) for name, codes in self._codes]
            for record in records
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.features)).astype(np.float32)

    def unknown(self, frame: pd.DataFrame) -> dict[str, list[str]]:
        """Values outside the vocabulary, by column; they are predicted as missing."""
        found = {
            name: sorted(set(frame[name].dropna().astype(str)) - set(known)) for name, known in self.vocabulary.items()
        }
        return {name: values for name, values in found.items() if values}


@dataclass(frozen=True)
class Contributions:
    """What each feature adds, in plain units; rows add up to the prediction.

    Attributes
    ----------
    p_return, value_if_return, expected_value
        Shape (n, features): in probability, currency and currency.
    p_return_base, value_base, expected_base
        What they are added to.
    """

    p_return: Array
    value_if_return: Array
    expected_value: Array
    p_return_base: float
    value_base: float
    expected_base: float


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

    def contributions(self, data: xgb.DMatrix) -> Contributions:
        """TreeSHAP of both boosters, brought from log units to plain ones.

        A margin's contributions are scaled by the secant slope (f(b + sum) - f(b)) / sum of its link f, so that they
        add up to the prediction; the two parts are joined by the two-player product rule.
        """
        p, p_base = _plain(self.p_return.predict(data, pred_contribs=True).astype(np.float64), _expit)
        value, value_base = _plain(self.value.predict(data, pred_contribs=True).astype(np.float64), np.exp)
        p_sum = p_base + p.sum(axis=1, keepdims=True)
        value_sum = value_base + value.sum(axis=1, keepdims=True)
        expected = p * (value_sum + value_base) / 2 + value * (p_sum + p_base) / 2
        return Contributions(p, value, expected, p_base, value_base, p_base * value_base)


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

    def contributions(self, matrix: NDArray[np.float32]) -> Contributions:
        """What each feature adds for an encoded matrix; about 1 ms a row, so ask for hundreds, not for a shop."""
        data = xgb.DMatrix(
            matrix,
            feature_names=list(self.encoder.features),
            feature_types=self.encoder.feature_types,
            enable_categorical=True,
        )
        each = [hurdle.contributions(data) for hurdle in self.hurdles]
        return Contributions(
            *(np.mean([getattr(one, part.name) for one in each], axis=0) for part in fields(Contributions))
        )

    def columns(self, parts: Parts) -> dict[str, Array]:
        """All the answer's columns: the parts, the interval of value_if_return, the percentile."""
        low, high = self.value_interval
        expected = parts.expected_value
        return {
            "p_return": parts.p_return,
            "value_if_return": parts.value_if_return,
            "expected_value": expected,
            "value_if_return_low": parts.value_if_return * low,
            "value_if_return_high": parts.value_if_return * high,
            "percentile": self.percentile(expected),
        }

    def table(self, parts: Parts) -> pd.DataFrame:
        """The same as a frame."""
        return pd.DataFrame(self.columns(parts))

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


def _plain(contributions: Array, link: Callable[[Array], Array]) -> tuple[Array, float]:
    """Margin contributions (the last column is the base) in the units of the prediction, and their base."""
    base = contributions[:, -1:]
    total = contributions[:, :-1].sum(axis=1, keepdims=True)
    gained = link(base + total) - link(base)
    slope = np.divide(gained, total, out=np.zeros_like(total), where=np.abs(total) > 1e-12)
    return contributions[:, :-1] * slope, float(link(base[:1])[0, 0]) if len(base) else 0.0


def _expit(margin: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-margin))


def _booster(path: Path) -> xgb.Booster:
    booster = xgb.Booster()
    booster.load_model(path)
    booster.set_param({"nthread": 1})
    return booster
