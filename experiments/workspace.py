"""What every verb works with: settings, home, warehouse, contract, and the MLflow store once it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

from clv.home import Home
from clv.settings import Settings
from experiments.console import Console

if TYPE_CHECKING:  # imported where they are used: pandas, DuckDB and MLflow take seconds, `clv --help` should not
    from clv.contract import Contract
    from clv.ledger import Ledger
    from clv.snapshots import Shop, Snapshots
    from clv.warehouse import Warehouse
    from experiments.registry import Registry
    from experiments.tracking import Tracker


@dataclass(frozen=True)
class Workspace:
    """One home, opened.

    Attributes
    ----------
    project_run_id
        The run that ``mlflow run`` opened for this process, if any.
    """

    settings: Settings
    console: Console
    project_run_id: str | None = None

    @cached_property
    def home(self) -> Home:
        """The home folder, created if need be."""
        return Home(self.settings.home, self.settings.lock_wait_seconds).open()

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse; a home that can't be used or is of tomorrow is told before anything is read."""
        from clv.warehouse import open_warehouse

        self.home  # noqa: B018
        return open_warehouse(self.settings)

    @cached_property
    def contract(self) -> Contract:
        """The features of today's marts."""
        from clv.contract import read_contract

        return read_contract()

    @cached_property
    def tracker(self) -> Tracker:
        """The MLflow store, created if need be."""
        from experiments.tracking import Tracker

        self.home  # noqa: B018  (the sqlite store lives in it)
        return Tracker(self.settings, self.project_run_id).open()

    @cached_property
    def registry(self) -> Registry:
        """The model registry."""
        from experiments.registry import Registry

        return Registry(self.tracker, self.home)

    def snapshots(self, cutoffs: Sequence[date]) -> Snapshots:
        """Labelled snapshots to train and test on; of a very large shop those of a sample of its customers."""
        from clv.snapshots import MOST_ROWS, read_snapshots

        return read_snapshots(self.warehouse, self.contract, cutoffs, most=MOST_ROWS, seed=self.settings.seed)

    def ledger(self, shop: Shop) -> Ledger:
        """The shop's history as a whole, with the labels of its cutoffs."""
        from clv.ledger import read_ledger

        return read_ledger(self.warehouse, {shop.horizon_days: shop.cutoffs})

    def shop(self) -> Shop:
        """The shop as it is loaded and transformed now."""
        from clv.snapshots import read_shop

        return read_shop(self.warehouse)
