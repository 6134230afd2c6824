"""GET /customers...: the last scored shop, page by page, always the file that is there now."""

import io
from collections.abc import Iterator
from pathlib import Path

import duckdb
import httpx
import numpy as np
import pandas as pd
import pytest

from serving.problems import Problem
from serving.shop import ScoredShop


def write_shop(file: Path, scores: np.ndarray, scored_by: str = "version 1") -> pd.DataFrame:
    """Put a warehouse file in place as a writer does: beside it first, then renamed."""
    scored = pd.DataFrame(
        {
            "customer_id": [f"{row:05d}" for row in range(len(scores))],
            "p_return": scores / 100,
            "value_if_return": 100.0,
            "expected_value": scores,
            "value_if_return_low": 40.0,
            "value_if_return_high": np.nan,
            "percentile": np.nan,
            "as_of_date": pd.Timestamp("2018-06-30").date(),
            "horizon_days": 90,
            "scored_by": scored_by,
        }
    )
    temporary = file.with_suffix(".next")
    with duckdb.connect(str(temporary)) as connection:
        connection.execute("create schema marts")
        connection.execute("create table marts.customer_predictions as select * from scored")
        connection.execute(
            """
            create table marts.purchases as select '00001' as customer_id, day as purchase_date,
            12.5::decimal(18, 4) as amount, 0::decimal(18, 4) as return_amount, 1::bigint as order_count,
            null::bigint as item_count, 'toys' as category, null::varchar as payment_type
            from (values (date '2018-05-01'), (date '2018-06-01'), (date '2018-07-01')) as days(day)
            """
        )
        connection.execute(
            """
            create table marts.customer_snapshots as select '00001' as customer_id, day as cutoff_date,
            29::double as recency_days, 2::double as purchase_count, 25::double as amount_total,
            31::double as gap_mean_days, 'toys' as first_category, null::varchar as state
            from (values (date '2018-05-31'), (date '2018-06-30')) as days(day)
            """
        )
    temporary.replace(file)
    return scored


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop") / "warehouse.duckdb"


@pytest.fixture(scope="module")
def shop_api(helpers, registry, file: Path) -> Iterator[httpx.Client]:
    settings = registry.serving.model_copy(update={"warehouse": f"duckdb:///{file}"})
    with helpers.serving(settings) as client:
        yield client


def pages(client: httpx.Client, **query: object) -> list[dict]:
    found, cursor = [], None
    while True:
        page = client.get("/customers", params={**query, **({"cursor": cursor} if cursor else {})})
        assert page.status_code == 200, page.text
        found += page.json()["customers"]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            return found


def test_from_nothing_to_one_shop_to_the_next(shop_api: httpx.Client, file: Path, helpers) -> None:
    for path in ("/customers", "/customers/00001", "/customers.parquet", "/portfolio"):
        response = shop_api.get(path)
        assert response.status_code == 404
        assert "No shop has been scored yet" in response.json()["detail"]
    scores = np.round(np.random.default_rng(1).uniform(0, 5, 250), 1)  # with many ties
    table = write_shop(file, scores)

    by_value = table.sort_values(["expected_value", "customer_id"], ascending=[False, True])
    assert [one["customer_id"] for one in pages(shop_api, limit=7)] == by_value["customer_id"].tolist()
    rising = table.sort_values(["p_return", "customer_id"])
    assert [one["customer_id"] for one in pages(shop_api, limit=99, sort="p_return")] == rising["customer_id"].tolist()
    by_name = pages(shop_api, limit=100, sort="-customer_id", q="001")
    assert [one["customer_id"] for one in by_name] == sorted(
        (name for name in table["customer_id"] if "001" in name), reverse=True
    )
    assert len(pages(shop_api, limit=60, sort="percentile")) == 250  # a baseline stood in: no percentile at all

    first = shop_api.get("/customers", params={"limit": 1}).json()
    assert first["scored"] == {
        "as_of_date": "2018-06-30",
        "horizon_days": 90,
        "scored_by": "version 1",
        "customers": 250,
        "expected_value": pytest.approx(scores.sum()),
    }
    assert first["customers"][0]["value_if_return_high"] is None

    one = shop_api.get("/customers/00001").json()
    assert one["prediction"]["expected_value"] == scores[1]
    assert [purchase["purchase_date"] for purchase in one["purchases"]] == ["2018-06-01", "2018-05-01"]
    assert one["purchases"][0]["amount"] == 12.5
    assert one["features"] == {
        "recency_days": 29,
        "purchase_count": 2,
        "amount_total": 25,
        "gap_mean_days": 31,
        "first_category": "toys",
        "state": None,
    }
    assert shop_api.get("/customers/00002").json()["features"] is None

    whole = shop_api.get("/portfolio").json()
    assert whole["portfolio"]["customers"] == 250
    assert whole["portfolio"]["expected_value"] == pytest.approx(scores.sum())
    assert whole["portfolio"]["shop_share"] == pytest.approx(1)
    assert whole["portfolio"]["curve"][0]["expected_value"] == scores.max()
    assert whole["warnings"] == []
    assert shop_api.get("/customers/1").status_code == 404

    parquet = pd.read_parquet(io.BytesIO(shop_api.get("/customers.parquet").content))
    assert parquet["customer_id"].tolist() == by_value["customer_id"].tolist()

    share = shop_api.post("/portfolio", json=helpers.as_customers(helpers.random_customers(5))).json()["portfolio"]
    assert share["shop_share"] == pytest.approx(share["expected_value"] / scores.sum())

    write_shop(file, scores[:10], "version 2")
    assert shop_api.get("/customers").json()["scored"]["scored_by"] == "version 2"
    assert len(pages(shop_api)) == 10
    (warning,) = shop_api.get("/portfolio").json()["warnings"]
    assert "scored by version 2, not by the version in service" in warning


@pytest.mark.parametrize(
    "query",
    [{"sort": "name"}, {"limit": 0}, {"limit": 1001}, {"cursor": "x"}, {"cursor": "é"}, {"cursor": "W10="}],
)
def test_wrong_queries_are_refused_by_name(shop_api: httpx.Client, query: dict) -> None:
    response = shop_api.get("/customers", params=query)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == next(iter(query))


def test_a_cursor_belongs_to_its_sort_order(shop_api: httpx.Client, file: Path) -> None:
    write_shop(file, np.arange(5.0))
    cursor = shop_api.get("/customers", params={"limit": 1}).json()["next_cursor"]
    response = shop_api.get("/customers", params={"sort": "p_return", "cursor": cursor})
    assert response.status_code == 422


def test_a_shop_in_bigquery_is_told_where_it_is() -> None:
    shop = ScoredShop("bigquery://project/dataset", 1)
    with pytest.raises(Problem, match="The scored shop is in bigquery://project/dataset") as problem:
        shop.parts()
    assert problem.value.status == 501
    assert shop.total() is None


@pytest.mark.parametrize("warehouse", ["", "duckdb:////nowhere/at.all"])
def test_no_embedded_warehouse_is_no_shop(warehouse: str) -> None:
    shop = ScoredShop(warehouse, 1)
    with pytest.raises(Problem, match="No shop has been scored"):
        shop.page("customer_id", 1, None, None)
    assert shop.total() is None


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(Problem, match="can't be opened") as problem:
        ScoredShop(f"duckdb:///{file}", 1).page("customer_id", 1, None, None)
    assert problem.value.status == 503
