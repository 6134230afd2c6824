"""A small Olist with every trap in it, as raw tables, and the dbt build of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import date, datetime, timedelta
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from clv.settings import Settings
from clv.transform import transform
from clv.warehouse import open_warehouse
from tests.sharing import made_once

Rows = list[dict[str, Any]]
Raw = dict[str, Rows]

AS_OF = date(2018, 6, 20)
HORIZON = 45

DDL = {
    "olist_customers": "customer_id varchar, customer_unique_id varchar, customer_zip_code_prefix varchar, "
    "customer_city varchar, customer_state varchar",
    "olist_orders": "order_id varchar, customer_id varchar, order_status varchar, order_purchase_timestamp timestamp, "
    "order_approved_at timestamp, order_delivered_carrier_date timestamp, order_delivered_customer_date timestamp, "
    "order_estimated_delivery_date timestamp",
    "olist_order_items": "order_id varchar, order_item_id int, product_id varchar, seller_id varchar, "
    "shipping_limit_date timestamp, price decimal(18,4), freight_value decimal(18,4)",
    "olist_order_payments": "order_id varchar, payment_sequential int, payment_type varchar, "
    "payment_installments int, payment_value decimal(18,4)",
    "olist_order_reviews": "review_id varchar, order_id varchar, review_score int, review_comment_title varchar, "
    "review_comment_message varchar, review_creation_date timestamp, review_answer_timestamp timestamp",
    "olist_products": "product_id varchar, product_category_name varchar, product_name_lenght double, "
    "product_description_lenght double, product_photos_qty double, product_weight_g double, product_length_cm double, "
    "product_height_cm double, product_width_cm double",
    "olist_sellers": "seller_id varchar, seller_zip_code_prefix varchar, seller_city varchar, seller_state varchar",
    "olist_category_translation": "product_category_name varchar, product_category_name_english varchar",
    "olist_geolocation": "geolocation_zip_code_prefix varchar, geolocation_lat double, geolocation_lng double, "
    "geolocation_city varchar, geolocation_state varchar",
    "shop": "shop_id varchar, source varchar, currency varchar, time_zone varchar, as_of_date date, "
    "first_purchase_date date, last_purchase_date date, customer_count bigint, order_count bigint, fingerprint varchar",
}


def make_raw(seed: int = 7, customers: int = 70) -> Raw:
    """Random orders: split orders, cancellations, missing payments, late and repeated reviews, late deliveries."""
    draw = random.Random(seed)
    raw: Raw = {table: [] for table in DDL}
    categories = {"brinquedos": "toys", "livros": "books", "pc_gamer": None, None: None}
    for number, portuguese in enumerate(categories):
        for part in range(3):
            raw["olist_products"].append({"product_id": f"p{number}{part}", "product_category_name": portuguese})
    for portuguese, english in categories.items():
        if english:
            raw["olist_category_translation"].append(
                {"product_category_name": portuguese, "product_category_name_english": english}
            )
    for number in range(4):
        raw["olist_sellers"].append({"seller_id": f"s{number}", "seller_state": "SP"})
    for person in range(customers):
        day = datetime(2017, 9, 1) + timedelta(days=draw.randrange(200))
        for _ in range(draw.choice([1, 1, 1, 2, 3, 5])):
            for _ in range(draw.choice([1, 1, 1, 2])):
                _add_order(raw, draw, person, day + timedelta(minutes=draw.randrange(24 * 60)))
            day += timedelta(days=draw.randrange(1, 60))
    _add_faithful(raw)
    days = [order["order_purchase_timestamp"].date() for order in raw["olist_orders"]]
    raw["shop"] = [
        {
            "shop_id": "shop",
            "source": "olist",
            "currency": "BRL",
            "time_zone": "America/Sao_Paulo",
            "as_of_date": AS_OF,
            "first_purchase_date": min(days),
            "last_purchase_date": max(days),
            "customer_count": customers + 1,
            "order_count": len(days),
            "fingerprint": "fingerprint",
        }
    ]
    return raw


def _add_order(raw: Raw, draw: random.Random, person: int, at: datetime) -> None:
    number = len(raw["olist_orders"])
    order = f"o{draw.randrange(16**6):06x}{number}"
    promised = at + timedelta(days=draw.randrange(5, 25))
    delivered = at + timedelta(days=draw.randrange(1, 40)) if draw.random() < 0.9 else None
    raw["olist_customers"].append(
        {
            "customer_id": f"c{number}",
            "customer_unique_id": f"{person:05d}",
            "customer_state": draw.choice(["SP", "RJ", "MG"]),
        }
    )
    raw["olist_orders"].append(
        {
            "order_id": order,
            "customer_id": f"c{number}",
            "order_status": draw.choice(["delivered"] * 8 + ["canceled", "unavailable", "shipped"]),
            "order_purchase_timestamp": at,
            "order_delivered_customer_date": delivered,
            "order_estimated_delivery_date": promised,
        }
    )
    for item in range(draw.choice([0, 1, 1, 1, 2, 3])):
        raw["olist_order_items"].append(
            {
                "order_id": order,
                "order_item_id": item + 1,
                "product_id": draw.choice(raw["olist_products"])["product_id"],
                "seller_id": f"s{draw.randrange(4)}",
                "price": draw.randrange(100, 20000) / 100,
                "freight_value": draw.randrange(0, 3000) / 100,
            }
        )
    for payment in range(draw.choice([0, 1, 1, 1, 1, 2])):
        raw["olist_order_payments"].append(
            {
                "order_id": order,
                "payment_sequential": payment + 1,
                "payment_type": draw.choice(["credit_card", "boleto", "voucher"]),
                "payment_installments": draw.randrange(1, 11),
                "payment_value": draw.choice([0, draw.randrange(1, 30000) / 100, draw.randrange(1, 30000) / 100]),
            }
        )
    for review in range(draw.choice([0, 1, 1, 1, 2])):
        created = at + timedelta(days=draw.randrange(1, 45))
        raw["olist_order_reviews"].append(
            {
                "review_id": f"r{draw.randrange(16**6):06x}{number}{review}",
                "order_id": order,
                "review_score": draw.randrange(1, 6),
                "review_creation_date": None if draw.random() < 0.05 else created,
                "review_answer_timestamp": None
                if draw.random() < 0.1
                else created + timedelta(hours=draw.randrange(0, 400)),
            }
        )


def _add_faithful(raw: Raw) -> None:
    """One who came more than a year before the last cutoffs: a late delivery, then a review, each of its own day."""
    delivery, review = datetime(2017, 5, 11, 12), datetime(2017, 5, 20, 12)
    for number, at in enumerate((delivery, review, datetime(2018, 5, 2, 12))):
        order = f"faithful{number}"
        raw["olist_customers"].append({"customer_id": order, "customer_unique_id": "faithful", "customer_state": "SP"})
        raw["olist_orders"].append(
            {
                "order_id": order,
                "customer_id": order,
                "order_status": "delivered" if at == delivery else "shipped",
                "order_purchase_timestamp": at,
                "order_delivered_customer_date": at + timedelta(days=9) if at == delivery else None,
                "order_estimated_delivery_date": at + timedelta(days=5),
            }
        )
        raw["olist_order_payments"].append(
            {
                "order_id": order,
                "payment_sequential": 1,
                "payment_type": "boleto",
                "payment_installments": 1,
                "payment_value": 10 + number,
            }
        )
    raw["olist_order_reviews"].append(
        {
            "review_id": "faithful",
            "order_id": "faithful1",
            "review_score": 2,
            "review_creation_date": review + timedelta(days=6),
            "review_answer_timestamp": review + timedelta(days=8),
        }
    )


def write_raw(path: Path, raw: Raw) -> None:
    """The raw schema, as ``clv load`` leaves it; the marts stay as they are."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("drop schema if exists raw cascade")
        connection.execute("create schema raw")
        for table, columns in DDL.items():
            connection.execute(f"create table raw.{table} ({columns})")
            if raw[table]:
                names = sorted({name for row in raw[table] for name in row})
                connection.register("rows", pa.table({name: [row.get(name) for row in raw[table]] for name in names}))
                connection.execute(f"insert into raw.{table} by name select * from rows")


