"""Features of a large request, computed for some customers after the other."""

from datetime import date
from functools import partial
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from serving.features import FeatureStore, Snapshot
from serving.problems import Problem
from serving.purchases import stage_table

NAMES = ["recency_days", "purchase_count", "amount_total", "gap_mean_days", "first_category", "state"]
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
    stage = partial(stage_table, table=pa.table(log), as_of=date(2018, 6, 30), max_rows=1000)
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
