"""Olist's tables, uploaded: brought to purchases by the loading code and dbt, seen here against the raw files."""

import io
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from clv.errors import InputError
from clv.synth import write_shop
from streamlit_app import olist


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("olist")
    write_shop(folder, customers=300, repeat_rate=0.4, shape="olist", seed=3)
    return folder / "shop"


@pytest.fixture(scope="module")
def zipped(shop: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in shop.glob("*.csv"):
            archive.write(file, file.name)
    return buffer.getvalue()


def paid(folder: Path) -> pd.DataFrame:
    """What each order that was not called off brought, straight from the CSV files."""
    orders = pd.read_csv(folder / "olist_orders_dataset.csv", dtype=str)
    orders = orders[~orders["order_status"].isin(["canceled", "unavailable"])]
    payments = pd.read_csv(folder / "olist_order_payments_dataset.csv").groupby("order_id")["payment_value"].sum()
    people = pd.read_csv(folder / "olist_customers_dataset.csv", dtype=str).set_index("customer_id")
    return pd.DataFrame(
        {
            "customer_id": orders["customer_id"].map(people["customer_unique_id"]),
            "amount": orders["order_id"].map(payments),
            "purchased_at": orders["order_purchase_timestamp"].str[:10],
        }
    ).set_index(orders["order_id"])


def test_orders_come_out_as_they_went_in(open_page, api, shop: Path, zipped: bytes) -> None:
    page = open_page(api.base_url).upload(zipped, "shop.zip")
    orders = page.app.session_state["file_as_read"][1]
    found, expected = orders.purchases.set_index("order_id"), paid(shop)
    assert sorted(found.index) == sorted(expected.index)
    matched = expected.loc[found.index]
    assert (found["customer_id"] == matched["customer_id"]).all()
    assert (found["purchased_at"] == matched["purchased_at"]).all()
    assert found["amount"].astype(float).tolist() == pytest.approx(matched["amount"].tolist())
    assert str(orders.as_of_date) <= found["purchased_at"].max()
    assert found["category"].notna().any()
    assert f"Olist's tables: {len(expected):,} orders." in page.app.success[0].value
    page.press("Predict")
    known = expected[expected["purchased_at"] <= str(orders.as_of_date)]
    assert page.metrics["Customers"] == str(known["customer_id"].nunique())


def test_what_olist_is_called_is_known() -> None:
    assert olist.is_olist(["brazilian-ecommerce.zip"])
    assert olist.is_olist(["olist_orders_dataset.csv", "notes.csv"])
    assert not olist.is_olist(["orders.csv"])


def test_a_broken_row_is_named_by_file_and_line(shop: Path) -> None:
    files = {file.name: file.read_bytes() for file in shop.glob("*.csv")}
    broken = files["olist_order_payments_dataset.csv"].decode().splitlines()
    broken[3] = broken[3].rpartition(",")[0] + ",much"
    files["olist_order_payments_dataset.csv"] = "\n".join(broken).encode()
    with pytest.raises(InputError, match=r"olist_order_payments_dataset\.csv, line 4, column payment_value"):
        olist.read(files)
