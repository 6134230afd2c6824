"""The written files: same bytes, sound keys, nothing from the future, all or nothing."""

import hashlib
import re
import tracemalloc
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from clv.errors import InputError
from clv.synth import Shop, oracle, read_orders, write_shop
from clv.synth.oracle import COVARIATES

COLUMNS = {
    "olist_customers": "customer_id customer_unique_id customer_zip_code_prefix customer_city customer_state",
    "olist_orders": "order_id customer_id order_status order_purchase_timestamp order_approved_at "
    "order_delivered_carrier_date order_delivered_customer_date order_estimated_delivery_date",
    "olist_order_items": "order_id order_item_id product_id seller_id shipping_limit_date price freight_value",
    "olist_order_payments": "order_id payment_sequential payment_type payment_installments payment_value",
    "olist_order_reviews": "review_id order_id review_score review_comment_title review_comment_message "
    "review_creation_date review_answer_timestamp",
    "olist_products": "product_id product_category_name product_name_lenght product_description_lenght "
    "product_photos_qty product_weight_g product_length_cm product_height_cm product_width_cm",
    "olist_sellers": "seller_id seller_zip_code_prefix seller_city seller_state",
}
END = pd.Timestamp("2018-09-01")


@pytest.fixture(scope="module")
def olist_shop(tmp_path_factory):
    return write_shop(tmp_path_factory.mktemp("synth") / "olist", customers=4_000, repeat_rate=0.3, seed=7)


@pytest.fixture(scope="module")
def log_shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth") / "log"
    return write_shop(folder, customers=4_000, repeat_rate=0.3, seed=7, shape="transactions")


@pytest.fixture(scope="module")
def frames(olist_shop):
    return {name: pd.read_csv(olist_shop.data / f"{name}_dataset.csv", dtype=str) for name in COLUMNS}


def digests(summary):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in summary.files}


@pytest.mark.parametrize("shape", ["olist", "transactions"])
def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path, shape):
    def written(name, seed):
        return digests(write_shop(tmp_path / name, customers=300, seed=seed, shape=shape))

    first = written("a", 1)
    assert written("b", 1) == first
    other = written("c", 2)
    assert {name for name in first if first[name] == other[name]} <= {"product_category_name_translation.csv"}


def test_olist_files_have_kaggles_names_and_headers(olist_shop, frames):
    names = {path.name for path in olist_shop.data.iterdir()}
    assert names == {f"{name}_dataset.csv" for name in COLUMNS} | {"product_category_name_translation.csv"}
    assert {name: " ".join(frame.columns) for name, frame in frames.items()} == COLUMNS
    assert {path.parent.name for path in olist_shop.files} == {"shop", "truth"}


def test_keys_are_unique_and_found(olist_shop, frames):
    orders, items, payments = (frames[f"olist_{name}"] for name in ("orders", "order_items", "order_payments"))
    customers, reviews = frames["olist_customers"], frames["olist_order_reviews"]
    products, sellers = frames["olist_products"], frames["olist_sellers"]
    translation = pd.read_csv(olist_shop.data / "product_category_name_translation.csv")
    for column in (orders["order_id"], orders["customer_id"], customers["customer_id"], reviews["review_id"],
                   products["product_id"], sellers["seller_id"]):  # fmt: skip
        assert column.is_unique
        assert column.map(re.compile("[0-9a-f]{32}").fullmatch).all()
    assert not items.duplicated(["order_id", "order_item_id"]).any()
    assert not payments.duplicated(["order_id", "payment_sequential"]).any()
    assert set(orders["customer_id"]) == set(customers["customer_id"])
    assert set(payments["order_id"]) == set(orders["order_id"])
    assert set(items["order_id"]) == set(orders.loc[orders["order_status"] != "unavailable", "order_id"])
    assert set(reviews["order_id"]) < set(orders["order_id"])
    assert set(items["product_id"]) <= set(products["product_id"])
    assert set(items["seller_id"]) <= set(sellers["seller_id"])
    assert set(products["product_category_name"]) == set(translation["product_category_name"])
    assert customers["customer_zip_code_prefix"].str.fullmatch(r"\d{5}").all()
    assert len(orders) == olist_shop.orders


