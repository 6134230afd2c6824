"""Read a written shop's orders back, as the oracle needs them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from clv.errors import InputError
from clv.synth import log, olist
from clv.synth.write import SHOP_FOLDER


def read_orders(folder: Path) -> pd.DataFrame:
    """Read the orders with revenue of a folder written by :func:`clv.synth.write_shop`.

    Returns
    -------
    pandas.DataFrame
        One row per order, by time: ``customer_id, purchased_at, amount``, and for an Olist-shaped shop
        :data:`clv.synth.oracle.COVARIATES`.

    Raises
    ------
    InputError
        If the folder holds no synthetic shop.
    """
    if (folder / log.TRANSACTIONS).is_file():
        rows = _read(folder / log.TRANSACTIONS)
        keys = ["customer_id", "order_id", "purchased_at"]
        by_order = rows.groupby(keys, sort=False)["amount"].sum().reset_index()
        return by_order.drop(columns="order_id").sort_values("purchased_at", kind="stable", ignore_index=True)
    shop = folder / SHOP_FOLDER
    if not (shop / olist.ORDERS).is_file():
        raise InputError(f"{folder} holds no synthetic shop; write one with `clv synth`.")
    orders = _read(shop / olist.ORDERS)
    orders = orders[~orders["order_status"].isin(["canceled", "unavailable"])]
    customers = _read(shop / olist.CUSTOMERS)
    payments = _read(shop / olist.PAYMENTS).sort_values("payment_sequential", kind="stable").groupby("order_id")
    items = _read(shop / olist.ITEMS).query("order_item_id == 1")
    items = items.merge(_read(shop / olist.PRODUCTS), on="product_id", validate="many_to_one")
    paid = payments.agg(amount=("payment_value", "sum"), payment_type=("payment_type", "first"))
    orders = (
        orders.merge(customers, on="customer_id", validate="one_to_one")
        .merge(paid, on="order_id", validate="one_to_one")
        .merge(items[["order_id", "product_category_name"]], on="order_id", validate="one_to_one")
        .merge(_read(shop / olist.REVIEWS), on="order_id", how="left", validate="one_to_one")
    )
    names = {
        "customer_unique_id": "customer_id",
        "order_purchase_timestamp": "purchased_at",
        "amount": "amount",
        "product_category_name": "category",
        "payment_type": "payment_type",
        "customer_state": "state",
        "order_estimated_delivery_date": "promised_date",
        "order_delivered_customer_date": "delivered_date",
        "review_creation_date": "review_created_date",
        "review_score": "review_score",
    }
    return orders[list(names)].rename(columns=names).sort_values("purchased_at", kind="stable", ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    parsing = pa.csv.ParseOptions(newlines_in_values=True)
    frame: pd.DataFrame = pa.csv.read_csv(path, parse_options=parsing).to_pandas()
    return frame
