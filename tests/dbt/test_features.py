"""The marts against an independent implementation, and the proof that no feature knows the future."""

from __future__ import annotations

import copy
import math
import random
import zlib
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml

Rows = list[dict[str, Any]]
Raw = dict[str, Rows]
AS_OF = date(2018, 6, 20)
HORIZON = timedelta(days=45)
CUTOFF = date(2018, 2, 28)


def read(path: Path, query: str) -> Rows:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.sql(query).to_arrow_table().to_pylist()


def by_key(rows: Rows) -> dict[tuple[str, date], dict[str, Any]]:
    return {(row["customer_id"], row["cutoff_date"]): row for row in rows}


@pytest.fixture(scope="module")
def feature_names(repository: Path) -> list[str]:
    models = yaml.safe_load((repository / "dbt/models/marts/customer_snapshots.yml").read_text())["models"]
    return [column["name"] for column in models[0]["columns"] if column["config"]["meta"]["role"] == "feature"]


@pytest.fixture(scope="module")
def snapshots(built: Path) -> Rows:
    return read(built, "select * from marts.customer_snapshots")


# An independent implementation: plain Python over the raw rows, one customer and one cutoff at a time.


def first_known(rows: Rows, *keys: str) -> dict[str, Any]:
    """The first row in the order of the keys, nothing last."""
    return min(rows, key=lambda row: [(row[key] is None, row[key]) for key in keys], default=defaultdict(lambda: None))


def day(moment: datetime | None) -> date | None:
    return moment.date() if moment else None


def group(rows: Rows, key: str) -> dict[Any, Rows]:
    groups: dict[Any, Rows] = defaultdict(list)
    for row in rows:
        groups[row[key]].append(row)
    return groups


def python_orders(raw: Raw) -> dict[str, Rows]:
    """Orders that count, by person."""
    people = {row["customer_id"]: row for row in raw["olist_customers"]}
    english = {
        r["product_category_name"]: r["product_category_name_english"] for r in raw["olist_category_translation"]
    }
    category = {
        r["product_id"]: english.get(r["product_category_name"], r["product_category_name"])
        for r in raw["olist_products"]
    }
    items, payments = group(raw["olist_order_items"], "order_id"), group(raw["olist_order_payments"], "order_id")
    reviews = group(raw["olist_order_reviews"], "order_id")
    answer: dict[str, Rows] = defaultdict(list)
    for order in raw["olist_orders"]:
        if order["order_status"] in ("canceled", "unavailable"):
            continue
        basket, paid = items[order["order_id"]], payments[order["order_id"]]
        freight = sum(Decimal(str(item["freight_value"])) for item in basket)
        value = sum(Decimal(str(payment["payment_value"])) for payment in paid)
        if not paid:
            value = sum(Decimal(str(item["price"])) for item in basket) + freight
        dearest = min(basket, key=lambda item: (-item["price"], item["order_item_id"]), default=None)
        main = min(paid, key=lambda payment: (-payment["payment_value"], payment["payment_sequential"]), default=None)
        review = first_known(reviews[order["order_id"]], "review_creation_date", "review_answer_timestamp", "review_id")
        person = people[order["customer_id"]]
        answer[person["customer_unique_id"]].append(
            {
                "order_id": order["order_id"],
                "date": order["order_purchase_timestamp"].date(),
                "amount": Decimal(value),
                "freight": freight if basket else None,
                "items": len(basket) or None,
                "products": len({item["product_id"] for item in basket}) or None,
                "sellers": len({item["seller_id"] for item in basket}) or None,
                "categories": len({category[item["product_id"]] for item in basket} - {None}) if basket else None,
                "category": category[dearest["product_id"]] if dearest else None,
                "payment_type": main["payment_type"] if main else None,
                "instalments": main["payment_installments"] if main else None,
                "state": person["customer_state"],
                "promised": day(order["order_estimated_delivery_date"]),
                "delivered": day(order["order_delivered_customer_date"]),
                "created": day(review["review_creation_date"]),
                "answered": day(review["review_answer_timestamp"]),
                "score": review["review_score"],
            }
        )
    return answer


