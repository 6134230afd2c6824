"""Settings of the service; the environment is read here, at the border, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from clv.errors import InputError
from clv.settings import Settings

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
        How often the registry is asked whether another version stands behind the URI.
    max_rows, max_purchase_rows
        Most customers in one ``POST /predict``, most purchases in one ``POST /predict/purchases``.
    max_body_bytes, max_purchases_body_bytes
        Largest bodies of the two.
    api_key
        If set, callers must send it in the header ``X-API-Key``.
    threads
        Large requests worked on at once, and DuckDB's threads; small ones never wait for them.
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
    threads: int = Field(default=2, ge=1)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **overrides: Any) -> ServingSettings:
        """Read the settings from `environment`; `overrides` that are not None win.

        Without ``MLFLOW_TRACKING_URI`` the registry is the one in ``CLV_HOME``.

        Raises
        ------
        InputError
            If a value is of the wrong type or out of range; names the variable.
        """
        values: dict[str, Any] = {
            field: environment[name] for name, field in _ENVIRONMENT.items() if environment.get(name)
        }
        values |= {field: value for field, value in overrides.items() if value is not None}
        if "tracking_uri" not in values:
            values["tracking_uri"] = Settings.from_environment(environment).tracking_uri
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0]) if first["loc"] else "settings"
            name = next((n for n, f in _ENVIRONMENT.items() if f == field), field)
            raise InputError(f"Setting {name} = {first['input']!r}: {first['msg']}; correct or unset it.") from None
