"""The BigQuery warehouse through the real clients: against the façade and, if CLV_TEST_BIGQUERY is set, the real one.

``CLV_TEST_BIGQUERY=bigquery://PROJECT/DATASET`` (credentials by Application Default Credentials) runs the first half on
datasets of that name with a random suffix, which are deleted afterwards.
"""

import datetime as dt
import io
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest
from google.cloud.bigquery import Client

from clv.errors import InputError, UnavailableError
from clv.load import LoadReport, load, read_shop
from clv.settings import Settings
from clv.snapshots import read_shop as read_marts
from clv.sources.olist import TABLES
from clv.synth import write_shop
from clv.transform import transform
from clv.warehouse import SCHEMAS, DuckDBWarehouse, open_warehouse
from clv.warehouse.bigquery import BigQueryWarehouse, setup_bigquery

REAL = os.environ.get("CLV_TEST_BIGQUERY")
TODAY = dt.date(2018, 12, 1)


@pytest.fixture(scope="module", params=["facade", "real"] if REAL else ["facade"])
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A warehouse that is set up and empty."""
    home = tmp_path_factory.mktemp("home")
    if request.param == "facade":
        environment = request.getfixturevalue("bigquery_facade").environment
        settings = Settings.from_environment(environment, home=home, threads=2, warehouse="bigquery://clv-tests/shop")
        setup_bigquery(settings)
        yield settings
        return
    settings = Settings(home=home, threads=2, warehouse=f"{REAL}_{uuid.uuid4().hex[:8]}", maximum_bytes_billed=10**9)
    try:
        datasets = setup_bigquery(settings)
        yield settings
    finally:
        client = open_warehouse(settings).clients.rest
        for dataset in datasets:
            client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("olist")
    write_shop(folder, customers=80, shape="olist", seed=3)
    return folder / "shop"


@pytest.fixture(scope="module")
def loaded(settings: Settings, files: Path) -> LoadReport:
    return load(settings, files, source="olist", today=TODAY)


@pytest.fixture
def warehouse(settings: Settings, loaded: LoadReport) -> BigQueryWarehouse:
    return open_warehouse(settings)


@pytest.fixture(scope="module")
def embedded(files: Path, tmp_path_factory: pytest.TempPathFactory) -> DuckDBWarehouse:
    """The same files in DuckDB."""
    settings = Settings(home=tmp_path_factory.mktemp("embedded"), threads=2)
    load(settings, files, source="olist", today=TODAY)
    return open_warehouse(settings)


def rows(table: pa.Table) -> list[tuple]:
    """Rows in an order that does not depend on the engine; money compared as numbers."""
    return sorted(map(tuple, (row.values() for row in table.to_pylist())), key=repr)


def raw_tables(warehouse: DuckDBWarehouse) -> list[str]:
    found = warehouse.query("select table_name from information_schema.tables where table_schema = 'raw' order by 1")
    return found.column(0).to_pylist()


def test_every_raw_table_holds_what_duckdb_holds(warehouse, embedded) -> None:
    tables = raw_tables(embedded)
    assert len(tables) == 11
    for table in tables:
        names = embedded.query(f"select * from raw.{table} limit 0").column_names
        wanted = ", ".join(name for name in names if name != "loaded_at")
        sql = f"select {wanted} from raw.{table} order by {wanted}"
        ours, theirs = warehouse.query(sql), embedded.query(sql)
        assert ours.column_names == theirs.column_names
        assert [plain(row) for row in rows(ours)] == [plain(row) for row in rows(theirs)]


def plain(row: tuple) -> tuple:
    return tuple(value.normalize() if isinstance(value, Decimal) else value for value in row)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple]:
    """What each load job from now on is given, by table: its settings and its file."""
    given: dict[str, tuple] = {}
    upload = Client.load_table_from_file

    def watched(self, file, table, *, job_config, **options):
        given[table.split(".")[-1].split("__")[0]] = job_config, file.read()
        file.seek(0)
        return upload(self, file, table, job_config=job_config, **options)

    monkeypatch.setattr(Client, "load_table_from_file", watched)
    return given


def test_csv_files_go_up_as_they_lie_with_a_schema(settings, loaded, files, sent) -> None:
    """But for the reviews, whose comments have line breaks, and the optional file that isn't there."""
    load(settings, files, source="olist", today=TODAY)
    formats = {table: configuration.source_format for table, (configuration, _) in sent.items()}
    typed = {"olist_order_reviews", "olist_geolocation"}
    assert {table for table, kind in formats.items() if kind != "CSV"} == {*typed, "loads", "shop"}
    for table in (table for table in TABLES if table.name not in typed):
        configuration, content = sent[table.name]
        assert content == (files / table.file).read_bytes()
        assert [field.name for field in configuration.schema] == list(table.columns)
        assert not configuration.autodetect