def test_payments_are_items_and_freight(frames):
    items = frames["olist_order_items"].astype({"price": float, "freight_value": float})
    assert (items["price"] > 0).all()
    paid = frames["olist_order_payments"].astype({"payment_value": float}).groupby("order_id")["payment_value"].sum()
    goods = (items["price"] + items["freight_value"]).groupby(items["order_id"]).sum()
    assert (paid > 0).all()
    np.testing.assert_allclose(paid[goods.index], goods, atol=0.005)


def test_dates_follow_each_other_and_stop_at_the_end(frames):
    orders = frames["olist_orders"]
    steps = [
        "order_purchase_timestamp",
        "order_approved_at",
        "order_delivered_carrier_date",
        "order_delivered_customer_date",
    ]
    times = orders[steps].apply(pd.to_datetime)
    assert times["order_purchase_timestamp"].min() >= pd.Timestamp("2016-10-01")
    assert (times.max() < END).all()
    for earlier, later in pairwise(steps):
        assert (times[later].dropna() >= times[earlier][times[later].notna()]).all()
    assert (orders["order_status"] == "delivered").equals(times["order_delivered_customer_date"].notna())
    assert orders["order_status"].isin(["canceled", "unavailable"]).mean() == pytest.approx(0.01, abs=0.006)
    reviews = frames["olist_order_reviews"].merge(orders, on="order_id")
    created, answered = (
        pd.to_datetime(reviews["review_creation_date"]),
        pd.to_datetime(reviews["review_answer_timestamp"]),
    )
    assert created.max() < END
    assert answered.max() < END
    assert (created > pd.to_datetime(reviews["order_delivered_customer_date"])).all()
    assert (answered.dropna() > created[answered.notna()]).all()


def test_truth_is_the_oracle_of_the_files(olist_shop, log_shop):
    for summary in (olist_shop, log_shop):
        truth = pd.read_parquet(summary.truth / "customers.parquet").set_index("customer_id")
        shop = Shop.load(summary.truth / "shop.json")
        assert shop == summary.shop
        orders = read_orders(summary.truth.parent)
        assert set(COVARIATES) <= set(orders) or summary is log_shop
        again = oracle(shop, orders, shop.end, 90).set_index("customer_id").loc[truth.index]
        np.testing.assert_allclose(again["expected_value"], truth["expected_value"], rtol=1e-9)
        np.testing.assert_allclose(again["p_return"], truth["p_return"], rtol=1e-9)
        assert len(truth) == summary.customers == 4_000
        assert (truth["returned"] == (truth["future_value"] > 0)).all()
        assert set(truth["as_of_date"]) == {date(2018, 8, 31)}
        days = orders.assign(day=orders["purchased_at"].dt.date).groupby("customer_id")["day"].nunique()
        assert summary.repeat_rate == (days > 1).mean() == pytest.approx(0.3, rel=0.1)


def test_both_shapes_are_the_same_shop(olist_shop, log_shop):
    """The log only shows less: same people, baskets and future, a lower ceiling."""
    one, other = (pd.read_parquet(s.truth / "customers.parquet") for s in (olist_shop, log_shop))
    pd.testing.assert_frame_equal(
        one[["customer_id", "returned", "future_value"]], other[["customer_id", "returned", "future_value"]]
    )
    spent = [
        read_orders(s.truth.parent).groupby(["customer_id", "purchased_at"])["amount"].sum()
        for s in (olist_shop, log_shop)
    ]
    pd.testing.assert_series_equal(*spent)
    assert one["expected_value"].std() > other["expected_value"].std()


