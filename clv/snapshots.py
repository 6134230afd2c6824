"""Reading the mart ``customer_snapshots``: customers as they looked at a cutoff, and what they spent after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from clv.contract import Contract, read_contract
from clv.errors import InputError
from clv.warehouse import Warehouse

MOST_ROWS = 1_000_000
"""Labelled snapshots that training and testing read of a shop; of a larger one a sample of its customers."""


@dataclass(frozen=True)
class Shop:
    """The shop that is loaded, and how its marts were built."""

    shop_id: str
    source: str
    currency: str
    fingerprint: str
    first_purchase_date: date
    as_of_date: date
    horizon_days: int
    snapshots: Mapping[date, int]
    """How many customers each labelled cutoff has, earliest first."""
    returners: Mapping[date, int]
    """How many of them returned."""
    customers: int
    """Customers with a purchase by the as-of day."""

    @property
    def cutoffs(self) -> tuple[date, ...]:
        """Labelled cutoffs, earliest first."""
        return tuple(self.returners)


@dataclass(frozen=True)
class Snapshots:
    """Snapshots of some cutoffs.

    Attributes
    ----------
    frame
        customer_id, cutoff_date, is_return, future_value and the features; numbers as float32, categories as such.
    """

    frame: pd.DataFrame

    def at(self, *cutoffs: date) -> Snapshots:
        """The snapshots of these cutoffs."""
        return Snapshots(self.frame[self.frame["cutoff_date"].isin(cutoffs)])

    @property
    def is_return(self) -> NDArray[np.bool_]:
        """Whether the customer bought in the window, shape (n,)."""
        return self.frame["is_return"].to_numpy(dtype=bool)

    @property
    def future_value(self) -> NDArray[np.float64]:
        """Net spend in the window, shape (n,)."""
        return self.frame["future_value"].to_numpy(dtype=np.float64)

    @property
    def customer_id(self) -> NDArray[np.object_]:
        """Customers, shape (n,)."""
        return self.frame["customer_id"].to_numpy(dtype=object)


def read_shop(warehouse: Warehouse) -> Shop:
    """Which shop is loaded and how its marts were built.

    Raises
    ------
    InputError
        If nothing is loaded or transformed yet, or by another version of clv.
    """
    if not warehouse.has_table("raw", "shop"):
        raise InputError("No shop is loaded; load one first with `clv load PATH`.")
    if not warehouse.has_table("marts", "cutoffs"):
        raise InputError("The marts are not built; build them first with `clv transform`.")
    had = warehouse.columns("marts", "customer_snapshots")
    if missing := [name for name in read_contract().names if name not in had]:
        raise InputError(
            f"The marts lack {', '.join(missing)}: another version of clv built them; build them anew with "
            "`clv transform`."
        )
    shop = warehouse.query("select * from raw.shop").to_pylist()[0]
    cutoffs = warehouse.query(
        """
        with returns as (
            select cutoff_date, count(*) as returner_count
            from marts.customer_snapshots
            where is_return
            group by cutoff_date
        )
        select cutoffs.*, coalesce(returns.returner_count, 0) as returner_count
        from marts.cutoffs as cutoffs
        left join returns on cutoffs.cutoff_date = returns.cutoff_date
        order by cutoffs.cutoff_date
        """
    ).to_pylist()
    first = warehouse.query("select min(purchase_date) as first_purchase_date from marts.purchases").to_pylist()[0]
    as_of_date = cutoffs[0]["as_of_date"]
    labelled = [cutoff for cutoff in cutoffs if cutoff["is_labelled"]]
    return Shop(
        shop_id=shop["shop_id"],
        source=shop["source"],
        currency=shop["currency"],
        fingerprint=shop["fingerprint"],
        first_purchase_date=first["first_purchase_date"],
        as_of_date=as_of_date,
        horizon_days=int(cutoffs[0]["horizon_days"]),
        snapshots={each["cutoff_date"]: int(each["customer_count"]) for each in labelled},
        returners={each["cutoff_date"]: int(each["returner_count"]) for each in labelled},
        customers=next(int(cutoff["customer_count"]) for cutoff in cutoffs if cutoff["cutoff_date"] == as_of_date),
    )


def read_snapshots(
    warehouse: Warehouse, contract: Contract, cutoffs: Sequence[date], *, most: int | None = None, seed: int = 0
) -> Snapshots:
    """Read the snapshots of `cutoffs` as Arrow, in a fixed order.

    Parameters
    ----------
    most
        If there are more rows than this, read a sample of the customers, each with all cutoffs, that has about as many.
    seed
        Of the sample: the same seed draws the same customers, whatever the cutoffs.
    """
    days = ", ".join(f"date '{cutoff.isoformat()}'" for cutoff in cutoffs)
    table, where = "marts.customer_snapshots", f"cutoff_date in ({days})"
    names = f"customer_id, cutoff_date, is_return, future_value, {', '.join(contract.names)}"
    if most is not None:
        [found] = warehouse.query(f"select count(*) as row_count from {table} where {where}").to_pylist()
        share = most / max(found["row_count"], 1)
        if share < 1:
            batches = warehouse.batches(f"select {names} from {table} where {where}")
            drawn = [_drawn(batch, share, seed) for batch in batches]
            frame = _to_frame(pa.Table.from_batches(drawn), contract)
            frame = frame.sort_values(["cutoff_date", "customer_id"], kind="stable", ignore_index=True)
            return Snapshots(frame)
    query = f"select {names} from {table} where {where} order by cutoff_date, customer_id"
    return Snapshots(_to_frame(warehouse.query(query), contract))


def _drawn(batch: pa.RecordBatch, share: float, seed: int) -> pa.RecordBatch:
    """The rows of a share of the customers, chosen by a hash of their ids."""
    ids = batch.column("customer_id").to_numpy(zero_copy_only=False)
    hashes = pd.util.hash_array(ids.astype(object), hash_key=f"{seed % 10**16:016d}", categorize=False)
    return batch.filter(pa.array(hashes < np.uint64(share * (2**64 - 1))))


def stream_snapshots(warehouse: Warehouse, contract: Contract, cutoff: date) -> Iterator[pd.DataFrame]:
    """Stream customer_id and features of one cutoff in batches."""
    batches = warehouse.batches(
        f"select customer_id, {', '.join(contract.names)} from marts.customer_snapshots "
        f"where cutoff_date = date '{cutoff.isoformat()}'"
    )
    for batch in batches:
        yield _to_frame(pa.Table.from_batches([batch]), contract)


def _to_frame(table: pa.Table, contract: Contract) -> pd.DataFrame:
    """Small in memory: XGBoost bins float32 anyway, and categories share their texts."""
    for feature in contract:
        position = table.schema.get_field_index(feature.name)
        column = table.column(position)
        typed = column.cast(pa.float32()) if feature.kind == "number" else column.cast(pa.string()).dictionary_encode()
        table = table.set_column(position, feature.name, typed)
    frame: pd.DataFrame = table.to_pandas(date_as_object=True)
    return frame
