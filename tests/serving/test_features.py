"""Features of a large request, computed for some customers after the other, in the memory there is."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from clv.settings import Settings
from serving.app import create_app
from serving.features import FeatureStore, Snapshot
from serving.problems import Problem
from serving.purchases import stage_json, stage_table

NAMES = ["recency_days", "purchase_count", "amount_total", "gap_mean_days", "first_category", "state"]
DAY = date(2018, 6, 30)
SIZE = 10**6
"""Of a large body: small ones are never cut."""


def random_log(seed: int) -> dict[str, list]:
    """Customers in mixed order; some have many purchases, some only returns, some know nothing of category or state."""
    draw = np.random.default_rng(seed)
    owners = np.minimum(draw.geometric(0.08, 400), 60)
    amounts = np.where(owners % 7 == 3, -5, draw.integers(1, 90, 400))
    months, days = draw.integers(1, 7, 400), draw.integers(1, 29, 400)
    return {
        "customer_id": [f"c{owner}" for owner in owners],
        "purchased_at": [f"2018-0{month}-{day:02d}" for month, day in zip(months, days, strict=True)],
        "amount": [f"{amount}.25" for amount in amounts],
        "category": [None if owner % 3 == 0 else f"kind {owner % 5}" for owner in owners],
        "state": [None] * 400,
    }


def snapshot(log: dict[str, list], sql: str, at_once: int) -> Snapshot:
    store = FeatureStore(threads=1, at_once=at_once)
    stage = partial(stage_table, table=pa.table(log), as_of=DAY, max_rows=1000)
    try:
        return store.snapshot(stage, sql, NAMES, SIZE)
    finally:
        store.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("at_once", [13, 150])
def test_a_request_in_parts_is_answered_as_one_piece(helpers: ModuleType, seed: int, at_once: int) -> None:
    log = random_log(seed)
    assert max(map(log["customer_id"].count, log["customer_id"])) > 13  # whole customers stay together
    whole, parts = (snapshot(log, helpers.FEATURES_SQL, each) for each in (SIZE, at_once))
    assert parts.customers.ids == whole.customers.ids
    assert parts.left_out == whole.left_out
    assert whole.left_out
    for name in NAMES:
        found, expected = parts.customers.columns[name], whole.customers.columns[name]
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_the_select_never_sees_more_than_a_part(helpers: ModuleType) -> None:
    """Each customer's `purchase_count` is made that of all it could see."""
    log = random_log(1)
    sql = helpers.FEATURES_SQL.replace("cast(count(*) as double)", "(select cast(count(*) as double) from purchases)")
    seen = snapshot(log, sql, 100).customers.columns["purchase_count"]
    assert 1 < len(set(seen)) <= 4
    assert set(snapshot(log, sql, 400).customers.columns["purchase_count"]) == {400.0}


def test_what_concerns_several_customers_is_checked_before_they_part(helpers: ModuleType) -> None:
    log = random_log(1) | {"order_id": [f"o{row}" for row in range(399)] + ["o0"]}
    assert log["customer_id"][0] != log["customer_id"][-1]
    for at_once in (SIZE, 13):
        with pytest.raises(Problem) as caught:
            snapshot(log, helpers.FEATURES_SQL, at_once)
        assert [(error.row, error.field) for error in caught.value.errors] == [(400, "order_id")]


def test_large_requests_at_once_are_answered_as_one_after_the_other(helpers: ModuleType) -> None:
    log = random_log(1)
    expected = snapshot(log, helpers.FEATURES_SQL, 150)
    store = FeatureStore(threads=2, at_once=150)
    stage = partial(stage_table, table=pa.table(log), as_of=DAY, max_rows=1000)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(store.snapshot, stage, helpers.FEATURES_SQL, NAMES, SIZE) for _ in range(40)]
    for one in asked:
        assert one.result().customers.ids == expected.customers.ids
    store.close()


def json_body(rows: int) -> bytes:
    """As many bytes a purchase as the limits of a request allow: 64 MiB of 200,000."""
    purchases = [
        {
            "customer_id": f"customer-{row // 2:032d}",
            "purchased_at": f"2018-0{row % 6 + 1}-01 10:00:00",
            "amount": 12.5,
            "order_id": f"{row:064d}",
            "category": "c" * 60,
            "payment_type": "credit",
            "state": "SP",
            "item_count": 1,
        }
        for row in range(rows)
    ]
    return json.dumps({"as_of": "2018-06-30", "purchases": purchases}).encode()


def test_a_body_takes_no_more_memory_than_is_promised(helpers: ModuleType, full_scale: bool) -> None:
    """A fifth of the largest body in a fifth of the memory that there is at least."""
    rows, limit = (200_000, "1GB") if full_scale else (40_000, "200MB")
    body = json_body(rows)
    store = FeatureStore(threads=1, memory_limit=limit)
    found = store.snapshot(partial(stage_json, body=body, max_rows=rows), helpers.FEATURES_SQL, NAMES, len(body))
    assert len(found.customers) == rows / 2
    store.close()


@pytest.mark.parametrize("limit", ["4MB", "12MB", "24MB", "40MB"])
def test_a_body_that_finds_no_memory_is_told_to_come_again(helpers: ModuleType, limit: str) -> None:
    """However far it comes."""
    body = json_body(20_000)
    store = FeatureStore(threads=1, memory_limit=limit)
    with pytest.raises(Problem, match="not enough memory") as caught:
        store.snapshot(partial(stage_json, body=body, max_rows=20_000), helpers.FEATURES_SQL, NAMES, len(body))
    assert caught.value.status == 503
    assert int(caught.value.headers["Retry-After"]) >= 1
    store.close()


@pytest.mark.parametrize("size", [100, SIZE])
def test_memory_that_python_does_not_find_is_told_as_well(helpers: ModuleType, size: int) -> None:
    def stage(workspace: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    store = FeatureStore(threads=1)
    with pytest.raises(Problem, match="not enough memory"):
        store.snapshot(stage, helpers.FEATURES_SQL, NAMES, size)
    store.close()


def test_large_requests_share_the_memory_the_settings_allow(helpers: ModuleType, registry) -> None:
    settings = registry.serving.model_copy(update={"common": Settings(memory_limit="300MB")})
    with create_app(settings).state.service.features._connection.cursor() as cursor:
        assert cursor.execute("select current_setting('memory_limit')").fetchone() == ("286.1 MiB",)


@pytest.mark.parametrize("size", [100, SIZE])
@pytest.mark.parametrize("column", ["amount", "freight_amount"])
def test_money_that_adds_up_to_too_much_is_refused(helpers: ModuleType, column: str, size: int) -> None:
    rows = 100_001
    sql = helpers.FEATURES_SQL.replace("sum(amount) as amount", f"cast(sum({column}) as decimal(18, 4)) as amount")
    log = {"customer_id": ["b", *["a"] * rows], "purchased_at": "2018-06-01", "amount": 1, "freight_amount": 1}
    table = pa.table({name: value if name == "customer_id" else [value] * (rows + 1) for name, value in log.items()})
    place = table.column_names.index(column)
    table = table.set_column(place, column, pa.array([999_999_999] * (rows + 1)))
    store = FeatureStore(threads=1)
    with pytest.raises(Problem, match="add up to more") as caught:
        store.snapshot(partial(stage_table, table=table, as_of=DAY, max_rows=rows + 1), sql, NAMES, size)
    assert [(error.row, error.field) for error in caught.value.errors] == [(2, column)]
    assert caught.value.status == 422
    store.close()
