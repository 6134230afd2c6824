"""Reading snapshots: all of them, or those of a sample of the customers of a very large shop."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from clv.contract import Contract, Feature
from clv.errors import InputError
from clv.snapshots import read_shop, read_snapshots
from clv.warehouse import DuckDBWarehouse

CONTRACT = Contract((Feature("x", "number", "", nullable=False), Feature("c", "category", "", nullable=True)))
CUTOFFS = (date(2020, 1, 31), date(2020, 2, 29))


class Mart:
    """A warehouse with nothing but 4,000 customers at two cutoffs."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.connection.execute(
            "create schema marts; create table marts.customer_snapshots as select 'c' || i as customer_id, "
            "cast(d as date) as cutoff_date, i % 10 = 0 as is_return, 1.0 * i as future_value, 1.0 * i as x, "
            "case when i % 3 > 0 then 'k' || i % 3 end as c "
            "from range(4000) t(i), (values ('2020-01-31'), ('2020-02-29')) as days(d)"
        )

    def query(self, sql: str, parameters: Any = None) -> pa.Table:
        return self.connection.sql(sql).to_arrow_table()

    def batches(self, sql: str, parameters: Any = None) -> Iterator[pa.RecordBatch]:
        yield from self.query(sql).to_batches(max_chunksize=1000)


@pytest.fixture(scope="module")
def mart() -> Any:
    return Mart()


def test_what_fits_is_read_whole(mart: Any) -> None:
    found = read_snapshots(mart, CONTRACT, CUTOFFS, most=8000)
    assert len(found.frame) == 8000
    assert found.frame.equals(read_snapshots(mart, CONTRACT, CUTOFFS).frame)


def test_of_more_a_sample_of_customers_is_read_with_all_their_cutoffs(mart: Any) -> None:
    found = read_snapshots(mart, CONTRACT, CUTOFFS, most=2000, seed=7)
    assert abs(len(found.frame) - 2000) < 200
    by_cutoff = [set(found.at(cutoff).customer_id) for cutoff in CUTOFFS]
    assert by_cutoff[0] == by_cutoff[1]
    assert abs(found.is_return.mean() - 0.1) < 0.03
    whole = read_snapshots(mart, CONTRACT, CUTOFFS).frame
    kept = whole[whole["customer_id"].isin(by_cutoff[0])].reset_index(drop=True)
    assert found.frame[["customer_id", "cutoff_date", "x", "future_value"]].equals(
        kept[["customer_id", "cutoff_date", "x", "future_value"]]
    )
    assert found.frame["c"].astype(str).tolist() == kept["c"].astype(str).tolist()


def test_the_sample_is_the_seeds(mart: Any) -> None:
    first, again, other = (
        set(read_snapshots(mart, CONTRACT, CUTOFFS[:1], most=1000, seed=seed).customer_id) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_marts_of_another_version_are_told(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    with warehouse.connect(read_only=False) as connection:
        connection.execute("create schema raw; create table raw.shop (shop_id varchar); create schema marts")
        connection.execute("create table marts.cutoffs (cutoff_date date)")
        connection.execute("create table marts.customer_snapshots (customer_id varchar, cutoff_date date)")
    with pytest.raises(
        InputError, match=r"lack recency_days, .*: another version of clv built them; .*`clv transform`"
    ):
        read_shop(warehouse)