def test_some_people_have_only_a_failed_order(olist_shop, frames):
    orders = frames["olist_orders"].merge(frames["olist_customers"], on="customer_id")
    buyers = set(orders.loc[~orders["order_status"].isin(["canceled", "unavailable"]), "customer_unique_id"])
    assert len(buyers) == olist_shop.customers
    assert 0 < orders["customer_unique_id"].nunique() - len(buyers) < 0.01 * len(buyers)


def test_log_has_split_orders_and_lines_taken_back(log_shop):
    rows = pd.read_csv(log_shop.data)
    assert list(rows) == ["customer_id", "order_id", "purchased_at", "amount"]
    assert rows["order_id"].nunique() == log_shop.orders
    by_order = rows.groupby("order_id")
    assert (by_order[["customer_id", "purchased_at"]].nunique() == 1).all(axis=None)
    assert (by_order["amount"].sum() > 0).all()
    assert 0 < (rows["amount"] < 0).mean() < 0.02
    assert rows.drop_duplicates("order_id").duplicated(["customer_id", "purchased_at"]).mean() == pytest.approx(
        0.02, abs=0.01
    )
    assert pd.to_datetime(rows["purchased_at"]).max() < END


def test_chunks_do_not_depend_on_how_many_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr("clv.synth.simulate.CHUNK", 500)
    seen = []
    few = write_shop(tmp_path / "few", customers=500, shape="transactions", seed=3)
    many = write_shop(
        tmp_path / "many", customers=1_200, shape="transactions", seed=3, progress=lambda *at: seen.append(at)
    )
    assert seen == [(500, 1_200), (1_000, 1_200), (1_200, 1_200)]
    one, other = (pd.read_parquet(s.truth / "customers.parquet") for s in (few, many))
    pd.testing.assert_frame_equal(other.iloc[:500], one)
    assert many.data.read_bytes().startswith(few.data.read_bytes())


def test_memory_does_not_grow_with_the_shop(tmp_path, monkeypatch):
    monkeypatch.setattr("clv.synth.simulate.CHUNK", 400)

    def peak(customers):
        tracemalloc.start()
        write_shop(tmp_path / "shop", customers=customers)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(400)  # imports and caches
    assert peak(6_000) < 1.3 * peak(800)


def test_failure_leaves_what_was_there(tmp_path):
    folder = tmp_path / "shop"
    before = digests(write_shop(folder, customers=100, seed=1))

    def fail(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shop(folder, customers=100, seed=2, progress=fail)
    assert {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
    } == before
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_an_earlier_shop_is_replaced_as_a_whole_and_nothing_else_is(tmp_path):
    folder = tmp_path / "shop"
    write_shop(folder, customers=50)
    write_shop(folder, customers=50, shape="transactions")
    assert sorted(path.name for path in folder.iterdir()) == ["transactions.csv", "truth"]
    (folder / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else than a synthetic shop"):
        write_shop(folder, customers=50)
    with pytest.raises(InputError, match=r"letter\.txt is a file; expected a new folder"):
        write_shop(folder / "letter.txt", customers=50)
    assert (folder / "letter.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"customers": 0}, "0 customers; expected 1 or more"),
        ({"horizon_days": 0}, "Horizon of 0 days; expected 1 to 3650"),
        ({"shape": "amazon"}, "Shape 'amazon' is unknown; expected olist or transactions"),
        ({"repeat_rate": 0.9}, r"Repeat rate 0\.9 is out of range"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        write_shop(tmp_path / "shop", **{"customers": 10, **arguments})
    assert not list(tmp_path.iterdir())


def test_one_customer_is_enough_and_no_shop_is_an_error(tmp_path):
    for shape in ("olist", "transactions"):
        summary = write_shop(tmp_path / shape, customers=1, shape=shape)
        assert len(pd.read_parquet(summary.truth / "customers.parquet")) == 1
    with pytest.raises(InputError, match="holds no synthetic shop"):
        read_orders(tmp_path)