ODD = {
    "columns in another order": lambda text: re.sub("(?m)^([^,\n]*),([^,\n]*)(.*)$", r"\2,\1\3", text),
    "one column more": lambda text: re.sub("(?m)$", ",x", text.strip()),
    "outer blanks": lambda text: re.sub('"?credit_card"?', "credit_card ", text, count=1),
    "an empty text in quotes": lambda text: re.sub('"?credit_card"?', '""', text, count=1),
    "a line break": lambda text: re.sub('"?credit_card"?', '"credit\ncard"', text, count=1),
    "groups of thousands": lambda text: re.sub(r",\d+\.\d+$", ',"1,234.50"', text, count=1, flags=re.MULTILINE),
    "more decimals than are kept": lambda text: re.sub(r"\.\d+$", ".123456", text, count=1, flags=re.MULTILINE),
    "a sign": lambda text: re.sub(r",(\d+\.\d+)$", r",+\1", text, count=1, flags=re.MULTILINE),
}
"""What may happen to payments that no two readers of CSV need take for the same."""


@pytest.fixture(scope="module")
def others(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Another warehouse, for shops that are not what this module's other tests expect."""
    changes = {"warehouse": settings.warehouse + "_others", "home": tmp_path_factory.mktemp("others")}
    settings = settings.model_copy(update={**changes, "max_null_share": 0.1})
    setup_bigquery(settings)
    yield settings
    warehouse = open_warehouse(settings)
    for schema in SCHEMAS:
        dataset = f"{warehouse.project}.{warehouse.dataset}_{schema}"
        warehouse.clients.rest.delete_dataset(dataset, delete_contents=True)


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_a_file_with_anything_odd_goes_up_as_it_was_checked(others, files, sent, tmp_path: Path, change) -> None:
    shutil.copytree(files, tmp_path / "shop")
    payments = tmp_path / "shop" / "olist_order_payments_dataset.csv"
    payments.write_text(change(before := payments.read_text()))
    assert payments.read_text() != before
    embedded = Settings(home=tmp_path / "embedded", threads=2, max_null_share=0.1)
    for where in (embedded, others):
        load(where, tmp_path / "shop", source="olist", today=TODAY)
    assert sent["olist_order_payments"][0].source_format == "PARQUET"
    assert sent["olist_orders"][0].source_format == "CSV"
    sql = "select * from raw.olist_order_payments"
    ours, theirs = (open_warehouse(where).query(sql) for where in (others, embedded))
    assert [plain(row) for row in rows(ours)] == [plain(row) for row in rows(theirs)]


@pytest.mark.parametrize(
    "broken", [lambda content: content + b"1,2\n", lambda content: content[: content.rindex(b'"c')]]
)
def test_a_file_that_bigquery_reads_otherwise_goes_up_as_it_was_checked(
    others, files, embedded, monkeypatch: pytest.MonkeyPatch, broken
) -> None:
    upload = Client.load_table_from_file

    def other(self, file, table, *, job_config, **options):
        if "olist_orders" in table and job_config.source_format == "CSV":
            file = io.BytesIO(broken(file.read()))
        return upload(self, file, table, job_config=job_config, **options)

    monkeypatch.setattr(Client, "load_table_from_file", other)
    report = load(others, files, source="olist", today=TODAY)
    assert [note for note in report.notes if "BigQuery" in note] == [
        f"olist_orders_dataset.csv: BigQuery did not find the {report.orders:,} rows that were checked, so those were "
        "uploaded."
    ]
    sql = "select * from raw.olist_orders"
    assert rows(open_warehouse(others).query(sql)) == rows(embedded.query(sql))


def test_columns_have_the_types_we_said_not_guessed_ones(warehouse) -> None:
    table = warehouse.clients.rest.get_table(warehouse.table_id("raw", "olist_order_items"))
    assert {field.name: field.field_type for field in table.schema} == {
        "order_id": "STRING",
        "order_item_id": "INTEGER",
        "product_id": "STRING",
        "seller_id": "STRING",
        "shipping_limit_date": "DATETIME",
        "price": "NUMERIC",
        "freight_value": "NUMERIC",
    }
    zips = warehouse.clients.rest.get_table(warehouse.table_id("raw", "olist_customers")).schema
    assert next(field.field_type for field in zips if field.name == "customer_zip_code_prefix") == "STRING"


def test_the_shop_is_read_back(warehouse, loaded: LoadReport) -> None:
    shop = read_shop(warehouse)
    assert (shop.shop_id, shop.customer_count, shop.as_of_date) == (
        loaded.shop_id,
        loaded.customers,
        loaded.as_of_date,
    )


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Rows of each load job from now on, by table."""
    rows: dict[str, int] = {}
    load_rows = BigQueryWarehouse._load

    def counting(self, table_id, batches, columns):
        given = list(batches)
        rows[table_id.split(".")[-1].split("__")[0]] = sum(batch.num_rows for batch in given)
        load_rows(self, table_id, given, columns)

    monkeypatch.setattr(BigQueryWarehouse, "_load", counting)
    return rows


def test_appending_the_same_files_changes_nothing_but_the_list_of_loads(warehouse, settings, files, uploads) -> None:
    before = rows(warehouse.query("select * from raw.olist_order_payments"))
    loads = warehouse.query("select count(*) as n from raw.loads").to_pylist()[0]["n"]
    load(settings, files, source="olist", append=True, today=TODAY)
    assert rows(warehouse.query("select * from raw.olist_order_payments")) == before
    assert warehouse.query("select count(*) as n from raw.loads").to_pylist()[0]["n"] == 2 * loads
    assert uploads == {"loads": loads}


def test_only_what_an_append_changes_is_uploaded(settings, tmp_path: Path, uploads) -> None:
    """New rows, the rows of an order that is loaded anew, and nothing of a table that stays."""
    other = settings.model_copy(update={"warehouse": settings.warehouse + "_log", "home": tmp_path / "home"})
    embedded = Settings(home=tmp_path / "embedded", threads=2)
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    old = [f"c{day % 5},o{day},2018-01-{1 + day % 28:02d},{day + 1}" for day in range(100)]
    kept = ["c1,o200,2018-02-01,5", "c1,o200,2018-02-01,7", "c2,,2018-02-02,3"]
    first.write_text("\n".join(["customer_id,order_id,date,amount", *old, *kept]))
    second.write_text(
        "customer_id,order_id,date,amount\nc1,o200,2018-02-01,5\nc3,o201,2018-02-03,1\nc2,,2018-02-03,3\n"
    )
    setup_bigquery(other)
    warehouse = open_warehouse(other)
    try:
        for where in (embedded, other):
            load(where, first, source="transactions", today=TODAY)
            uploads.clear()
            load(where, second, source="transactions", append=True, today=TODAY)
        assert uploads == {"transactions": 3, "loads": 1, "shop": 1}
        sql = "select customer_id, order_id, purchased_at, amount from raw.transactions order by 1, 3, 2, 4"
        ours, theirs = warehouse.query(sql), open_warehouse(embedded).query(sql)
        assert [plain(row) for row in rows(ours)] == [plain(row) for row in rows(theirs)]
    finally:
        for schema in SCHEMAS:
            dataset = f"{warehouse.project}.{warehouse.dataset}_{schema}"
            warehouse.clients.rest.delete_dataset(dataset, delete_contents=True)


def test_another_source_takes_the_place_of_all(settings, files, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("customer,date,amount\na,2018-01-01,1\nb,2018-01-02,2\n")
    other = settings.model_copy(update={"warehouse": settings.warehouse + "_other"})
    setup_bigquery(other)
    warehouse = open_warehouse(other)
    try:
        load(other, files, source="olist", today=TODAY)
        for schema, table in (("marts", "customers"), ("serving", "prediction_log")):
            warehouse.write_table(schema, table, *batch_of({"customer_id": ["a"]}))
        with pytest.raises(InputError, match=r"shop of source olist, not transactions; give --replace-shop"):
            load(other, tmp_path / "log.csv", source="transactions", today=TODAY)
        load(other, tmp_path / "log.csv", source="transactions", replace_shop=True, today=TODAY)
        assert tables(warehouse) == {"raw.loads", "raw.shop", "raw.transactions", "serving.prediction_log"}
    finally:
        for schema in SCHEMAS:
            dataset = f"{warehouse.project}.{warehouse.dataset}_{schema}"
            warehouse.clients.rest.delete_dataset(dataset, delete_contents=True)


def tables(warehouse: BigQueryWarehouse) -> set[str]:
    return {
        f"{schema}.{item.table_id}"
        for schema in SCHEMAS
        for item in warehouse.clients.rest.list_tables(f"{warehouse.project}.{warehouse.dataset}_{schema}")
    }


def batch_of(columns: dict[str, object]) -> tuple[list[pa.RecordBatch], pa.Schema]:
    table = pa.table(columns)
    return table.to_batches(), table.schema


@pytest.mark.parametrize("where", ["loading", "moving"])
def test_a_load_that_fails_leaves_all_tables_as_they_were(warehouse, settings, files, monkeypatch, where) -> None:
    before, contents = tables(warehouse), rows(warehouse.query("select * from raw.loads"))
    if where == "loading":
        whole, count = Client.load_table_from_file, iter(range(100))

        def load_some(self, *arguments, **options):
            if next(count) == 3:
                raise ConnectionError("gone")
            return whole(self, *arguments, **options)

        monkeypatch.setattr(Client, "load_table_from_file", load_some)
    else:
        from clv.warehouse import bigquery

        whole = bigquery._transaction
        monkeypatch.setattr(
            bigquery, "_transaction", lambda statements: whole([*statements, "select cast('x' as int64)"])
        )
    with pytest.raises((ConnectionError, UnavailableError)):
        load(settings, files, source="olist", today=TODAY)
    monkeypatch.undo()
    assert tables(warehouse) == before
    assert rows(warehouse.query("select * from raw.loads")) == contents


def test_tables_are_written_from_arrow_and_replaced(warehouse) -> None:
    columns = {
        "customer_id": ["1", "O'Neil \\ ü"],
        "expected_value": [0.1, None],
        "horizon_days": pa.array([90, 90], pa.int32()),
        "as_of_date": [dt.date(2018, 8, 29)] * 2,
        "scored_at": pa.array([dt.datetime(2018, 8, 29, 1, 2, 3, 4)] * 2, pa.timestamp("us")),
        "is_new": [True, None],
    }
    for _ in range(2):
        warehouse.write_table("marts", "customer_predictions", *batch_of(columns))
    assert warehouse.has_table("marts", "customer_predictions")
    found = warehouse.query("select * from marts.customer_predictions order by customer_id")
    assert found.to_pydict() == pa.table(columns).to_pydict()
    by_name = warehouse.query(
        "select expected_value from marts.customer_predictions where customer_id = $id", {"id": "O'Neil \\ ü"}
    )
    assert by_name.to_pydict() == {"expected_value": [None]}
    warehouse.write_table("marts", "customer_predictions", [], pa.table(columns).schema)
    assert warehouse.query("select * from marts.customer_predictions").num_rows == 0


def test_batches_are_of_about_the_size_asked_for_and_lose_nothing(warehouse) -> None:
    ids = pa.table({"id": pa.array(range(30_000))})
    warehouse.write_table("marts", "many", ids.to_batches(), ids.schema)
    batches = list(warehouse.batches("select id from marts.many", rows=10_000))
    assert all(batch.num_rows >= 10_000 for batch in batches[:-1])
    assert sorted(pa.Table.from_batches(batches).column("id").to_pylist()) == list(range(30_000))


def test_a_table_is_scanned_by_columns_and_condition_without_a_query(warehouse, monkeypatch) -> None:
    days = [dt.date(2018, 1, 1) + dt.timedelta(days=row % 3) for row in range(30_000)]
    table = pa.table({"day": days, "id": pa.array(range(30_000)), "text": ["x"] * 30_000})
    warehouse.write_table("marts", "scanned", table.to_batches(), table.schema)
    monkeypatch.setattr(BigQueryWarehouse, "_run", None)
    everything = list(warehouse.scan("marts", "scanned", rows=10_000))
    assert all(batch.num_rows >= 10_000 for batch in everything[:-1])
    assert pa.Table.from_batches(everything).sort_by("id").to_pydict() == table.to_pydict()
    some = pa.Table.from_batches(warehouse.scan("marts", "scanned", ["id"], "day <= cast('2018-01-02' as date)"))
    assert some.column_names == ["id"]
    assert sorted(some["id"].to_pylist()) == [row for row in range(30_000) if row % 3 < 2]
    [nothing] = warehouse.scan("marts", "scanned", ["id"], "id < 0")
    assert (nothing.num_rows, nothing.schema.names) == (0, ["id"])


def test_rows_are_appended_to_a_table_that_is_made_when_needed(warehouse) -> None:
    assert warehouse.changed_at("serving", "prediction_log") is None
    changes = []
    for day in (1, 2):
        rows = pa.table(
            {
                "predicted_at": pa.array([dt.datetime(2018, 1, day, tzinfo=dt.UTC)], pa.timestamp("us", "UTC")),
                "customer_id": [f"c{day}"],
            }
        )
        warehouse.append("serving", "prediction_log", rows, partition_by="predicted_at", cluster_by="customer_id")
        changes.append(warehouse.changed_at("serving", "prediction_log"))
    assert changes == sorted(set(changes))
    assert warehouse.changed_at("serving", "prediction_log") == changes[-1]
    found = warehouse.query("select customer_id from serving.prediction_log order by 1")
    assert found.column(0).to_pylist() == ["c1", "c2"]
    table = warehouse.clients.rest.get_table(warehouse.table_id("serving", "prediction_log"))
    assert (table.time_partitioning.field, table.clustering_fields) == ("predicted_at", ["customer_id"])
    assert table.labels == {"project": "clv"}
    warehouse.clients.rest.delete_table(table)


def test_a_frame_comes_by_pandas_gbq(warehouse) -> None:
    frame = warehouse.frame("select order_id, price from raw.olist_order_items order by order_id, order_item_id")
    table = warehouse.query("select order_id, price from raw.olist_order_items order by order_id, order_item_id")
    pd.testing.assert_series_equal(frame["order_id"].astype(object), table.to_pandas()["order_id"], check_dtype=False)
    assert frame["price"].tolist() == table.column("price").to_pylist()


def test_a_dry_run_tells_the_bytes_of_the_columns(warehouse) -> None:
    column = warehouse.query("select order_id from raw.olist_orders").column(0).to_pylist()
    estimate = warehouse.estimate("select order_id from raw.olist_orders")
    assert estimate.scanned_bytes == sum(len(text) + 2 for text in column)
    assert (estimate.table_count, estimate.columns) == (1, {"order_id": "STRING"})
    named = warehouse.estimate("select cast(1 as float64) as ratio, 1 as number, true as flag").columns
    assert named == {"ratio": "FLOAT64", "number": "INT64", "flag": "BOOL"}, "as SQL names them, not as REST does"


def test_a_query_over_the_limit_is_refused_before_it_runs(settings, loaded) -> None:
    tight = open_warehouse(settings.model_copy(update={"maximum_bytes_billed": 1000}))
    for ask in (tight.query, tight.frame):
        with pytest.raises(InputError, match=r"limit for bytes billed: 1000.*raise the limit with CLV_BIGQUERY_MAXIMU"):
            ask("select order_id from raw.olist_orders")


@pytest.mark.parametrize("expiration", ["default_table_expiration_ms", "default_partition_expiration_ms"])
def test_setup_is_repeatable_labels_datasets_and_switches_expiration_off(settings, expiration) -> None:
    warehouse = open_warehouse(settings)
    client = warehouse.clients.rest
    first = client.get_dataset(f"{warehouse.project}.{warehouse.dataset}_marts")
    first.labels = {"team": "shop"}
    setattr(first, expiration, 3_600_000)
    client.update_dataset(first, [expiration, "labels"])
    assert getattr(client.get_dataset(first.reference), expiration) == 3_600_000
    # With the labels as they are to be, the expiration alone is a reason to change the dataset.
    first.labels = {"team": "shop", "project": "clv"}
    client.update_dataset(first, ["labels"])
    assert setup_bigquery(settings) == tuple(f"{warehouse.project}.{warehouse.dataset}_{schema}" for schema in SCHEMAS)
    again = client.get_dataset(first.reference)
    assert again.default_table_expiration_ms is None
    assert again.default_partition_expiration_ms is None
    assert again.labels == {"team": "shop", "project": "clv"}
    with pytest.raises(InputError, match=r"is in US, not in EU; give --location US or another name"):
        setup_bigquery(settings.model_copy(update={"bigquery_location": "EU"}))


@pytest.mark.skipif(not REAL, reason="not run on real BigQuery: set CLV_TEST_BIGQUERY=bigquery://PROJECT/DATASET")
def test_the_tests_above_ran_on_real_bigquery_too(request: pytest.FixtureRequest) -> None:
    assert any("[real" in item.name for item in request.session.items)


# ---- what only a stand-in can do


def elsewhere(facade, warehouse: str, **changes: object) -> Settings:
    return Settings.from_environment(facade.environment, warehouse=warehouse, **changes)


@pytest.mark.parametrize(
    ("project", "kind", "says"),
    [
        ("forbidden-project", UnavailableError, r"no permission \(Access Denied.*roles BigQuery Data Editor, Job User"),
        ("exhausted-project", UnavailableError, r"the quota is used up \(Quota exceeded"),
        ("empty-project", InputError, r"is not complete \(Not found.*create it with `clv setup-bigquery`"),
    ],
)
def test_what_is_missing_is_one_clear_sentence(bigquery_facade, project, kind, says, files, tmp_path) -> None:
    settings = elsewhere(bigquery_facade, f"bigquery://{project}/shop", home=tmp_path / "home", threads=2)
    verbs: list[Callable[[], object]] = [
        lambda: load(settings, files, source="olist", today=TODAY),
        lambda: transform(settings, as_of_date=None, horizon_days=90),
        lambda: read_marts(open_warehouse(settings)),
        lambda: open_warehouse(settings).frame("select * from raw.shop"),
    ]
    for verb in verbs:
        with pytest.raises(kind, match=rf"^bigquery://{project}/shop:? {says}.*[^.]\.$") as caught:
            verb()
        assert "\n" not in str(caught.value)


def test_what_is_asked_for_again_because_an_answer_was_lost_is_done_once(
    bigquery_facade, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The clients repeat requests that get no answer, though the first may have done its work: jobs have ids."""
    at_once = SimpleNamespace(sleep=lambda seconds: None, monotonic=time.monotonic)
    for module in ("google.api_core.retry.retry_unary", "google.resumable_media.requests._request_helpers"):
        monkeypatch.setattr(f"{module}.time", at_once)
    settings = elsewhere(bigquery_facade, "bigquery://forgetful-loads/shop", home=tmp_path / "home", threads=2)
    setup_bigquery(settings)
    log, more = tmp_path / "log.csv", tmp_path / "more.csv"
    log.write_text("customer,date,amount,order_id\na,2018-01-01,1,x\na,2018-01-01,1,x\nb,2018-01-02,2,y\n")
    more.write_text("customer,date,amount,order_id\nb,2018-01-03,4,z\na,2018-01-04,5,x\n")
    load(settings, log, source="transactions", today=TODAY)
    load(settings, more, source="transactions", append=True, today=TODAY)
    warehouse = open_warehouse(settings)
    columns, batch = pa.schema([("customer_id", pa.string())]), pa.record_batch({"customer_id": ["a", "b"]})
    warehouse.write_table("marts", "customer_predictions", [batch], columns)
    found = warehouse.query("select customer_id, order_id, amount from raw.transactions order by amount").to_pylist()
    assert [tuple(row.values()) for row in found] == [("b", "y", 2), ("b", "z", 4), ("a", "x", 5)]
    assert warehouse.query("select count(*) as n from raw.loads").to_pylist() == [{"n": 2}]
    assert warehouse.erase({"customer_id": ["b"]}) == {"marts.customer_predictions": 1, "raw.transactions": 2}
    assert tables(warehouse) == {"marts.customer_predictions", "raw.loads", "raw.shop", "raw.transactions"}


def test_nobody_there_is_told(tmp_path: Path) -> None:
    settings = Settings(
        bigquery_emulator_host="http://127.0.0.1:9", bigquery_storage_emulator_host="127.0.0.1:9", home=tmp_path
    )
    with pytest.raises(UnavailableError, match=r"^bigquery://some/shop can't be reached; check the network and try"):
        BigQueryWarehouse("some/shop", settings, patience_seconds=0.1).query("select 1")


def test_no_credentials_is_told(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(UnavailableError, match=r"No Google credentials found for bigquery://some; log in with `gcloud"):
        BigQueryWarehouse("some/shop", Settings(home=tmp_path)).query("select 1")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist; expected a key file"),
        ("folder", "is a folder; expected a key file"),
        ("not json", "is not a key that can be read"),
        ("[]", "is not a key that can be read"),
        ('{"type": "service_account"}', "is not a key that can be read"),
    ],
)
def test_a_key_file_that_is_none_is_named(monkeypatch, tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "key.json"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    expected = (
        rf"^GOOGLE_APPLICATION_CREDENTIALS names {path}, which {says}[^.]* so correct the variable, or unset.*`\.$"
    )
    with pytest.raises(UnavailableError, match=expected):
        BigQueryWarehouse("some/shop", Settings(home=tmp_path)).query("select 1")


@pytest.mark.parametrize("name", ["", "project", "project/", "/dataset", "project/data set", "project/a/b", "p/d-e"])
def test_an_address_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"is not an address; expected bigquery://PROJECT/DATASET"):
        open_warehouse(Settings(warehouse=f"bigquery://{name}"))


def test_setup_wants_a_bigquery_address(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not BigQuery; expected bigquery://PROJECT/DATASET"):
        setup_bigquery(Settings(home=tmp_path))
