"""Olist's tables as someone uploads them, brought to purchases by the code that loads a shop: ``clv load`` and dbt."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePath

import pandas as pd

from clv.dbt_runner import duckdb_target, run_dbt
from clv.errors import ClvError
from clv.home import Home
from clv.load import load
from clv.settings import Settings
from clv.sources.olist import TABLES
from clv.warehouse import DuckDBWarehouse

_MODEL = "int_orders__olist"
_MEMORY = "1GB"
_DAY = "purchase_date"


@dataclass(frozen=True)
class Orders:
    """What the tables hold.

    Attributes
    ----------
    purchases
        One row per order, all as text, with the columns the API takes.
    as_of_date
        The last day without a sparse tail behind it, as ``clv load`` finds it.
    notes
        What was accepted but is worth knowing.
    """

    purchases: pd.DataFrame
    as_of_date: date
    notes: tuple[str, ...]


def is_olist(names: Collection[str]) -> bool:
    """Whether files with these names are meant to be Olist's tables: a zip, or the tables themselves."""
    return any(name.lower().endswith(".zip") for name in names) or bool({table.file for table in TABLES} & set(names))


def read(files: Mapping[str, bytes], tell: Callable[[str], None] = lambda step: None) -> Orders:
    """Check the tables and bring them to purchases, in a warehouse that is gone afterwards.

    Parameters
    ----------
    files
        Content by name: the zip as Kaggle gives it, or the tables.
    tell
        Told each step.

    Raises
    ------
    InputError
        If the tables can't be used; names file, line and column.
    """
    with tempfile.TemporaryDirectory(prefix="clv-upload-") as folder:
        paths = [Path(folder) / PurePath(name).name for name in files]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_bytes(content)
        settings = Settings(home=Path(folder) / "home", memory_limit=_MEMORY)
        report = load(settings, paths, source="olist", progress=tell)
        tell("bringing orders, items, payments and reviews together")
        home = Home(settings.home)
        warehouse = DuckDBWarehouse(home.root / "warehouse.duckdb", settings.threads, settings.memory_limit)
        nodes, _ = run_dbt(
            settings,
            home,
            duckdb_target(warehouse),
            ["run", "--select", f"+{_MODEL}"],
            variables={"source": "olist", "as_of_date": str(report.as_of_date), "horizon_days": 1},
        )
        if failed := [node for node in nodes if node["status"] != "success"]:
            raise ClvError(f"dbt model {failed[0]['name']} failed: {failed[0]['message']}")
        orders = warehouse.query(
            f"select cast({_DAY} as varchar) as purchased_at, cast(columns(* exclude ({_DAY})) as varchar) "
            f"from intermediate.{_MODEL} order by {_DAY}, order_id"
        ).to_pandas()
    return Orders(orders, report.as_of_date, report.notes)
