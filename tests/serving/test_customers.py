"""GET /customers...: the last scored shop, page by page, always the file that is there now."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from serving.problems import Problem
from serving.shop import ScoredShop, source_of
from serving.shop_source import WarehouseFile


def write_shop(file: Path, tables: dict[str, pa.Table]) -> pd.DataFrame:
    """Put a warehouse file in place as a writer does: beside it first, then renamed."""
    temporary = file.with_suffix(".next")
    with duckdb.connect(str(temporary)) as connection:
        connection.execute("create schema marts")
        for name, rows in tables.items():
            connection.register("rows", rows)
            connection.execute(f"create table marts.{name} as from rows")
    temporary.replace(file)
    return tables["customer_predictions"].to_pandas()


def as_cursor(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop") / "warehouse.duckdb"


@pytest.fixture(scope="module")
def shop_api(helpers, registry, file: Path) -> Iterator[httpx.Client]:
    settings = registry.steady.model_copy(update={"warehouse": f"duckdb:///{file}"})
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
    table = write_shop(file, helpers.scored_shop(scores))

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

    write_shop(file, helpers.scored_shop(scores[:10], "version 2"))
    assert shop_api.get("/customers").json()["scored"]["scored_by"] == "version 2"
    assert len(pages(shop_api)) == 10
    (warning,) = shop_api.get("/portfolio").json()["warnings"]
    assert "scored by version 2, not by the version in service" in warning


ODD_IDS = (
    "a\nb",
    "x\n",
    "\n",
    "a\r\nb",
    "\t",
    "a/b",
    "/",
    "//",
    "a/../b",
    ".",
    "..",
    "%",
    "a%2Fb",
    "?#&=+",
    " a ",
    "é 漢",
    "\x00",
)


def test_every_id_can_be_asked_for(shop_api: httpx.Client, file: Path, helpers) -> None:
    tables = helpers.scored_shop(np.arange(float(len(ODD_IDS))))
    ids = pa.array(ODD_IDS)
    write_shop(
        file, {**tables, "customer_predictions": tables["customer_predictions"].set_column(0, "customer_id", ids)}
    )
    for customer_id in ODD_IDS:
        in_path = "".join(f"%{byte:02X}" for byte in customer_id.encode())
        response = shop_api.get(f"/customers/{in_path}")
        assert response.status_code == 200, customer_id
        assert response.json()["prediction"]["customer_id"] == customer_id


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "name"},
        {"limit": 0},
        {"limit": 1001},
        {"cursor": "x"},
        {"cursor": "é"},
        {"cursor": "W10="},
        {"cursor": as_cursor("-expected_value", 1.0, "\ud800")},
        {"cursor": as_cursor("-customer_id", "\ud800", "1"), "sort": "-customer_id"},
    ],
)
def test_wrong_queries_are_refused_by_name(shop_api: httpx.Client, query: dict) -> None:
    response = shop_api.get("/customers", params=query)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == next(iter(query))


def test_a_cursor_belongs_to_its_sort_order(shop_api: httpx.Client, file: Path, helpers) -> None:
    write_shop(file, helpers.scored_shop(np.arange(5.0)))
    cursor = shop_api.get("/customers", params={"limit": 1}).json()["next_cursor"]
    response = shop_api.get("/customers", params={"sort": "p_return", "cursor": cursor})
    assert response.status_code == 422


@pytest.mark.parametrize("warehouse", ["", "duckdb:////nowhere/at.all"])
def test_no_embedded_warehouse_is_no_shop(registry, warehouse: str) -> None:
    shop = ScoredShop(source_of(registry.serving.model_copy(update={"warehouse": warehouse})))
    with pytest.raises(Problem, match="No shop has been scored"):
        shop.page("customer_id", 1, None, None)
    assert shop.total() is None


def test_pages_come_from_one_scoring_while_files_change_under_them(helpers, tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    helpers.read_while_replaced(ScoredShop(WarehouseFile(file, 2)), lambda tables: write_shop(file, tables))


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(Problem, match="can't be opened") as problem:
        ScoredShop(WarehouseFile(file, 1)).page("customer_id", 1, None, None)
    assert problem.value.status == 503


@pytest.mark.parametrize("warehouse", ["duckdb:///{file}", "bigquery://customers-tests/never-asked"])
def test_a_shop_that_is_switched_off_is_not_shown(registry, helpers, file: Path, warehouse: str) -> None:
    write_shop(file, helpers.scored_shop(np.arange(5.0)))
    settings = registry.serving.model_copy(update={"warehouse": warehouse.format(file=file), "scored_shop": False})
    with helpers.serving(settings) as client:
        for path in ("/customers", "/customers/00001", "/customers.parquet", "/portfolio"):
            response = client.get(path)
            assert response.status_code == 404
            assert "switched off by CLV_SCORED_SHOP" in response.json()["detail"]
        some = client.post("/portfolio", json=helpers.as_customers(helpers.random_customers(2))).json()["portfolio"]
        assert some["shop_share"] is None


@pytest.mark.parametrize("wanted", ["bytes=0-3", "bytes=abc", "bytes=999999999-", "lines=1-2"])
def test_files_come_whole_whatever_range_is_asked_for(shop_api: httpx.Client, file: Path, helpers, wanted: str) -> None:
    """A part would be of no use: the next request makes another file."""
    write_shop(file, helpers.scored_shop(np.arange(5.0)))
    for path in ("/customers.parquet", "/model/figures/gain_curve.png"):
        whole, part = (shop_api.get(path, headers=headers) for headers in ({}, {"Range": wanted}))
        assert (part.status_code, part.content) == (200, whole.content)
        assert part.headers["accept-ranges"] == "none"


def test_a_shop_without_customers_is_told(shop_api: httpx.Client, file: Path, helpers) -> None:
    write_shop(file, helpers.scored_shop(np.arange(0.0)))
    for path in ("/customers", "/customers/00001", "/customers.parquet", "/portfolio"):
        response = shop_api.get(path)
        assert response.status_code == 404, path
        assert "has no customers" in response.json()["detail"]
    some = shop_api.post("/portfolio", json=helpers.as_customers(helpers.random_customers(2)))
    assert some.json()["portfolio"]["shop_share"] is None
