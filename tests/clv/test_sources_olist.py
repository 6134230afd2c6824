import csv
import hashlib
import shutil
import stat
import zipfile
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from clv.errors import ClvError, InputError, UnavailableError
from clv.forget import forget
from clv.load import LoadReport, load
from clv.settings import Settings
from clv.sources import files
from clv.sources.download import download_olist
from clv.sources.olist import TABLES
from clv.sources.transactions import TransactionColumns

TODAY = date(2018, 6, 1)
ORDERS = 6

Rows = list[list[str]]


def write_rows(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def read_rows(path: Path) -> Rows:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.reader(stream))


def write_olist(folder: Path, prefix: str = "") -> Path:
    """A whole Olist folder: six orders of five customers, one of whom bought on two days."""
    folder.mkdir(parents=True, exist_ok=True)
    header = {table.file: list(table.columns) for table in TABLES}
    tables: dict[str, Rows] = {name: [columns] for name, columns in header.items() if "geolocation" not in name}
    for number in range(1, ORDERS + 1):
        order, customer = f"{prefix}o{number}", f"{prefix}c{number}"
        person = f"{prefix}p{1 if number == ORDERS else number}"
        day = f"2018-01-{number:02d}"
        tables["olist_customers_dataset.csv"].append([customer, person, "01001", "sao paulo", "SP"])
        tables["olist_orders_dataset.csv"].append(
            [order, customer, "delivered", f"{day} 10:00:00", f"{day} 10:05:00", "", "", "2018-02-01 00:00:00"]
        )
        tables["olist_order_items_dataset.csv"].append(
            [order, "1", "product", "seller", "2020-04-09 22:35:08", "10.00", "2.50"]
        )
        tables["olist_order_payments_dataset.csv"].append([order, "1", "boleto", "1", "12.50"])
        tables["olist_order_reviews_dataset.csv"].append(
            [f"r{order}", order, "5", "", "two\nlines, and a comma", "2018-01-20 00:00:00", "2018-01-21 09:00:00"]
        )
    tables["olist_products_dataset.csv"].append(["product", "perfumaria", "40", "287", "1", "225.0", "16", "10", "14"])
    tables["olist_sellers_dataset.csv"].append(["seller", "13023", "campinas", "SP"])
    tables["product_category_name_translation.csv"].append(["perfumaria", "perfumery"])
    for name, rows in tables.items():
        write_rows(folder / name, rows)
    return folder


