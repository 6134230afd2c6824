"""Settings of the service; the environment is read here, at the border, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from clv.machine import usable_cores
from clv.settings import Settings, read_environment

MEBIBYTE = 1024 * 1024

_ENVIRONMENT = {
    "CLV_MODEL_URI": "model_uri",
    "CLV_POLL_SECONDS": "poll_seconds",
    "CLV_MAX_ROWS": "max_rows",
    "CLV_MAX_PURCHASE_ROWS": "max_purchase_rows",
    "CLV_MAX_BODY_BYTES": "max_body_bytes",
    "CLV_MAX_PURCHASES_BODY_BYTES": "max_purchases_body_bytes",
    "CLV_API_KEY": "api_key",
    "CLV_API_THREADS": "threads",
    "CLV_MAX_EXPLAIN_ROWS": "max_explain_rows",
    "CLV_BODY_SECONDS": "body_seconds",
    "CLV_QUEUE_SECONDS": "queue_seconds",
    "CLV_SHUTDOWN_SECONDS": "shutdown_seconds",
    "CLV_CORS_ORIGINS": "cors_origins",
    "CLV_PREDICTION_LOG": "prediction_log",
    "CLV_PREDICTION_LOG_ROWS": "prediction_log_rows",
    "CLV_PREDICTION_LOG_SECONDS": "prediction_log_seconds",
    "CLV_SCORED_SHOP": "scored_shop",
}


class ServingSettings(BaseModel):
    """Everything that can be set from outside.

    Attributes
    ----------
    tracking_uri
        MLflow store that holds the registry: a sqlite file or a server.
    model_uri
        Which model to serve: by stage, alias (``models:/clv@production``), version (``models:/clv/3``) or run.
    poll_seconds
        How often the registry is asked whether another version stands behind the URI, and BigQuery whether the shop was
        scored anew.
    max_rows, max_purchase_rows
        Most customers in one ``POST /predict``, most purchases in one ``POST /predict/purchases``.
    max_body_bytes, max_purchases_body_bytes
        Largest bodies of the two.
    api_key
        If set, callers must send it in the header ``X-API-Key``.
    threads
        Large requests worked on at once, and the threads that share out one of them; small ones never wait for them.
        One per core by default, at least 2 and at most 4.
    warehouse
        Where ``clv score`` leaves the scored shop; empty for none.
    max_explain_rows
        Most customers in one ``POST /explain``.
    body_seconds
        How long a body may take to arrive.
    queue_seconds
        How long a large request waits for one of the threads before it is told to come again.
    shutdown_seconds
        How long requests in flight may go on after the signal to end.
    cors_origins
        Origins of web pages that may ask, ``*`` for all; none by default.
    scored_shop
        Whether the scored shop is shown; if not, all else works, and no right to read the warehouse is needed.
    prediction_log
        Folder for a log of all predictions as Parquet files, or ``warehouse``; none by default.
    prediction_log_rows
        Most predictions that wait to be logged; more are dropped and counted.
    prediction_log_seconds
        How long predictions are collected before they are written together; by default what suits the place.
    common
        Settings that the service shares with the command line: the home, and stand-ins for BigQuery.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    tracking_uri: str = Field(min_length=1)
    model_uri: str = Field(default="models:/clv/Production", pattern=r"^(models|runs):/.+")
    poll_seconds: float = Field(default=15.0, gt=0)
    max_rows: int = Field(default=10_000, ge=1)
    max_purchase_rows: int = Field(default=200_000, ge=1)
    max_body_bytes: int = Field(default=16 * MEBIBYTE, ge=1)
    max_purchases_body_bytes: int = Field(default=64 * MEBIBYTE, ge=1)
    api_key: SecretStr | None = None
    threads: int = Field(default_factory=lambda: max(2, min(4, usable_cores())), ge=1)
    warehouse: str = ""
    max_explain_rows: int = Field(default=500, ge=1)
    body_seconds: float = Field(default=30, gt=0)
    queue_seconds: float = Field(default=30, gt=0)
    shutdown_seconds: int = Field(default=30, ge=1)
    cors_origins: tuple[str, ...] = ()
    scored_shop: bool = True
    prediction_log: Literal["warehouse"] | Path | None = None
    prediction_log_rows: int = Field(default=200_000, ge=1)
    prediction_log_seconds: float | None = Field(default=None, gt=0)
    common: Settings = Field(default_factory=Settings)

    @field_validator("prediction_log", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        """Take the word for none, which would make a strange folder."""
        return None if value == "off" else value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Take what an environment variable can hold: origins with commas between."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **overrides: Any) -> ServingSettings:
        """Read the settings from `environment`; `overrides` that are not None win.

        Without ``MLFLOW_TRACKING_URI`` and ``CLV_WAREHOUSE`` registry and warehouse are those in ``CLV_HOME``.

        Raises
        ------
        InputError
            If a value is of the wrong type or out of range; names the variable.
        """
        common = Settings.from_environment(environment)
        defaults = {"common": common, "tracking_uri": common.tracking_uri, "warehouse": common.warehouse}
        given = {field: value for field, value in overrides.items() if value is not None}
        return read_environment(cls, _ENVIRONMENT, environment, defaults | given)
