"""One frozen settings object; the environment is read here, at the border, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clv.errors import InputError
from clv.machine import usable_cores, usable_memory

Kind = TypeVar("Kind", bound=BaseModel)

_ENVIRONMENT = {
    "CLV_HOME": "home",
    "CLV_WAREHOUSE": "warehouse",
    "MLFLOW_TRACKING_URI": "tracking_uri",
    "CLV_SEED": "seed",
    "CLV_THREADS": "threads",
    "CLV_MEMORY_LIMIT": "memory_limit",
    "CLV_LOCK_WAIT_SECONDS": "lock_wait_seconds",
    "CLV_MAX_NULL_SHARE": "max_null_share",
    "CLV_BIGQUERY_LOCATION": "bigquery_location",
    "CLV_BIGQUERY_MAXIMUM_BYTES_BILLED": "maximum_bytes_billed",
    "BIGQUERY_EMULATOR_HOST": "bigquery_emulator_host",
    "BIGQUERY_STORAGE_EMULATOR_HOST": "bigquery_storage_emulator_host",
}


def default_memory_limit() -> str:
    """A quarter of the memory this process may use, for others live on the machine too; at least 1 GB, at most 6."""
    return f"{min(max(usable_memory() // 4, 10**9), 6 * 10**9) // 10**6}MB"


class Settings(BaseModel):
    """Everything that can be set from outside.

    Attributes
    ----------
    home
        Folder of all state (warehouse file, MLflow store, artifacts, predictions); absolute.
    warehouse
        ``duckdb:///PATH`` or ``bigquery://PROJECT/DATASET``; the file ``warehouse.duckdb`` in the home by default.
    tracking_uri
        MLflow tracking and registry store; a sqlite file in the home by default.
    seed
        Seed of every random draw.
    threads
        Threads for DuckDB, dbt and XGBoost; 0 becomes one per core that this process may use.
    memory_limit
        DuckDB's memory limit, such as ``2GB``; beyond it DuckDB spills to disk. By default a quarter of the machine's
        (or container's) memory, at least 1 GB and at most 6.
    lock_wait_seconds
        How long a second writer waits for the first.
    max_null_share
        Share of rows without customer or date that ``clv load`` drops and reports; above it the file is refused.
    bigquery_location
        Where ``clv setup-bigquery`` creates the datasets.
    maximum_bytes_billed
        A BigQuery query that would bill more is refused before it runs.
    bigquery_emulator_host, bigquery_storage_emulator_host
        Addresses (``http://HOST:PORT`` and ``HOST:PORT``) of a local stand-in for BigQuery, which asks for no
        credentials; empty means Google's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Path(".clv")
    warehouse: str = ""
    tracking_uri: str = ""
    seed: int = Field(default=42, ge=0)
    threads: int = Field(default=0, ge=0)
    memory_limit: str = Field(default_factory=default_memory_limit, pattern=r"^\d+(\.\d+)?\s?[KMGT]i?B$")
    lock_wait_seconds: float = Field(default=60, ge=0)
    max_null_share: float = Field(default=0.01, ge=0, le=1)
    bigquery_location: str = Field(default="US", pattern=r"^[A-Za-z0-9-]+$")
    maximum_bytes_billed: int = Field(default=10_000_000_000, ge=1)
    bigquery_emulator_host: str = ""
    bigquery_storage_emulator_host: str = ""

    def model_post_init(self, context: Any) -> None:
        """Fill in what depends on the home, made absolute so that a later ``chdir`` changes nothing."""
        home = self.home.expanduser().absolute()
        object.__setattr__(self, "home", home)
        object.__setattr__(self, "warehouse", self.warehouse or f"duckdb:///{home / 'warehouse.duckdb'}")
        object.__setattr__(self, "threads", self.threads or usable_cores())
        object.__setattr__(self, "tracking_uri", self.tracking_uri or f"sqlite:///{home / 'mlflow.db'}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **overrides: Any) -> Settings:
        """Read the settings from `environment`; `overrides` that are not None win.

        Raises
        ------
        InputError
            If a value is of the wrong type or out of range; names the variable.
        """
        return read_environment(cls, _ENVIRONMENT, environment, overrides)


def read_environment(
    kind: type[Kind], fields: Mapping[str, str], environment: Mapping[str, str], overrides: Mapping[str, Any]
) -> Kind:
    """Settings of some kind from the variables of `environment` that `fields` knows; other `overrides` than None win.

    Raises
    ------
    InputError
        If a value is of the wrong type or out of range; names the variable.
    """
    values: dict[str, Any] = {field: environment[name] for name, field in fields.items() if environment.get(name)}
    values |= {field: value for field, value in overrides.items() if value is not None}
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else "settings"
        name = next((n for n, f in fields.items() if f == field), field)
        raise InputError(f"Setting {name} = {first['input']!r}: {first['msg']}; correct or unset it.") from None
