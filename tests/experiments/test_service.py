"""The service on top of the chain: what it makes of raw purchases is what the warehouse made of them."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.app import create_app
from serving.server import listen, server
from serving.settings import ServingSettings

ANSWERS = ["p_return", "value_if_return", "value_if_return_low", "value_if_return_high", "expected_value", "percentile"]


@contextmanager
def service(home: Path) -> Iterator[httpx.Client]:
    """The service as `clv serve` sets it up for this home."""
    with listen("127.0.0.1", 0) as bound:
        running = server(create_app(ServingSettings.from_environment({"CLV_HOME": str(home)})))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{bound.getsockname()[1]}", timeout=60) as client:
            deadline = time.monotonic() + 60
            while client.get("/ready").status_code != 200:
                assert time.monotonic() < deadline, client.get("/ready").text
                time.sleep(0.05)
            yield client
        running.should_exit = True
        thread.join(timeout=10)


def known(column: pd.Series) -> list[float | str | None]:
    return [None if pd.isna(value) else value for value in column]


def table(home: Path, sql: str) -> pa.Table:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        return connection.sql(sql).to_arrow_table()


@pytest.mark.parametrize(("home", "source"), [("chain", "olist"), ("lab", "transactions")])
def test_purchases_are_answered_as_the_warehouse_scored_them(
    request: pytest.FixtureRequest, home: str, source: str
) -> None:
    folder: Path = request.getfixturevalue(home).home
    scored = table(folder, "from marts.customer_predictions order by customer_id").to_pandas()
    as_of = str(scored["as_of_date"].iloc[0])
    orders = table(
        folder,
        f"select * replace (cast(purchase_date as varchar) as purchase_date) from intermediate.int_orders__{source} "
        f"where purchase_date <= date '{as_of}' order by hash(customer_id), hash(order_id)",
    )
    names = ["purchased_at" if name == "purchase_date" else name for name in orders.column_names]
    body = io.BytesIO()
    pq.write_table(orders.rename_columns(names), body)
    with service(folder) as client:
        answers = {
            path: client.post(
                path,
                params={"as_of": as_of, **more},
                content=body.getvalue(),
                headers={"Content-Type": "application/vnd.apache.parquet"},
            )
            for path, more in (("/predict/purchases", {"features": True}), ("/portfolio/purchases", {}))
        }
        for answer in answers.values():
            assert answer.status_code == 200, answer.text
        contract = [feature["name"] for feature in client.get("/model").json()["contract"]]
        shop = client.get("/portfolio").json()["portfolio"]
        best = client.get("/customers", params={"limit": 1}).json()["customers"][0]
        one = client.get(f"/customers/{best['customer_id']}").json()

    predictions = pd.DataFrame(answers["/predict/purchases"].json()["predictions"])
    predictions = predictions.sort_values("customer_id", ignore_index=True)
    assert predictions["customer_id"].tolist() == scored["customer_id"].tolist()
    pd.testing.assert_frame_equal(
        predictions[ANSWERS].astype(float), scored[ANSWERS], rtol=1e-12, check_column_type=False
    )

    features = pd.DataFrame(predictions["features"].tolist())
    snapshots = table(
        folder,
        f"select {', '.join(contract)} from marts.customer_snapshots where cutoff_date = date '{as_of}' "
        "order by customer_id",
    ).to_pandas()
    assert list(features) == contract
    for name in contract:
        assert known(features[name]) == known(snapshots[name]), name

    position = predictions["customer_id"].tolist().index(best["customer_id"])
    assert one["features"] == predictions["features"][position]
    asked = answers["/portfolio/purchases"].json()["portfolio"]
    assert asked["shop_share"] == pytest.approx(1)
    assert asked["note"] == shop["note"]
    for name, value in shop.items():
        if isinstance(value, float) and name != "shop_share":
            assert asked[name] == pytest.approx(value), name
