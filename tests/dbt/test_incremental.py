"""Only the snapshots that change are built anew, and what comes out equals a full rebuild."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from clv.settings import Settings
from clv.transform import TransformReport, transform

Rows = list[dict[str, Any]]
Raw = dict[str, Rows]

AS_OF = date(2018, 6, 20)
NEXT_DAY = AS_OF + timedelta(days=1)
HORIZON = timedelta(days=45)
OLD = date(2018, 1, 10)
"""Orders of this day are corrected later."""


MARTS = {
    "customer_snapshots": "customer_id, cutoff_date",
    "customers": "customer_id",
    "cutoffs": "cutoff_date",
    "purchases": "customer_id, purchase_date",
}


def rows(path: Path) -> dict[str, Rows]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return {
            mart: connection.sql(f"select * from marts.{mart} order by {key}").to_arrow_table().to_pylist()
            for mart, key in MARTS.items()
        }


def add_day(raw: Raw) -> Raw:
    """One more day: new orders, among them those of a known customer, and news of old ones that arrived on that day."""
    later = copy.deepcopy(raw)
    noon = datetime.combine(NEXT_DAY, datetime.min.time()) + timedelta(hours=12)
    for number, person in enumerate(("00001", "newcomer")):
        later["olist_customers"].append(
            {"customer_id": f"new{number}", "customer_unique_id": person, "customer_state": "SP"}
        )
        later["olist_orders"].append(
            {
                "order_id": f"new{number}",
                "customer_id": f"new{number}",
                "order_status": "approved",
                "order_purchase_timestamp": noon,
            }
        )
        later["olist_order_payments"].append(
            {
                "order_id": f"new{number}",
                "payment_sequential": 1,
                "payment_type": "boleto",
                "payment_installments": 1,
                "payment_value": 20 + number,
            }
        )
    old = next(order for order in later["olist_orders"] if order["order_purchase_timestamp"].date() <= OLD)
    late = next(
        order
        for order in later["olist_orders"]
        if order["order_delivered_customer_date"] is None and order["order_status"] == "delivered"
    )
    late["order_delivered_customer_date"] = noon
    later["olist_order_reviews"].append(
        {
            "review_id": "late",
            "order_id": old["order_id"],
            "review_score": 1,
            "review_creation_date": noon,
            "review_answer_timestamp": noon,
        }
    )
    later["shop"][0] |= {"as_of_date": NEXT_DAY, "last_purchase_date": NEXT_DAY}
    return later


def correct_an_old_order(raw: Raw) -> tuple[Raw, date]:
    """Another amount for one order of the past; also answers the day of that order."""
    corrected = copy.deepcopy(raw)
    days = {
        order["order_id"]: order["order_purchase_timestamp"].date()
        for order in corrected["olist_orders"]
        if order["order_status"] == "delivered"
    }
    payment = next(
        row
        for row in corrected["olist_order_payments"]
        if row["payment_value"] > 0
        and days.get(row["order_id"], AS_OF) <= OLD
        and days[row["order_id"]] > OLD - HORIZON
    )
    payment["payment_value"] += 1
    return corrected, days[payment["order_id"]]


@pytest.fixture(scope="module")
def steps(
    raw: Raw, built: Path, write: Callable[[Path, Raw], None], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[TransformReport, dict[str, Rows]]]:
    """The shop a day later; then with an old order corrected."""
    home = tmp_path_factory.mktemp("incremental") / "home"
    shutil.copytree(built.parent, home)
    settings, path = Settings(home=home, threads=2), home / built.name

    def step(tables: Raw) -> tuple[TransformReport, dict[str, Rows]]:
        write(path, tables)
        report = transform(settings, as_of_date=NEXT_DAY, horizon_days=HORIZON.days)
        return report, rows(path)

    later = add_day(raw)
    corrected, _ = correct_an_old_order(later)
    return {"day": step(later), "correction": step(corrected)}


def test_one_more_day_leaves_old_snapshots_alone(
    built: Path, steps: dict[str, tuple[TransformReport, dict[str, Rows]]]
) -> None:
    report, after = steps["day"]
    assert report.built == (NEXT_DAY - HORIZON, NEXT_DAY)
    assert report.dropped == (AS_OF - HORIZON, AS_OF)
    kept = set(report.cutoffs) - set(report.built)
    assert len(kept) >= 4
    before = [row for row in rows(built)["customer_snapshots"] if row["cutoff_date"] in kept]
    assert [row for row in after["customer_snapshots"] if row["cutoff_date"] in kept] == before


def test_a_corrected_old_order_rebuilds_what_knows_it_and_what_predicted_it(
    raw: Raw, steps: dict[str, tuple[TransformReport, dict[str, Rows]]]
) -> None:
    report, _ = steps["correction"]
    _, day = correct_an_old_order(raw)
    assert report.built == tuple(cutoff for cutoff in report.cutoffs if cutoff + HORIZON >= day)
    assert 0 < len(report.built) < len(report.cutoffs)
    assert report.dropped == ()


def test_the_result_equals_a_full_rebuild(
    raw: Raw,
    steps: dict[str, tuple[TransformReport, dict[str, Rows]]],
    write: Callable[[Path, Raw], None],
    rebuild: Callable[[Path, date], None],
    tmp_path: Path,
) -> None:
    path = tmp_path / "anew.duckdb"
    write(path, correct_an_old_order(add_day(raw))[0])
    rebuild(path, NEXT_DAY)
    assert rows(path) == steps["correction"][1]
