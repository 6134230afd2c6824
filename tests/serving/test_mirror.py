"""A scored shop in BigQuery is shown as an embedded one is, from a copy: real clients against the façade."""

import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from clv.errors import UnavailableError
from clv.settings import Settings
from clv.warehouse.bigquery import BigQueryWarehouse, setup_bigquery
from serving.mirror import Mirror
from serving.problems import Problem
from serving.shop import ScoredShop

SCORES = np.round(np.random.default_rng(3).uniform(0, 5, 250), 1)  # with many ties


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def settings(bigquery_facade: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Empty datasets of a project of one's own."""
    project = request.node.name.split("[")[0].replace("_", "-")[:60]
    settings = Settings.from_environment(
        bigquery_facade.environment, home=tmp_path / "home", warehouse=f"bigquery://{project}/shop"
    )
    setup_bigquery(settings)
    return settings


@pytest.fixture
def warehouse(settings: Settings) -> BigQueryWarehouse:
    return BigQueryWarehouse(settings.warehouse.removeprefix("bigquery://"), settings)


@pytest.fixture
def mirror(warehouse: BigQueryWarehouse, temporary: Path) -> Iterator[Mirror]:
    """It looks when it is told to."""
    mirror = Mirror(lambda: warehouse, warehouse.address, threads=2, seconds=15)
    yield mirror
    mirror.close()


def write(warehouse: BigQueryWarehouse, tables: dict[str, Any]) -> None:
    """As `clv transform` and `clv score` do: the predictions last."""
    for name in ("purchases", "customer_snapshots", "customer_predictions"):
        warehouse.write_table("marts", name, tables[name].to_batches(), tables[name].schema)


def everything(shop: ScoredShop, features: list[str]) -> dict[str, Any]:
    """All that can be asked of a shop."""
    found: dict[str, Any] = {"total": shop.total(), "parts": [part.tolist() for part in vars(shop.parts()[1]).values()]}
    for sort, search in (("-expected_value", None), ("customer_id", "001"), ("percentile", None)):
        page = shop.page(sort, 100, None, search)
        found[sort] = [page, page["next_cursor"] and shop.page(sort, 100, page["next_cursor"], search)]
    for customer in ("00001", "00002"):
        found[customer] = shop.customer(customer, features)
    shop.write_parquet(Path(tempfile.gettempdir()) / "all.parquet")
    found["parquet"] = pq.read_table(Path(tempfile.gettempdir()) / "all.parquet").to_pylist()
    return found


def test_every_answer_is_that_of_an_embedded_warehouse_and_no_query_is_run(
    helpers, warehouse: BigQueryWarehouse, mirror: Mirror, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clv.warehouse import DuckDBWarehouse
    from serving.shop_source import WarehouseFile

    tables = helpers.scored_shop(SCORES)
    embedded = DuckDBWarehouse(temporary.parent / "warehouse.duckdb", threads=1)
    for each in (warehouse, embedded):
        write(each, tables)
    monkeypatch.setattr(BigQueryWarehouse, "_run", None)
    mirror.refresh()
    names = [feature.name for feature in helpers.CONTRACT]
    ours = everything(ScoredShop(mirror), names)
    assert ours["00001"]["features"]["gap_mean_days"] == 31
    assert [purchase["amount"] for purchase in ours["00001"]["purchases"]] == [12.5, 12.5]
    assert repr(ours) == repr(everything(ScoredShop(WarehouseFile(embedded.path, 2)), names))  # NaN is like NaN


def test_the_service_shows_the_shop_once_it_is_copied_and_follows_it(
    registry, helpers, settings: Settings, warehouse: BigQueryWarehouse, temporary: Path
) -> None:
    serving = registry.serving.model_copy(
        update={"warehouse": settings.warehouse, "common": settings, "poll_seconds": 0.1}
    )

    def until(path: str, is_there: Any) -> Any:
        deadline = time.monotonic() + 30
        while not is_there(answer := client.get(path)):
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.02)
        return answer

    with helpers.serving(serving) as client:
        nothing = until("/customers", lambda answer: answer.status_code != 503)
        assert nothing.status_code == 404
        assert "No shop has been scored yet" in nothing.json()["detail"]
        write(warehouse, helpers.scored_shop(SCORES))
        page = until("/customers", lambda answer: answer.status_code == 200).json()
        assert page["scored"]["customers"] == 250
        assert client.get("/customers/00001").json()["features"]["recency_days"] == 29
        whole = client.get("/portfolio").json()["portfolio"]
        assert whole["expected_value"] == pytest.approx(SCORES.sum())
        write(warehouse, helpers.scored_shop(SCORES[:10], "version 2"))
        page = until("/customers", lambda answer: answer.json()["scored"]["scored_by"] == "version 2").json()
        assert page["scored"]["customers"] == 10
        metrics = client.get("/metrics").text.splitlines()
        assert {"clv_shop_up 1", "clv_shop_failures_total 0"} <= set(metrics)
        warehouse.clients.rest.delete_table(warehouse.table_id("marts", "customer_predictions"))
        assert until("/portfolio", lambda answer: answer.status_code != 200).status_code == 404
    assert {path.name[:10] for path in temporary.iterdir()} <= {"clv-model-"}


def test_a_scoring_is_copied_once(
    helpers, warehouse: BigQueryWarehouse, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans: list[str] = []
    scan = BigQueryWarehouse.scan

    def counting(self: BigQueryWarehouse, schema: str, table: str, *more: Any, **named: Any) -> Any:
        scans.append(table)
        return scan(self, schema, table, *more, **named)

    monkeypatch.setattr(BigQueryWarehouse, "scan", counting)
    write(warehouse, helpers.scored_shop(SCORES))
    for _ in range(3):
        mirror.refresh()
    assert scans == ["customer_predictions", "purchases", "customer_snapshots"]
    write(warehouse, helpers.scored_shop(SCORES))  # the same values, scored anew
    mirror.refresh()
    assert (len(scans), mirror.state.copies) == (6, 2)


def test_what_is_copied_is_what_is_shown(helpers, warehouse: BigQueryWarehouse, mirror: Mirror) -> None:
    """Neither purchases after the as-of day, nor other cutoffs, nor columns that nobody asks for."""
    write(warehouse, helpers.scored_shop(SCORES))
    mirror.refresh()
    with mirror.cursor() as cursor:
        days = cursor.execute("select max(purchase_date)::varchar from shop.marts.purchases").fetchone()
        cutoffs = cursor.execute("select distinct cutoff_date::varchar from shop.marts.customer_snapshots").fetchall()
        names = [column[0] for column in cursor.execute("from shop.marts.purchases").description]
    assert days == ("2018-06-01",)
    assert cutoffs == [("2018-06-30",)]
    assert "never_shown" not in names


def test_what_fails_leaves_the_last_good_copy_and_is_told(
    helpers,
    warehouse: BigQueryWarehouse,
    mirror: Mirror,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = ScoredShop(mirror)
    with pytest.raises(Problem, match=r"is not here yet\. It is being copied") as problem:
        shop.page("customer_id", 1, None, None)
    assert (problem.value.status, problem.value.headers) == (503, {"Retry-After": "15"})
    write(warehouse, helpers.scored_shop(SCORES))
    mirror.refresh()
    write(warehouse, helpers.scored_shop(SCORES[:5]))

    scan = BigQueryWarehouse.scan

    def breaking(self: BigQueryWarehouse, schema: str, table: str, *more: Any, **named: Any) -> Any:
        yield from scan(self, schema, table, *more, **named)
        if table == "purchases":
            raise UnavailableError("The line is dead.")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(BigQueryWarehouse, "scan", breaking)
        for _ in range(3):
            mirror.refresh()
    assert shop.page("customer_id", 1, None, None)["scored"]["customers"] == 250
    assert (mirror.state.copies, mirror.state.failures, mirror.state.trouble) == (1, 3, "The line is dead.")
    assert [record.message for record in caplog.records] == ["The scored shop can't be copied: The line is dead."]
    assert not list(temporary.iterdir())
    mirror.refresh()
    assert shop.page("customer_id", 1, None, None)["scored"]["customers"] == 5
    assert mirror.state.trouble is None


def test_without_the_right_to_read_it_says_so_and_predicts(registry, helpers, bigquery_facade: Any) -> None:
    address = "bigquery://forbidden-project/shop"
    common = Settings.from_environment(bigquery_facade.environment, warehouse=address)
    with helpers.serving(registry.serving.model_copy(update={"warehouse": address, "common": common})) as client:
        deadline = time.monotonic() + 30
        while "no permission" not in (answer := client.get("/customers")).text:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.05)
        assert answer.status_code == 503
        assert client.post("/predict", json=helpers.as_customers(helpers.random_customers(1))).status_code == 200
        assert "clv_shop_up 0" in client.get("/metrics").text


def test_the_forgotten_leave_the_copy_at_the_next_look(helpers, warehouse: BigQueryWarehouse, mirror: Mirror) -> None:
    write(warehouse, helpers.scored_shop(SCORES))
    mirror.refresh()
    shop = ScoredShop(mirror)
    assert shop.customer("00001")["purchases"]
    warehouse.erase({"customer_id": ["00001"]})
    mirror.refresh()
    with pytest.raises(Problem, match="has no such customer"):
        shop.customer("00001")
    with mirror.cursor() as cursor:
        for table in ("customer_predictions", "purchases", "customer_snapshots"):
            assert not cursor.execute(f"from shop.marts.{table} where customer_id = '00001'").fetchall()


def test_no_file_is_left_even_while_it_is_served(
    helpers, warehouse: BigQueryWarehouse, mirror: Mirror, temporary: Path
) -> None:
    write(warehouse, helpers.scored_shop(SCORES))
    mirror.refresh()
    assert not list(temporary.iterdir())
    assert ScoredShop(mirror).page("customer_id", 250, None, None)["customers"]


def test_pages_come_from_one_scoring_while_copies_change_under_them(
    helpers, warehouse: BigQueryWarehouse, mirror: Mirror
) -> None:
    def replace(tables: dict[str, Any]) -> None:
        write(warehouse, tables)
        mirror.refresh()

    helpers.read_while_replaced(ScoredShop(mirror), replace)
    assert mirror.state.failures == 0


def test_looks_that_fail_get_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that breaks off costs what was read: it must not be tried every 15 seconds all day."""

    def unreachable() -> BigQueryWarehouse:
        raise UnavailableError("Nobody there.")

    class Clock(threading.Event):
        waits: list[float] = []  # noqa: RUF012

        def wait(self, timeout: float | None = None) -> bool:
            self.waits.append(timeout or 0)
            if len(self.waits) == 8:
                self.set()
            return True

    mirror = Mirror(unreachable, "bigquery://some/shop", threads=1, seconds=15)
    mirror._follower.ending = Clock()
    mirror._follower._follow()
    assert Clock.waits == [30, 60, 120, 240, 480, 600, 600, 600]
