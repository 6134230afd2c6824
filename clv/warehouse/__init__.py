"""Where the shop's tables live: an embedded DuckDB file, or BigQuery."""

from __future__ import annotations

from pathlib import Path

from clv.errors import InputError
from clv.settings import Settings
from clv.warehouse.duckdb import DuckDBWarehouse
from clv.warehouse.protocol import PREDICTION_LOG, SCHEMAS, Warehouse

__all__ = ["PREDICTION_LOG", "SCHEMAS", "DuckDBWarehouse", "Warehouse", "open_warehouse"]


def open_warehouse(settings: Settings) -> Warehouse:
    """The warehouse that `settings` name; nothing is opened yet.

    Raises
    ------
    InputError
        If the address is not of a known kind.
    """
    kind, _, rest = settings.warehouse.partition("://")
    if kind == "duckdb" and rest.startswith("/") and len(rest) > 1:
        path = Path(rest[1:]).absolute()
        return DuckDBWarehouse(path, settings.threads, settings.memory_limit, settings.lock_wait_seconds)
    if kind == "bigquery":
        from clv.warehouse.bigquery import BigQueryWarehouse  # Google's clients take a second to import

        return BigQueryWarehouse(rest, settings)
    raise InputError(
        f"Warehouse {settings.warehouse!r} is not known; expected duckdb:///PATH or bigquery://PROJECT/DATASET."
    )