def total(values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def python_purchases(orders: Rows) -> Rows:
    """Purchases of one customer: their days with money paid, in order."""
    purchases = []
    for when, same_day in sorted(group(orders, "date").items()):
        lead = min(same_day, key=lambda order: (-order["amount"], order["order_id"]))
        delivery = first_known(same_day, "delivered", "order_id")
        review = first_known(same_day, "created", "order_id")
        amount = sum(order["amount"] for order in same_day)
        if amount > 0:
            purchases.append(
                {key: lead[key] for key in ("category", "payment_type", "instalments", "state")}
                | {
                    key: total([order[key] for order in same_day])
                    for key in ("items", "products", "sellers", "freight")
                }
                | {key: delivery[key] for key in ("delivered", "promised")}
                | {key: review[key] for key in ("created", "answered", "score")}
                | {"date": when, "amount": amount, "orders": len(same_day)}
                | {"categories": max((o["categories"] for o in same_day if o["categories"] is not None), default=None)}
            )
    return purchases


def mean(values: list[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None


def python_features(purchases: Rows, cutoff: date) -> dict[str, Any]:
    past = [purchase for purchase in purchases if purchase["date"] <= cutoff]
    first, last, count = past[0], past[-1], len(past)
    gaps = [(b["date"] - a["date"]).days for a, b in pairwise(past)]
    gap_mean = mean(gaps)
    recency = (cutoff - last["date"]).days
    arrived = [p for p in past if p["delivered"] and p["delivered"] <= cutoff]
    asked = [p for p in past if p["created"] and p["created"] <= cutoff]
    answered = [p for p in asked if p["answered"] and p["answered"] <= cutoff]
    features = {
        "recency_days": recency,
        "tenure_days": (cutoff - first["date"]).days,
        "purchase_count": count,
        "gap_mean_days": gap_mean,
        "gap_sd_days": math.sqrt(sum((g - gap_mean) ** 2 for g in gaps) / (len(gaps) - 1)) if count > 2 else None,
        "gap_ratio": recency / gap_mean if gap_mean else None,
        "amount_total": sum(p["amount"] for p in past),
        "amount_mean": mean([p["amount"] for p in past]),
        "amount_max": max(p["amount"] for p in past),
        "amount_first": first["amount"],
        "amount_last": last["amount"],
        "amount_trend": float(last["amount"]) - mean([p["amount"] for p in past[:-1]]) if count > 1 else None,
        "return_count": 0,
        "return_amount": 0,
        "order_count": sum(p["orders"] for p in past),
        "item_count_mean": mean([p["items"] for p in past]),
        "product_count_mean": mean([p["products"] for p in past]),
        "category_count_max": max((p["categories"] for p in past if p["categories"] is not None), default=None),
        "seller_count_mean": mean([p["sellers"] for p in past]),
        "first_category": first["category"],
        "last_category": last["category"],
        "first_payment_type": first["payment_type"],
        "first_instalment_count": first["instalments"],
        "first_freight_share": first["freight"] / first["amount"] if first["freight"] is not None else None,
        "first_state": first["state"],
        "first_weekday": first["date"].isoweekday(),
        "first_month": first["date"].month,
        "first_delivery_days": (first["delivered"] - first["date"]).days if first in arrived else None,
        "last_delivery_days": (last["delivered"] - last["date"]).days if last in arrived else None,
        "last_delay_days": (last["delivered"] - last["promised"]).days if last in arrived else None,
        "late_share": mean([p["delivered"] > p["promised"] for p in arrived]),
        "last_review_score": last["score"] if last in answered else None,
        "mean_review_score": mean([p["score"] for p in answered]),
        "answered_review_share": len(answered) / len(asked) if asked else None,
    }
    for window in (30, 90, 180, 365):
        recent = [p for p in past if p["date"] > cutoff - timedelta(days=window)]
        features[f"purchase_count_{window}d"] = len(recent)
        features[f"amount_{window}d"] = sum(p["amount"] for p in recent)
    return features


def test_marts_equal_an_independent_implementation(
    raw: Raw, built: Path, snapshots: Rows, feature_names: list[str]
) -> None:
    cutoffs = [row["cutoff_date"] for row in read(built, "select cutoff_date from marts.cutoffs")]
    assert len(cutoffs) >= 6
    expected = {}
    for customer, orders in python_orders(raw).items():
        purchases = python_purchases(orders)
        for cutoff in cutoffs:
            if purchases and purchases[0]["date"] <= cutoff:
                window = [p for p in purchases if cutoff < p["date"] <= cutoff + HORIZON]
                labels = {"is_return": bool(window), "future_value": float(sum(p["amount"] for p in window))}
                if cutoff + HORIZON > AS_OF:
                    labels = dict.fromkeys(labels)
                expected[customer, cutoff] = python_features(purchases, cutoff) | labels
    found = by_key(snapshots)
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert set(row) == {*feature_names, "is_return", "future_value"}
        for name, value in row.items():
            if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
                assert found[key][name] == pytest.approx(float(value), rel=1e-12, abs=1e-12), (key, name)
            else:
                assert found[key][name] == value, (key, name)


def test_the_traps_are_in_the_data(raw: Raw, snapshots: Rows) -> None:
    orders = [order for person in python_orders(raw).values() for order in person]
    assert any(order["amount"] == 0 for order in orders)
    assert any(order["delivered"] and order["delivered"] > AS_OF for order in orders)
    assert any(order["created"] and order["answered"] and order["created"] < order["answered"] for order in orders)
    long_ago = [order for order in orders if order["date"] < AS_OF - timedelta(days=365)]
    assert any(order["delivered"] and not order["created"] for order in long_ago)
    assert any(order["answered"] and not order["delivered"] for order in long_ago)
    assert any(row["order_count"] > row["purchase_count"] for row in snapshots)
    assert any(row["gap_sd_days"] for row in snapshots)
    assert {row["first_category"] for row in snapshots} == {"toys", "books", "pc_gamer", None}
    assert any(row["is_return"] for row in snapshots)


# The leak proof.


def without_future(raw: Raw, cutoff: date) -> Raw:
    """The raw tables as they were on the evening of the cutoff: later rows deleted, later facts not yet there."""
    past = copy.deepcopy(raw)
    past["olist_orders"] = [row for row in past["olist_orders"] if row["order_purchase_timestamp"].date() <= cutoff]
    for order in past["olist_orders"]:
        if (delivered := order["order_delivered_customer_date"]) and delivered.date() > cutoff:
            order["order_delivered_customer_date"] = None
    kept = {row["order_id"] for row in past["olist_orders"]}
    known = {row["customer_id"] for row in past["olist_orders"]}
    for table in ("olist_order_items", "olist_order_payments", "olist_order_reviews"):
        past[table] = [row for row in past[table] if row["order_id"] in kept]
    past["olist_customers"] = [row for row in past["olist_customers"] if row["customer_id"] in known]
    past["olist_order_reviews"] = [
        row
        for row in past["olist_order_reviews"]
        if row["review_creation_date"] is None or row["review_creation_date"].date() <= cutoff
    ]
    for review in past["olist_order_reviews"]:
        if (answered := review["review_answer_timestamp"]) and answered.date() > cutoff:
            review |= {"review_answer_timestamp": None, "review_score": None}
    past["shop"][0]["last_purchase_date"] = cutoff
    past["shop"][0]["as_of_date"] = cutoff
    return past


def with_corrupt_future(raw: Raw, cutoff: date, seed: int = 3) -> Raw:
    """The raw tables with everything dated after the cutoff replaced by nonsense that is also after the cutoff."""
    draw = random.Random(seed)
    future = copy.deepcopy(raw)

    def later() -> datetime:
        return datetime.combine(cutoff, datetime.min.time()) + timedelta(days=draw.randrange(1, 300))

    late = set()
    for order in future["olist_orders"]:
        if order["order_purchase_timestamp"].date() > cutoff:
            late.add(order["order_id"])
            order |= {"order_purchase_timestamp": later(), "order_estimated_delivery_date": later()}
        if (delivered := order["order_delivered_customer_date"]) and delivered.date() > cutoff:
            order["order_delivered_customer_date"] = draw.choice([None, later()])
    for payment in future["olist_order_payments"]:
        if payment["order_id"] in late:
            payment |= {
                "payment_value": draw.randrange(1, 9999),
                "payment_type": "debit_card",
                "payment_installments": 24,
            }
    for review in future["olist_order_reviews"]:
        if (created := review["review_creation_date"]) and created.date() > cutoff:
            review |= {"review_creation_date": later(), "review_score": draw.randrange(1, 6)}
            review["review_answer_timestamp"] = draw.choice([None, later()])
        elif (answered := review["review_answer_timestamp"]) and answered.date() > cutoff:
            review |= {"review_answer_timestamp": later(), "review_score": draw.randrange(1, 6)}
    return future


def features_up_to(path: Path, cutoff: date, names: list[str]) -> Rows:
    return read(
        path,
        f"select customer_id, cutoff_date, {', '.join(names)} from marts.customer_snapshots "
        f"where cutoff_date <= '{cutoff}' order by 1, 2",
    )


@pytest.mark.full_scale("a dbt build of its own: `make check` runs it")
def test_features_are_the_same_when_the_future_is_deleted(
    raw: Raw, build: Any, built: Path, feature_names: list[str]
) -> None:
    """By dbt itself; the next test does it for every cutoff, with the SQL that dbt has run."""
    past = build(without_future(raw, CUTOFF), CUTOFF)
    expected = by_key(features_up_to(built, CUTOFF, feature_names))
    found = by_key(features_up_to(past, CUTOFF, feature_names))
    shared = found.keys() & expected.keys()
    assert {key for key in shared if key[1] == CUTOFF}
    assert found.keys() - shared == {key for key in found if key[1] == CUTOFF - HORIZON}, "only D - H is a new cutoff"
    assert {key: found[key] for key in shared} == {key: expected[key] for key in shared}


def test_every_snapshot_is_the_same_without_its_future(
    raw: Raw, built: Path, rebuild: Any, feature_names: list[str], write: Any, tmp_path: Path
) -> None:
    """All rows and facts later than the cutoff deleted; or replaced by others that are later, too.

    A payment has no date in Olist's tables: it belongs to its order, so a later payment is one of a later order.
    """
    cutoffs = [row["cutoff_date"] for row in read(built, "select cutoff_date from marts.cutoffs order by 1")]
    assert len(cutoffs) >= 6
    columns = f"select customer_id, {', '.join(feature_names)} from marts.customer_snapshots"
    sums = set()
    for cutoff in cutoffs:
        query = f"{columns} where cutoff_date = '{cutoff}' order by 1"
        expected = read(built, query)
        assert expected
        path = tmp_path / f"{cutoff}.duckdb"
        write(path, without_future(raw, cutoff))
        rebuild(path, cutoff)
        assert read(path, query) == expected, cutoff
        write(path, with_corrupt_future(raw, cutoff))
        rebuild(path, AS_OF)
        assert read(path, query) == expected, cutoff
        sums.add(read(path, "select sum(future_value) as total from marts.customer_snapshots")[0]["total"])
    assert len(sums) > len(cutoffs) - 2, "the corruption does reach the labels"


# The SELECT that travels inside the model.


def serve(query: str, purchases: pa.Table, cutoffs: list[date]) -> Rows:
    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as connection:
        connection.register("purchases", purchases)
        connection.register("cutoffs", pa.table({"cutoff_date": cutoffs}))
        return connection.sql(query).to_arrow_table().to_pylist()


@pytest.fixture(scope="module")
def orders(built: Path) -> pa.Table:
    """What a caller of the API would send: orders, with timestamps and double amounts."""
    with duckdb.connect(str(built), read_only=True) as connection:
        return connection.sql(
            "select * exclude (purchase_date) "
            "replace (amount::double as amount, freight_amount::double as freight_amount), "
            f"purchase_date::timestamp + interval 13 hour as purchased_at from intermediate.int_orders__olist "
            f"where purchase_date <= '{AS_OF}'"
        ).to_arrow_table()


def test_serving_equals_the_marts(
    serving_query: str, orders: pa.Table, snapshots: Rows, feature_names: list[str]
) -> None:
    served = serve(serving_query, orders, sorted({row["cutoff_date"] for row in snapshots}))
    assert set(served[0]) == {"customer_id", "cutoff_date", *feature_names}
    expected = {key: {name: row[name] for name in served[0]} for key, row in by_key(snapshots).items()}
    assert by_key(served) == expected


def test_serving_ignores_the_order_of_the_rows(serving_query: str, orders: pa.Table) -> None:
    shuffled = list(range(len(orders)))
    random.Random(1).shuffle(shuffled)
    assert by_key(serve(serving_query, orders.take(shuffled), [AS_OF])) == by_key(serve(serving_query, orders, [AS_OF]))


def test_serving_needs_no_other_customers(serving_query: str, orders: pa.Table) -> None:
    """So that a large request may be answered in parts."""
    part = pa.array([zlib.crc32(customer.encode()) % 3 for customer in orders["customer_id"].to_pylist()])
    apart = [serve(serving_query, orders.filter(pc.equal(part, number)), [AS_OF]) for number in range(3)]
    assert all(apart)
    assert by_key([row for rows in apart for row in rows]) == by_key(serve(serving_query, orders, [AS_OF]))


def test_serving_never_knows_the_future(serving_query: str, orders: pa.Table) -> None:
    """On any day: as if later orders did not exist."""
    start = date(2017, 11, 1)
    for days in range(0, 220, 31):
        cutoff = start + timedelta(days=days)
        past = orders.filter(
            pc.less(orders["purchased_at"], datetime.combine(cutoff + timedelta(days=1), datetime.min.time()))
        )
        assert by_key(serve(serving_query, past, [cutoff])) == by_key(serve(serving_query, orders, [cutoff]))


def test_serving_takes_a_bare_log(serving_query: str, orders: pa.Table) -> None:
    """Everything a transaction log lacks may be null, the order id too."""
    wanted = ["customer_id", "purchased_at", "amount"]
    types = {field.name: field.type for field in orders.schema}
    nulls = {name: pa.nulls(3, kind) for name, kind in types.items() if name not in wanted}
    moments = [datetime(2018, 1, 1, 10), datetime(2018, 1, 1, 11), datetime(2018, 1, 5)]
    log = pa.table({"customer_id": ["a", "a", "b"], "purchased_at": moments, "amount": [10.0, -4.0, -1.0]} | nulls)
    (only,) = serve(serving_query, log, [date(2018, 1, 31)])
    assert only["customer_id"] == "a"
    assert (only["amount_total"], only["return_amount"], only["order_count"]) == (6, 4, 2)
    assert only["first_state"] is None
    assert only["late_share"] is None