def zip_folder(folder: Path, target: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in sorted(folder.iterdir()):
            archive.write(member, inside + member.name)
    return target


def set_cell(folder: Path, table: str, line: int, column: str, value: str) -> None:
    """Change one value; `line` as in the file while no earlier row holds a line break."""
    rows = read_rows(folder / table)
    rows[line - 1][rows[0].index(column)] = value
    write_rows(folder / table, rows)


def settings_of(home: Path) -> Settings:
    return Settings(home=home, threads=2)


def load_olist(home: Path, path: Path, **options: object) -> LoadReport:
    return load(settings_of(home), path, source="olist", today=TODAY, **options)  # type: ignore[arg-type]


def ask(home: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
        return rows


@pytest.fixture(scope="module")
def loaded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("loaded") / "home"
    load_olist(home, write_olist(home.parent / "olist"))
    return home


@pytest.fixture
def home(loaded_home: Path, tmp_path: Path) -> Path:
    """A home of its own with the small shop loaded."""
    return Path(shutil.copytree(loaded_home, tmp_path / "home"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_olist(tmp_path / "olist")


def refused(home: Path, path: Path, match: str, kind: type[ClvError] = InputError, **options: object) -> None:
    """The load is refused with that message and the home is as it was."""
    before = {member: member.read_bytes() for member in home.rglob("*") if member.is_file()}
    with pytest.raises(kind, match=match) as caught:
        load_olist(home, path, **options)
    assert "\n" not in str(caught.value)
    assert {member: member.read_bytes() for member in home.rglob("*") if member.is_file()} == before


def test_what_was_loaded_is_told_and_recorded(tmp_path: Path, folder: Path) -> None:
    steps: list[str] = []
    report = load_olist(tmp_path / "home", folder, progress=steps.append)
    assert (report.customers, report.orders, report.total_amount) == (5, 6, Decimal("75.00"))
    assert (report.first_purchase_date, report.last_purchase_date) == (date(2018, 1, 1), date(2018, 1, 6))
    assert (report.as_of_date, report.currency, report.time_zone) == (date(2018, 1, 6), "BRL", "America/Sao_Paulo")
    assert report.shop_id == report.fingerprint
    assert {entry.table: (entry.rows, entry.dropped) for entry in report.files}["olist_orders"] == (6, 0)
    assert "reading olist_orders_dataset.csv" in steps
    assert ask(tmp_path / "home", "select * from raw.shop") == [
        (
            *(report.shop_id, "olist", "BRL", "America/Sao_Paulo", date(2018, 1, 6)),
            *(date(2018, 1, 1), date(2018, 1, 6), 5, 6, report.fingerprint),
        )
    ]
    sums = dict(ask(tmp_path / "home", "select file, sha256 from raw.loads"))
    orders = (folder / "olist_orders_dataset.csv").read_bytes()
    assert sums["olist_orders_dataset.csv"] == hashlib.sha256(orders).hexdigest()
    assert not (tmp_path / "home" / ".load").exists()


def test_values_arrive_typed_and_verbatim(home: Path) -> None:
    assert ask(home, "select * from raw.olist_order_payments order by 1 limit 1") == [
        ("o1", 1, "boleto", 1, Decimal("12.5000"))
    ]
    assert ask(home, "select customer_zip_code_prefix, customer_state from raw.olist_customers limit 1") == [
        ("01001", "SP")
    ]
    assert ask(home, "select review_comment_title, review_comment_message from raw.olist_order_reviews limit 1") == [
        (None, "two\nlines, and a comma")
    ]
    columns = ask(
        home, "select column_name, data_type from information_schema.columns where table_name = 'olist_orders'"
    )
    assert dict(columns)["order_purchase_timestamp"] == "TIMESTAMP"
    tables = {
        row[0] for row in ask(home, "select table_name from information_schema.tables where table_schema = 'raw'")
    }
    assert tables == {table.name for table in TABLES} | {"loads", "shop"}


@pytest.mark.parametrize("inside", ["", "archive/csv/"])
def test_zip_and_folder_are_the_same_shop(home: Path, folder: Path, tmp_path: Path, inside: str) -> None:
    by_zip = load_olist(tmp_path / "other", zip_folder(folder, tmp_path / "olist.zip", inside))
    assert by_zip.fingerprint == ask(home, "select fingerprint from raw.shop")[0][0]


def test_separate_files_are_a_load(tmp_path: Path, folder: Path) -> None:
    paths = sorted(folder.iterdir())
    report = load(settings_of(tmp_path / "home"), paths, source="olist", today=TODAY)
    assert report.orders == 6
    with pytest.raises(InputError, match=r"olist_orders_dataset\.csv.* is given twice"):
        load(settings_of(tmp_path / "home"), [*paths, folder], source="olist", today=TODAY)


def test_geolocation_is_loaded_where_it_is(tmp_path: Path, folder: Path) -> None:
    columns = next(list(table.columns) for table in TABLES if table.name == "olist_geolocation")
    write_rows(folder / "olist_geolocation_dataset.csv", [columns, ["01001", "-23.55", "-46.63", "são paulo", "SP"]])
    load_olist(tmp_path / "home", folder)
    assert ask(tmp_path / "home", "from raw.olist_geolocation") == [("01001", -23.55, -46.63, "são paulo", "SP")]


def test_bom_crlf_extra_and_moved_columns_are_accepted(tmp_path: Path, folder: Path, home: Path) -> None:
    for path in folder.iterdir():
        rows = [[*reversed(row), "extra"] for row in read_rows(path)]
        with path.open("w", encoding="utf-8-sig", newline="") as stream:
            csv.writer(stream, lineterminator="\r\n").writerows(rows)
    load_olist(tmp_path / "other", folder)
    for table in TABLES:
        sql = f"select * from raw.{table.name} order by all"
        assert ask(tmp_path / "other", sql) == ask(home, sql)


def test_customers_of_canceled_orders_alone_are_counted(tmp_path: Path, folder: Path) -> None:
    said = "customers whose orders were all canceled or unavailable, and who are not scored"
    assert not any(said in note for note in load_olist(tmp_path / "before", folder).notes)
    orders = read_rows(folder / "olist_orders_dataset.csv")
    for line in range(3, len(orders) + 1):
        set_cell(folder, "olist_orders_dataset.csv", line, "order_status", "canceled")
    report = load_olist(tmp_path / "home", folder)
    assert f"{said}: {report.customers - 1}." in report.notes


def add_customers(folder: Path, *customers: str) -> None:
    """Customers, each a person of their own, without any order."""
    path = folder / "olist_customers_dataset.csv"
    write_rows(path, [*read_rows(path), *([customer, f"of {customer}", "", "", ""] for customer in customers)])


def test_customers_without_an_order_are_an_oddity_that_olist_lacks(home: Path, folder: Path) -> None:
    add_customers(folder, "x1")
    notes = load_olist(home, folder).notes
    assert "customers without an order: 1." in notes
    assert not any("canceled or unavailable" in note for note in notes)
    add_customers(folder, "x2")
    refused(home, folder, "customers without an order: 2 of 8 in olist_customers; expected at most 0.0%")
    add_customers(folder, "x3")
    refused(home, folder, "customers without an order: 2 of 9 in olist_customers", append=True)  # x1 is loaded


@pytest.mark.parametrize("column", ["order_purchase_timestamp", "customer_id"])
def test_customers_of_dropped_orders_may_have_none(tmp_path: Path, folder: Path, column: str) -> None:
    settings = Settings(home=tmp_path / "home", threads=2, max_null_share=0.6)
    for line in (3, 4, 5):
        set_cell(folder, "olist_orders_dataset.csv", line, column, "")
    report = load(settings, folder, source="olist", today=TODAY)
    assert (report.customers, report.orders) == (5, 3)
    assert not any(note.startswith("customers ") for note in report.notes)
    for table in (
        "orders",
        "order_items",
        "order_payments",
        "order_reviews",
    ):  # the first order, but all customers again
        path = folder / f"olist_{table}_dataset.csv"
        write_rows(path, read_rows(path)[:2])
    assert load(settings, folder, source="olist", today=TODAY, append=True).orders == 3
    add_customers(folder, "x1", "x2")
    with pytest.raises(InputError, match="customers without an order: 2 of 8"):
        load(settings, folder, source="olist", today=TODAY, append=True)


def test_oddities_of_olist_are_accepted_and_reported(tmp_path: Path, folder: Path) -> None:
    set_cell(folder, "olist_order_reviews_dataset.csv", 2, "review_creation_date", "")
    set_cell(folder, "olist_products_dataset.csv", 2, "product_category_name", "pc_gamer")
    for table in ("olist_order_payments_dataset.csv", "olist_order_items_dataset.csv"):
        write_rows(folder / table, read_rows(folder / table)[:-1])
    notes = load_olist(tmp_path / "home", folder).notes
    for expected in (
        "orders without a payment: 1.",
        "orders without an item: 1.",
        "reviews without a creation date: 1.",
        "product categories without a translation: 1.",
        "olist_geolocation_dataset.csv is not there; it is optional and its table is empty.",
    ):
        assert expected in notes


def test_canceled_orders_need_no_items(tmp_path: Path, folder: Path) -> None:
    for line, status in ((6, "canceled"), (7, "unavailable")):
        set_cell(folder, "olist_orders_dataset.csv", line, "order_status", status)
    items = folder / "olist_order_items_dataset.csv"
    write_rows(items, read_rows(items)[:-2])
    assert "orders without an item: 2." in load_olist(tmp_path / "home", folder).notes


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("olist_order_payments_dataset.csv", "orders without a payment: 2 of 6 in olist_orders; expected at most 0.1%"),
        (
            "olist_order_items_dataset.csv",
            "orders without an item that are neither .*: 2 of 6 in olist_orders; expected at most 0.1%",
        ),
    ],
)
def test_more_oddities_than_olist_has_are_refused(home: Path, folder: Path, table: str, message: str) -> None:
    write_rows(folder / table, read_rows(folder / table)[:-2])
    refused(home, folder, message)


@pytest.mark.parametrize(
    ("table", "column", "value", "expected"),
    [
        ("olist_orders_dataset.csv", "order_purchase_timestamp", "01/02/2018", "a time such as 2018-01-31 10:56:33"),
        ("olist_orders_dataset.csv", "order_approved_at", "2018-02-30 00:00:00", "a time such as"),
        ("olist_orders_dataset.csv", "order_approved_at", "2018-02-03 00:00:00-03:00", "a time such as"),
        ("olist_order_items_dataset.csv", "order_item_id", "1.5", "a whole number"),
        ("olist_order_items_dataset.csv", "price", "12,50", "an amount such as 1234.56"),
        ("olist_order_payments_dataset.csv", "payment_value", "R$ 5", "an amount such as 1234.56"),
        ("olist_order_payments_dataset.csv", "payment_value", "inf", "an amount such as 1234.56"),
        ("olist_order_payments_dataset.csv", "payment_value", "123456789012345678", "an amount such as 1234.56"),
        ("olist_products_dataset.csv", "product_weight_g", "heavy", "a number such as 12.5"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(
    home: Path, folder: Path, table: str, column: str, value: str, expected: str
) -> None:
    set_cell(folder, table, 2, column, value)
    refused(
        home, folder, rf"^{table}, line 2, column {column}: expected {expected}.*, found '{value.replace('$', '.')}'"
    )


def test_lines_are_counted_as_an_editor_counts(home: Path, folder: Path) -> None:
    path = folder / "olist_order_reviews_dataset.csv"  # every row before holds a line break
    rows = read_rows(path)
    rows[5][2] = "five"
    write_rows(path, rows)
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if text.startswith("ro5,o5,five"))
    assert line == 10
    refused(home, folder, f"line {line}, column review_score: expected a whole number, found 'five'")


def test_a_line_break_that_is_missing_or_a_quote_too_many_is_named(home: Path, folder: Path) -> None:
    path = folder / "olist_sellers_dataset.csv"
    good = path.read_text()
    path.write_text(good + "s2,13023\n")
    refused(home, folder, r"olist_sellers_dataset\.csv, line 3: 2 fields; expected 4, as in the header")
    path.write_text(good + 's2,13023,"campinas,SP\n')
    refused(home, folder, r"olist_sellers_dataset\.csv, line 3: the quoting is broken")
    path.write_bytes(good.encode() + b"s2,13023,campinas,SP\r\n")
    refused(home, folder, r"olist_sellers_dataset\.csv mixes line ends")


def test_header_faults_are_named(home: Path, folder: Path) -> None:
    path = folder / "olist_orders_dataset.csv"
    good = path.read_text()
    path.write_text(good.replace("order_status", "status", 1))
    refused(home, folder, r"olist_orders_dataset\.csv: column order_status missing in the header; found order_id, ")
    path.write_text(
        good.replace("order_approved_at", "order_status", 1)
        .replace("\n", ",\n")
        .replace("date,\n", "date,order_approved_at\n", 1)
    )
    refused(home, folder, "column order_status is in the header 2 times")
    path.write_text("\n" + good.partition("\n")[2])
    refused(home, folder, "column order_id, customer_id, .* missing in the header")
    path.write_text(good.partition("\n")[0] + "\n")
    refused(home, folder, r"olist_orders_dataset\.csv has a header but no rows")
    path.write_text("")
    refused(home, folder, r"olist_orders_dataset\.csv is empty")


def test_encodings_other_than_utf_8_are_named_with_the_way_out(home: Path, folder: Path) -> None:
    path = folder / "olist_sellers_dataset.csv"
    text = path.read_text().replace("campinas", "são paulo")
    path.write_bytes(text.encode("latin-1"))
    refused(home, folder, r"sellers_dataset\.csv, line 2: byte 0xE3 is not UTF-8 .*iconv -f LATIN1 -t UTF-8")
    path.write_bytes(text.encode("utf-16"))
    refused(home, folder, r"sellers_dataset\.csv is UTF-16; .*iconv -f UTF-16 -t UTF-8")
    path.write_bytes(text.encode() + b"\0")
    refused(home, folder, "NUL bytes")
    path.write_bytes(text.encode() + "ã".encode()[:1])
    refused(home, folder, r"line 3: byte 0xC3 is not UTF-8")


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("olist_customers_dataset.csv", "customer_id = c2"),
        ("olist_orders_dataset.csv", "order_id = o2"),
        ("olist_order_items_dataset.csv", "order_id, order_item_id = o2, 1"),
        ("olist_order_payments_dataset.csv", "order_id, payment_sequential = o2, 1"),
    ],
)
def test_duplicate_keys_are_refused(home: Path, folder: Path, table: str, key: str) -> None:
    rows = read_rows(folder / table)
    write_rows(folder / table, [*rows, rows[2]])
    refused(home, folder, rf"^{table}, line 3 and line 8: {key} occurs more than once")


@pytest.mark.parametrize(
    ("table", "column", "parent"),
    [
        ("olist_orders_dataset.csv", "customer_id", "olist_customers"),
        ("olist_order_items_dataset.csv", "product_id", "olist_products"),
        ("olist_order_items_dataset.csv", "seller_id", "olist_sellers"),
        ("olist_order_payments_dataset.csv", "order_id", "olist_orders"),
    ],
)
def test_orphans_are_refused(home: Path, folder: Path, table: str, column: str, parent: str) -> None:
    set_cell(folder, table, 3, column, "nowhere")
    refused(home, folder, rf"^{table}, line 3, column {column}: 'nowhere' is not in {parent} \(such rows: 1\)")


def test_rows_without_customer_or_date_are_dropped_with_what_hangs_on_them(tmp_path: Path, folder: Path) -> None:
    set_cell(folder, "olist_orders_dataset.csv", 4, "order_purchase_timestamp", "")
    set_cell(folder, "olist_customers_dataset.csv", 6, "customer_unique_id", " ")
    settings = Settings(home=tmp_path / "home", threads=2, max_null_share=0.2)
    report = load(settings, folder, source="olist", today=TODAY)
    dropped = {entry.table: entry.dropped for entry in report.files}
    assert dropped["olist_customers"] == 1
    assert dropped["olist_orders"] == dropped["olist_order_items"] == dropped["olist_order_payments"] == 2
    assert (report.customers, report.orders) == (4, 4)
    assert any(
        note.startswith("olist_orders_dataset.csv: rows without order_id or") and note.endswith(": 1.")
        for note in report.notes
    )


def test_more_rows_without_customer_or_date_are_refused(home: Path, folder: Path) -> None:
    set_cell(folder, "olist_orders_dataset.csv", 4, "order_purchase_timestamp", "")
    refused(
        home,
        folder,
        r"olist_orders_dataset\.csv: 1 of 6 rows have no value in a required column \(the first: line 4, column "
        r"order_purchase_timestamp\); expected at most 1\.0%",
    )


def test_orders_after_tomorrow_are_refused(home: Path, folder: Path) -> None:
    set_cell(folder, "olist_orders_dataset.csv", 4, "order_purchase_timestamp", "2018-06-02 23:59:59")
    load_olist(home, folder)
    set_cell(folder, "olist_orders_dataset.csv", 4, "order_purchase_timestamp", "2018-06-03 00:00:00")
    refused(
        home, folder, "line 4, column order_purchase_timestamp: .* lies in the future; expected no day after 2018-06-02"
    )


@pytest.mark.parametrize(
    ("table", "column", "value", "says"),
    [
        (
            "olist_orders_dataset.csv",
            "order_purchase_timestamp",
            "0000-01-01 00:00:00",
            r"'0001-01-01 \(BC\) 00:00:00'",
        ),
        ("olist_orders_dataset.csv", "order_purchase_timestamp", "0001-01-01 00:00:00", "'0001-01-01 00:00:00'"),
        ("olist_orders_dataset.csv", "order_purchase_timestamp", "1677-12-31 23:59:59", "'1677-12-31 23:59:59'"),
        ("olist_orders_dataset.csv", "order_approved_at", "0000-01-01 00:00:00", r"'0001-01-01 \(BC\) 00:00:00'"),
        ("olist_order_items_dataset.csv", "shipping_limit_date", "0001-01-01 00:00:00", "'0001-01-01 00:00:00'"),
    ],
)
def test_times_before_1678_are_refused(
    home: Path, folder: Path, table: str, column: str, value: str, says: str
) -> None:
    set_cell(folder, table, 4, column, value)
    refused(
        home, folder, rf"^{table}, line 4, column {column}: {says} lies before 1678-01-01; expected no earlier day,"
    )
    set_cell(folder, table, 4, column, "1678-01-01 00:00:00")
    load_olist(home, folder)


def test_canceled_orders_are_no_purchases(tmp_path: Path, folder: Path) -> None:
    set_cell(folder, "olist_orders_dataset.csv", 7, "order_status", "canceled")
    set_cell(folder, "olist_orders_dataset.csv", 2, "order_status", "unavailable")
    report = load_olist(tmp_path / "home", folder)
    assert (report.first_purchase_date, report.last_purchase_date) == (date(2018, 1, 2), date(2018, 1, 5))
    assert (report.orders, report.total_amount) == (6, Decimal("75.00"))


# --- archives ---------------------------------------------------------------------------------------------------------


def test_missing_things_are_named(home: Path, folder: Path, tmp_path: Path) -> None:
    refused(home, tmp_path / "nowhere.zip", r"nowhere\.zip does not exist")
    (folder / "olist_sellers_dataset.csv").unlink()
    (folder / "olist_orders_dataset.csv").unlink()
    lacks = r"lacks 2 of Olist's tables \(olist_orders_dataset\.csv, olist_sellers_dataset\.csv\)"
    refused(home, folder, lacks)
    refused(home, zip_folder(folder, tmp_path / "some.zip"), lacks)
    refused(home, folder / "olist_customers_dataset.csv", "lacks 7 of Olist's tables")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    refused(home, tmp_path / "none.zip", "lacks 8 of Olist's tables")
    (tmp_path / "empty").mkdir()
    refused(home, tmp_path / "empty", "lacks 8 of Olist's tables")


def test_what_is_no_zip_or_a_damaged_one_is_named(home: Path, folder: Path, tmp_path: Path) -> None:
    good = zip_folder(folder, tmp_path / "good.zip").read_bytes()
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"customer_id,amount\n")
    refused(home, bad, r"bad\.zip is not a zip or is damaged")
    bad.write_bytes(b"")
    refused(home, bad, "is not a zip or is damaged")
    bad.write_bytes(good[: len(good) // 2])
    refused(home, bad, "is not a zip or is damaged")
    with zipfile.ZipFile(tmp_path / "good.zip") as archive:
        member = archive.getinfo("olist_orders_dataset.csv")
    start = member.header_offset + 30 + len(member.filename)
    middle = start + member.compress_size // 2
    bad.write_bytes(good[:middle] + bytes([good[middle] ^ 0xFF]) + good[middle + 1 :])
    refused(home, bad, "is not a zip or is damaged")


def test_no_damaged_byte_of_a_member_goes_unnoticed(folder: Path, tmp_path: Path) -> None:
    good = zip_folder(folder, tmp_path / "good.zip").read_bytes()
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(tmp_path / "good.zip") as archive:
        member = archive.getinfo("olist_orders_dataset.csv")
    start = member.header_offset + 30 + len(member.filename)
    (tmp_path / "work").mkdir()
    noticed = 0
    for offset in range(start, start + member.compress_size):
        bad.write_bytes(good[:offset] + bytes([good[offset] ^ 0x55]) + good[offset + 1 :])
        try:
            unpacked = files.unzip(bad, [member.filename], tmp_path / "work")[member.filename]
        except InputError:
            noticed += 1
        else:  # padding bits at the end of the stream mean nothing
            assert unpacked.path.read_bytes() == (folder / member.filename).read_bytes()
    assert noticed >= member.compress_size - 1


def test_an_encrypted_zip_is_refused(home: Path, folder: Path, tmp_path: Path) -> None:
    path = zip_folder(folder, tmp_path / "locked.zip")
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(mark)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(mark, place + 4)
    path.write_bytes(content)
    refused(home, path, "can't be unpacked .*expected a plain zip without a password")


@pytest.mark.parametrize(
    "name", ["../olist_orders_dataset.csv", "/tmp/olist_orders_dataset.csv", "a\\..\\..\\x.csv", "C:/x"]
)
def test_a_zip_that_leads_outside_is_refused(home: Path, folder: Path, tmp_path: Path, name: str) -> None:
    path = zip_folder(folder, tmp_path / "outside.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "x")
    refused(home, path, "leads outside its folder")


def test_a_zip_with_a_link_is_refused(home: Path, folder: Path, tmp_path: Path) -> None:
    path = zip_folder(folder, tmp_path / "link.zip")
    link = zipfile.ZipInfo("olist_geolocation_dataset.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(home, path, "holds the link 'olist_geolocation_dataset.csv'")


def test_a_zip_with_a_table_twice_is_refused(home: Path, folder: Path, tmp_path: Path) -> None:
    path = zip_folder(folder, tmp_path / "twice.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("old/olist_orders_dataset.csv", "x")
    refused(home, path, r"holds olist_orders_dataset\.csv twice")


def test_a_zip_that_unpacks_to_far_too_much_is_refused(home: Path, folder: Path, tmp_path: Path) -> None:
    path = zip_folder(folder, tmp_path / "bomb.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as member:
        for _ in range(80):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    refused(home, path, r"bomb\.zip unpacks to 80 MiB or more, over the 64 MiB allowed")


def test_the_limit_holds_for_large_archives_too(
    home: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_UNPACKED_BYTES", 1000)
    refused(home, zip_folder(folder, tmp_path / "olist.zip"), "over the 0 MiB allowed")


# --- options, appending, download -------------------------------------------------------------------------------------


def test_column_options_are_refused_and_zone_and_currency_taken(home: Path, folder: Path, tmp_path: Path) -> None:
    refused(home, folder, "for --source transactions", columns=TransactionColumns(decimal=","))
    report = load_olist(tmp_path / "new", folder, columns=TransactionColumns(currency="EUR", time_zone="UTC"))
    assert (report.currency, report.time_zone) == ("EUR", "UTC")
    refused(tmp_path / "new", folder, "Currencies differ", columns=TransactionColumns(currency="USD"))
    assert load_olist(tmp_path / "new", folder).currency == "EUR"


def change_nothing(folder: Path) -> None:
    pass


def only_new_orders(folder: Path) -> None:
    shutil.rmtree(folder)
    write_olist(folder, prefix="n")


def a_changed_payment(folder: Path) -> None:
    set_cell(folder, "olist_order_payments_dataset.csv", 3, "payment_value", "100.00")


@pytest.mark.parametrize(
    ("change", "orders", "amount"),
    [(change_nothing, 6, "75.00"), (only_new_orders, 12, "150.00"), (a_changed_payment, 6, "162.50")],
)
def test_append_adds_or_replaces_by_order_id(
    home: Path, folder: Path, change: Callable[[Path], None], orders: int, amount: str
) -> None:
    shop_id = ask(home, "select shop_id from raw.shop")[0][0]
    change(folder)
    for _ in range(2):  # a second time changes nothing
        report = load_olist(home, folder, append=True)
        assert (report.orders, report.total_amount, report.shop_id) == (orders, Decimal(amount), shop_id)
    assert ask(home, "select count(*) from raw.olist_products") == [(1,)]
    assert ask(home, "select count(*) from raw.loads") == [(24,)]


def test_what_is_loaded_stays_with_its_person(home: Path, folder: Path) -> None:
    set_cell(folder, "olist_orders_dataset.csv", 3, "customer_id", "c3")
    refused(
        home,
        folder,
        r"^olist_orders_dataset\.csv, line 3, column customer_id: order 'o2' is of customer_unique_id 'p3', but was "
        r"loaded for 'p2'; expected one person per order, .* without --append\.$",
        append=True,
    )
    set_cell(folder, "olist_orders_dataset.csv", 3, "customer_id", "new")  # an id per order, so a move brings its own
    set_cell(folder, "olist_customers_dataset.csv", 3, "customer_id", "new")
    set_cell(folder, "olist_customers_dataset.csv", 3, "customer_unique_id", "p3")
    refused(home, folder, "line 3, column customer_id: order 'o2' is of customer_unique_id 'p3'", append=True)
    set_cell(folder, "olist_customers_dataset.csv", 3, "customer_id", "c2")
    set_cell(folder, "olist_orders_dataset.csv", 3, "customer_id", "c2")
    refused(
        home,
        folder,
        r"^olist_customers_dataset\.csv, line 3, column customer_unique_id: customer_id 'c2' is of 'p3', but was "
        r"loaded for 'p2'; expected one person per customer_id, .* without --append\.$",
        append=True,
    )
    assert load_olist(home, folder).customers == 4  # anew, the files say who is who


def test_a_loaded_order_may_get_another_id_of_its_person(home: Path, folder: Path) -> None:
    for line, customer in ((2, "c6"), (7, "c1")):  # both are ids of p1
        set_cell(folder, "olist_orders_dataset.csv", line, "customer_id", customer)
    set_cell(folder, "olist_orders_dataset.csv", 3, "customer_id", "new")
    path = folder / "olist_customers_dataset.csv"
    write_rows(path, [*read_rows(path), ["new", "p2", "", "", ""]])
    report = load_olist(home, folder, append=True)
    assert (report.customers, report.orders) == (5, 6)
    assert not any(note.startswith("customers ") for note in report.notes)


def test_who_was_forgotten_may_come_again(home: Path, folder: Path) -> None:
    forget(settings_of(home), "p1")
    load_olist(home, write_olist(folder.parent / "later", prefix="n"), append=True)
    assert ask(home, "select count(*) from raw.olist_orders") == [(4 + ORDERS,)]
    report = load_olist(home, folder, append=True)
    assert (report.customers, report.orders) == (10, 2 * ORDERS)
    assert not any(note.startswith("customers ") for note in report.notes)


def test_download_without_kagglehub_or_internet_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kagglehub", None)
    with pytest.raises(
        UnavailableError, match=r"needs kagglehub, which is not installed: `pip install 'clv\[download\]'`"
    ):
        download_olist()

    class Kagglehub:
        answer: object = ConnectionError("no route to host\nlong trace")

        def dataset_download(self, name: str) -> str:
            assert name == "olistbr/brazilian-ecommerce"
            if isinstance(self.answer, Exception):
                raise self.answer
            return str(self.answer)

    monkeypatch.setitem(__import__("sys").modules, "kagglehub", Kagglehub())
    with pytest.raises(UnavailableError, match=r"could not be fetched from Kaggle \(no route to host\)"):
        download_olist()
    Kagglehub.answer = tmp_path
    assert download_olist() == tmp_path


# --- the real thing ---------------------------------------------------------------------------------------------------


def test_the_facts_of_olist(tmp_path: Path, olist_zip: Path) -> None:
    home = tmp_path / "home"
    report = load(settings_of(home), olist_zip, source="olist")
    assert (report.orders, report.customers, report.total_amount) == (99_441, 96_096, Decimal("16008872.1200"))
    assert date(2018, 8, 27) <= report.as_of_date <= date(2018, 8, 31)
    assert not any(entry.dropped for entry in report.files)
    rows = {entry.table: entry.rows for entry in report.files}
    assert rows["olist_order_items"] == 112_650
    assert rows["olist_order_reviews"] == 99_224
    for note in (
        "orders without a payment: 1.",
        "orders without an item: 775.",
        "customers whose orders were all canceled or unavailable, and who are not scored: 1,106.",
        "reviews without a creation date: 18.",
        f"purchases after {report.as_of_date}, whose days look incomplete and which are not used unless --as-of "
        "2018-09-03 takes them in: 1.",
    ):
        assert note in report.notes
    assert ask(home, "select count(*) from raw.olist_orders") == [(99_441,)]
    # rows arrive in the order of the file, which is what positions in messages rest on
    with zipfile.ZipFile(olist_zip) as archive, archive.open("olist_order_reviews_dataset.csv") as stream:
        ids = [row[0] for row in csv.reader(line.decode() for line in stream)][1:]
    assert [row[0] for row in ask(home, "select review_id from raw.olist_order_reviews")] == ids


def test_a_fault_late_in_a_large_file_is_named_by_its_line(tmp_path: Path, olist_zip: Path) -> None:
    with zipfile.ZipFile(olist_zip) as archive:
        archive.extractall(tmp_path / "olist")
    path = tmp_path / "olist" / "olist_order_reviews_dataset.csv"
    lines = path.read_text(encoding="utf-8").split("\n")
    place = next(n for n in range(100_000, len(lines)) if lines[n].count(",") == 6 and lines[n][32:33] == ",")
    fields = lines[place].split(",")
    fields[2] = "bad"
    lines[place] = ",".join(fields)
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(
        InputError, match=f"line {place + 1}, column review_score: expected a whole number, found 'bad'"
    ):
        load(settings_of(tmp_path / "home"), tmp_path / "olist", source="olist")
