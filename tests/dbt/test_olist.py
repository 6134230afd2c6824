"""The marts of the real Olist download against facts known from elsewhere."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pytest

from clv.load import load
from clv.settings import Settings
from clv.transform import TransformReport, transform
from clv.warehouse import open_warehouse


@pytest.fixture(scope="module")
def olist(olist_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TransformReport, Path]:
    settings = Settings(home=tmp_path_factory.mktemp("olist"), threads=2)
    load(settings, olist_zip, source="olist")
    return transform(settings, as_of_date=None, horizon_days=90), open_warehouse(settings).path


def test_facts_of_olist(olist: tuple[TransformReport, Path]) -> None:
    report, path = olist
    assert date(2018, 8, 27) <= report.as_of_date <= date(2018, 8, 31)
    assert 94_800 < report.customer_count < 95_100
    with duckdb.connect(str(path), read_only=True) as connection:
        repeat_share, revenue = connection.execute(
            "select avg((purchase_count >= 2)::int), sum(amount_total) from marts.customers"
        ).fetchall()[0]
        returning = connection.execute(
            "select avg(is_return::int) from marts.customer_snapshots "
            "where is_return is not null and cutoff_date between '2018-01-01' and '2018-06-30' group by cutoff_date"
        ).fetchall()
        # Within half a year, straight from the purchases: the labels here are of 90 days.
        half_year = connection.execute("""
            select count(distinct later.customer_id) / count(distinct earlier.customer_id)
            from marts.purchases as earlier
            left join marts.purchases as later
                on earlier.customer_id = later.customer_id
                and later.purchase_date > date '2018-02-28' and later.purchase_date <= date '2018-02-28' + 180
            where earlier.purchase_date <= date '2018-02-28'
        """).fetchall()[0][0]
    assert repeat_share == pytest.approx(0.0219, abs=0.0005)
    assert 15_600_000 < revenue < 16_008_872.12
    assert returning
    assert all(0.005 <= share <= 0.008 for (share,) in returning)
    assert 0.0115 <= half_year <= 0.015