def build_in(home: Path, tables: Raw, as_of: date) -> Path:
    """Raw tables and the marts that dbt makes of them, in a new home; the answer is the warehouse file."""
    settings = Settings(home=home, threads=2)
    path = open_warehouse(settings).path
    path.parent.mkdir(exist_ok=True)
    write_raw(path, tables)
    report = transform(settings, as_of_date=as_of, horizon_days=HORIZON)
    assert report.snapshot_count > 0
    return path


Write = Callable[[Path, Raw], None]
Build = Callable[[Raw, date], Path]


@pytest.fixture(scope="session")
def raw() -> Raw:
    return make_raw()


@pytest.fixture(scope="session")
def write() -> Write:
    """Put raw tables in the place of those in a warehouse file; its marts stay."""
    return write_raw


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Write raw tables, transform them, answer the warehouse file."""

    return lambda tables, as_of: build_in(tmp_path_factory.mktemp("home"), tables, as_of)


@pytest.fixture(scope="session")
def built(raw: Raw, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warehouse of the shop as it is; tests only look at it."""
    home = made_once(tmp_path_factory, "built", lambda folder: build_in(folder / "home", raw, AS_OF)) / "home"
    return open_warehouse(Settings(home=home)).path


Rebuild = Callable[[Path, date], None]


@pytest.fixture(scope="session")
def rebuild(built: Path) -> Rebuild:
    """Run the SQL of all models, as dbt ran it on an empty warehouse, on the raw tables of a file; no dbt needed."""
    nodes = json.loads((built.parent / "dbt" / "manifest.json").read_text())["nodes"]
    graph = {
        name: [parent for parent in node["depends_on"]["nodes"] if parent in nodes]
        for name, node in nodes.items()
        if node["resource_type"] == "model"
    }
    ordered = [nodes[name] for name in TopologicalSorter(graph).static_order()]

    def run(path: Path, as_of: date) -> None:
        with duckdb.connect(str(path)) as connection:
            for node in ordered:
                then = node["compiled_code"].replace(f"date '{AS_OF}'", f"date '{as_of}'")
                kind = "view" if node["config"]["materialized"] == "view" else "table"
                connection.execute(f"create schema if not exists {node['schema']}")
                connection.execute(f"create or replace {kind} {node['schema']}.{node['name']} as {then}")

    return run


@pytest.fixture(scope="session")
def serving_query(built: Path) -> str:
    """The SELECT that a model carries."""
    return (built.parent / "dbt" / "serving_features.sql").read_text()
