"""The warehouse of the service, where it is BigQuery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.settings import ServingSettings

if TYPE_CHECKING:
    from clv.warehouse.bigquery import BigQueryWarehouse

SCHEME = "bigquery://"


def is_bigquery(settings: ServingSettings) -> bool:
    """Whether it is."""
    return settings.warehouse.startswith(SCHEME)


def open_bigquery(settings: ServingSettings) -> BigQueryWarehouse:
    """Open it; nothing is asked of it yet.

    Raises
    ------
    InputError
        If the address is not of the form that is expected.
    """
    from clv.warehouse.bigquery import BigQueryWarehouse  # Google's clients take a second to import

    return BigQueryWarehouse(settings.warehouse.removeprefix(SCHEME), settings.common)
