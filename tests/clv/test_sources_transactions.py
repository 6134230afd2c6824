import gzip
import re
import shutil
import subprocess
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from clv.errors import ClvError, InputError
from clv.load import LoadReport, load
from clv.settings import Settings
from clv.sources import files, values
from clv.sources.transactions import TransactionColumns

TODAY = date(2018, 6, 1)
LOG = """customer_id,date,amount,order_id
00001,2018-01-01,10.00,a
00002,2018-01-02,20.50,b
00001,2018-01-05,5.25,c
"""


def load_log(home: Path, path: Path, columns: TransactionColumns | None = None, **options: object) -> LoadReport:
    settings = Settings(home=home, threads=2)
    return load(settings, path, source="transactions", columns=columns, today=TODAY, **options)  # type: ignore[arg-type]


def select(home: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
        return rows


def times(home: Path) -> list[datetime]:
    return [row[0] for row in select(home, "select purchased_at from raw.transactions")]


@pytest.fixture(scope="module")
def loaded_log_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loaded")
    (folder / "log.csv").write_text(LOG)
    load_log(folder / "home", folder / "log.csv")
    return folder / "home"


@pytest.fixture
def home(loaded_log_home: Path, tmp_path: Path) -> Path:
    """A home of its own with the small log loaded."""
    return Path(shutil.copytree(loaded_log_home, tmp_path / "home"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def refused(
    home: Path,
    path: Path,
    match: str,
    columns: TransactionColumns | None = None,
    kind: type[ClvError] = InputError,
    **options: object,
) -> None:
    """The load is refused with that message and the home is as it was."""
    before = {member: member.read_bytes() for member in home.rglob("*") if member.is_file()}
    with pytest.raises(kind, match=match) as caught:
        load_log(home, path, columns, **options)
    assert "\n" not in str(caught.value)
    assert {member: member.read_bytes() for member in home.rglob("*") if member.is_file()} == before


def test_a_log_is_loaded_verbatim_and_told(home: Path, log: Path) -> None:
    report = load_log(home, log)
    assert (report.customers, report.orders, report.total_amount) == (2, 3, Decimal("35.7500"))
    assert (report.first_purchase_date, report.last_purchase_date) == (date(2018, 1, 1), date(2018, 1, 5))
    assert (report.currency, report.time_zone, report.source) == ("USD", "UTC", "transactions")
    assert report.notes == (
        "log.csv: columns used: customer = customer_id, time = date, amount = amount, order = order_id.",
    )
    assert select(home, "from raw.transactions") == [
        ("00001", "a", datetime(2018, 1, 1), Decimal("10.0000")),
        ("00002", "b", datetime(2018, 1, 2), Decimal("20.5000")),
        ("00001", "c", datetime(2018, 1, 5), Decimal("5.2500")),
    ]
    tables = select(home, "select table_name from information_schema.tables where table_schema = 'raw' order by 1")
    assert tables == [("loads",), ("shop",), ("transactions",)]


@pytest.mark.parametrize(
    "header",
    [
        "customer_id,timestamp,amount,order_id",
        "Customer,Order Date,Revenue,Invoice",
        "USER_ID,invoice-date,Value,OrderID",
        "customer,date,total,order id",
    ],
)
def test_the_usual_names_are_recognised(tmp_path: Path, log: Path, header: str) -> None:
    log.write_text(header + "\n" + LOG.partition("\n")[2])
    assert load_log(tmp_path / "new", log).total_amount == Decimal("35.75")


def test_named_columns_win_and_extra_columns_do_no_harm(tmp_path: Path, log: Path) -> None:
    log.write_text('who,customer_id,"when, local",date,net,amount\nx,1,2018-01-01,2,3.5,n/a\n')
    report = load_log(tmp_path / "new", log, TransactionColumns(customer="who", time="when, local", amount="net"))
    assert select(tmp_path / "new", "from raw.transactions") == [("x", None, datetime(2018, 1, 1), Decimal("3.5"))]
    assert report.orders == 1


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            "id,date,amount\n1,2018-01-01,1\n",
            r"log\.csv: no column for customer \(--customer-column, or one of customer_id,",
        ),
        (
            "customer,day,cost\n1,2018-01-01,1\n",
            r"no column for time .*; amount \(--amount-column.*found customer, day, cost",
        ),
        ("customer;date;amount\n1;2018-01-01;1\n", r"the header has one column.*--delimiter ';'"),
        ("customer\tdate\tamount\n1\t2018-01-01\t1\n", r"--delimiter tab"),
        (
            "sep=,\ncustomer,date,amount\n1,2018-01-01,1\n",
            r"log\.csv: the first line is Excel's 'sep='.*delete that line",
        ),
        ("sep=;\ncustomer;date;amount\n1;2018-01-01;1\n", r"log\.csv: the first line is Excel's 'sep=;'"),
        ("customer,date,amount,date\n1,2018-01-01,1,2\n", "column date is in the header 2 times"),
        ("customer,date,amount\n", "has a header but no rows"),
        ("\n1,2018-01-01,1\n", "no column for customer"),
        ("\n\n", "the first line is empty"),
        ("", "is empty"),
        ("customer,date,amount\n1,2018-01-01\n", "line 2: 2 fields; expected 3"),
        ("customer,date,amount\n1,2018-01-01,1,50\n", "line 2: 4 fields; expected 3"),
        ('customer,date,amount\n1,2018-01-01,1\n"2,2018-01-01,1\n', "line 3: the quoting is broken"),
    ],
)
def test_a_wrong_layout_is_named(home: Path, log: Path, content: str, match: str) -> None:
    log.write_text(content)
    refused(home, log, match)


def test_a_named_column_that_is_not_there_is_refused(home: Path, log: Path) -> None:
    refused(
        home,
        log,
        r"column 'day' \(--time-column\) is not in the header; found customer_id, date",
        TransactionColumns(time="day"),
    )


# --- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", ["0.00001", "2e-6", "-0.000049"])
def test_amounts_in_too_large_a_unit_are_refused_and_a_few_are_not(home: Path, log: Path, amount: str) -> None:
    rows = [f"c{n},2018-01-{1 + n % 28:02d},{3 + n}" for n in range(200)]
    log.write_text("\n".join(["customer_id,date,amount", *rows, f"a,2018-01-01,{amount}", "a,2018-01-02,0"]))
    assert "rows with an amount of zero, which are no purchase: 2." in load_log(home, log, replace_shop=True).notes
    tiny = [row.rsplit(",", 1)[0] + f",{amount}" for row in rows]
    log.write_text("\n".join(["customer_id,date,amount", "z,2018-01-01,5", *tiny]))
    with pytest.raises(
        InputError, match=rf"^200 of 201 amounts are not 0 .* line 3, column amount: '{amount}'\); give"
    ):
        load_log(home, log, replace_shop=True)


def write_times(path: Path, *found: str) -> Path:
    path.write_text("customer,date,amount\n" + "".join(f'1,"{text}",1\n' for text in found))
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2018-01-31", datetime(2018, 1, 31)),
        ("20180131", datetime(2018, 1, 31)),
        ("2018-01-31 23:59", datetime(2018, 1, 31, 23, 59)),
        (" 2018-01-31T23:59:58 ", datetime(2018, 1, 31, 23, 59, 58)),
        ("2018-01-31 23:59:58.123456", datetime(2018, 1, 31, 23, 59, 58, 123456)),
        ("2018-01-31T23:30:00Z", datetime(2018, 1, 31, 21, 30)),
        ("2018-01-31 23:30:00 UTC", datetime(2018, 1, 31, 21, 30)),
        ("2018-02-01 00:30:00+01:00", datetime(2018, 1, 31, 21, 30)),
        ("2018-02-01 00:30 +0100", datetime(2018, 1, 31, 21, 30)),
    ],
)
def test_iso_times_are_read_and_those_with_offset_moved_to_the_shops_zone(
    tmp_path: Path, log: Path, text: str, expected: datetime
) -> None:
    load_log(tmp_path / "new", write_times(log, text), TransactionColumns(time_zone="America/Sao_Paulo"))
    assert times(tmp_path / "new") == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "01/02/2018",
        "2018-1-5",
        "2018-02-30",
        "1514764800",
        "Jan 5 2018",
        "2018-01-05 25:00",
        "2018-01-05 24:00",
        "today",
    ],
)
def test_other_times_are_refused_naming_the_option(home: Path, log: Path, text: str) -> None:
    match = rf"log\.csv, line 3, column date: expected an ISO time or day .*, found '{text}'; .*--time-format"
    refused(home, write_times(log, "2018-01-01", text), match)


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("%d/%m/%Y", "01/02/2018", datetime(2018, 2, 1)),
        ("%m/%d/%Y", "01/02/2018", datetime(2018, 1, 2)),
        ("%d.%m.%Y %H:%M", "01.02.2018 13:45", datetime(2018, 2, 1, 13, 45)),
        ("%d/%m/%Y %H:%M %z", "01/02/2018 13:45 +0300", datetime(2018, 2, 1, 10, 45)),
    ],
)
def test_a_time_format_is_obeyed(tmp_path: Path, log: Path, form: str, text: str, expected: datetime) -> None:
    load_log(tmp_path / "new", write_times(log, text), TransactionColumns(time_format=form))
    assert times(tmp_path / "new") == [expected]
    match = rf"line 3, column date: expected a time as in --time-format '{form}', found '2018-02-01'"
    refused(tmp_path / "new", write_times(log, text, "2018-02-01"), match, TransactionColumns(time_format=form))


def test_times_with_and_without_offset_do_not_mix(home: Path, log: Path, tmp_path: Path) -> None:
    match = r"line 3, column date: '2018-01-02T00:00:00Z' and earlier '2018-01-01' mix times .*--time-zone"
    refused(home, write_times(log, "2018-01-01", "2018-01-02T00:00:00Z"), match)
    folder = tmp_path / "several"
    folder.mkdir()
    write_times(folder / "a.csv", "2018-01-01T00:00:00Z")
    write_times(folder / "b.csv", "2018-01-01", "2018-01-01")
    refused(home, folder, r"b\.csv, line 2, column date: .* mix times")


@pytest.mark.parametrize(
    ("form", "first", "text"),
    [
        (None, "1678-01-01", "0000-01-01"),
        (None, "1678-01-01", "00000101"),
        (None, "1678-01-01", "0001-01-01"),
        (None, "1678-01-01", "1677-12-31 23:59"),
        (None, "1678-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
        (None, "1678-01-01T00:00:00Z", "1678-01-01T00:59:00+01:00"),
        ("%d/%m/%Y", "01/01/1678", "01/01/0000"),
    ],
)
def test_days_before_1678_are_refused(tmp_path: Path, log: Path, form: str | None, first: str, text: str) -> None:
    columns = TransactionColumns(time_format=form)
    load_log(tmp_path / "new", write_times(log, first), columns)
    match = rf"^log\.csv, line 3, column date: '{re.escape(text)}' lies before 1678-01-01; expected no earlier day,"
    refused(tmp_path / "new", write_times(log, first, text), match, columns)


def test_days_after_tomorrow_are_refused(home: Path, log: Path) -> None:
    write_times(log, "2018-06-02 23:59", "2018-06-03")
    refused(home, log, r"line 3, column date: 2018-06-03 00:00:00 lies in the future; expected no day after 2018-06-02")


def test_tomorrow_is_counted_in_the_shops_zone(home: Path, tmp_path: Path, log: Path) -> None:
    write_times(log, "2018-06-03T01:00:00Z")
    refused(home, log, "lies in the future")
    load_log(tmp_path / "new", log, TransactionColumns(time_zone="America/Sao_Paulo"))


# --- amounts ----------------------------------------------------------------------------------------------------------


def write_amounts(path: Path, *found: str) -> Path:
    path.write_text("customer,date,amount\n" + "".join(f'{n},2018-01-01,"{text}"\n' for n, text in enumerate(found)))
    return path


@pytest.mark.parametrize(
    ("decimal", "text", "expected"),
    [
        (".", "1234.56", "1234.56"),
        (".", " 12 ", "12"),
        (".", "+1,234,567.89", "1234567.89"),
        (".", "1.5e+03", "1500"),
        (".", ".5", "0.5"),
        (",", "1.234,56", "1234.56"),
        (",", "1234,56", "1234.56"),
        (",", "1.234", "1234"),
        (",", "12", "12"),
    ],
)
def test_amounts_are_read_with_their_decimal_mark(
    tmp_path: Path, log: Path, decimal: str, text: str, expected: str
) -> None:
    report = load_log(tmp_path / "new", write_amounts(log, text), TransactionColumns(decimal=decimal))
    assert report.total_amount == Decimal(expected)


@pytest.mark.parametrize("text", ["1.234,56", "12,50", "1,234"])
def test_a_decimal_comma_is_refused_naming_the_option(home: Path, log: Path, text: str) -> None:
    match = rf"log\.csv, line 3, column amount: expected an amount such as 1234\.56, found '{text}'; .*--decimal ,$"
    refused(home, write_amounts(log, "1", text), match)


@pytest.mark.parametrize(
    "text", ["R$ 5", "5-", "(5.00)", "nan", "inf", "1e400", "99999999999999999", "1_000", "0x10", "--1"]
)
def test_what_is_no_amount_is_refused(home: Path, log: Path, text: str) -> None:
    refused(home, write_amounts(log, "1", text), "line 3, column amount: expected an amount such as 1234.56")


@pytest.mark.parametrize("text", ["$1,234.56", "5 USD", "(5.00)", "NULL", "1'234.56"])
def test_what_stands_around_a_number_is_to_be_taken_out(home: Path, log: Path, text: str) -> None:
    match = "found .*; take out all but digits, sign and decimal mark, and leave an unknown amount empty"
    refused(home, write_amounts(log, "1", text), match)
    refused(home, write_amounts(log, "1", text), match, TransactionColumns(decimal=","))


@pytest.mark.parametrize("text", ["12.34", "1234.567,5", "1,2,3"])
def test_a_point_with_decimal_comma_is_refused(home: Path, log: Path, text: str) -> None:
    match = r"line 3, column amount: expected an amount such as 1234,56 \(--decimal ,\)"
    refused(home, write_amounts(log, "1", text), match, TransactionColumns(decimal=","))


@hypothesis_settings(deadline=None)
@given(st.decimals(-(10**9), 10**9, places=4, allow_nan=False), st.sampled_from(".,"), st.booleans())
def test_every_amount_that_is_written_is_read_back(amount: Decimal, decimal: str, is_grouped: bool) -> None:
    text = f"{amount:,.4f}" if is_grouped else f"{amount:.4f}"
    if decimal == ",":
        text = text.translate({ord("."): ",", ord(","): "."})
    assert duckdb.execute("select " + values.money(f"'{text}'", decimal)).fetchall() == [(amount,)]


def test_returns_and_zero_amounts_are_counted_and_netted_within_the_day(tmp_path: Path, log: Path) -> None:
    log.write_text(
        "customer,date,amount\n"
        "a,2018-01-01,10\na,2018-01-01,-10\n"  # nets to nothing: no purchase
        "b,2018-01-02,10\nb,2018-01-02,-4\n"
        "c,2018-01-03,0\n"
        "d,2018-01-04,-5\n"
    )
    report = load_log(tmp_path / "new", log)
    assert report.first_purchase_date == report.last_purchase_date == report.as_of_date == date(2018, 1, 2)
    assert (report.customers, report.total_amount) == (4, Decimal(1))
    assert "rows with a negative amount, which count as returns: 3." in report.notes
    assert "rows with an amount of zero, which are no purchase: 1." in report.notes


def test_a_log_without_any_purchase_is_refused(tmp_path: Path, log: Path) -> None:
    write_amounts(log, "0", "-5")
    with pytest.raises(InputError, match="No customer has a day with a positive amount"):
        load_log(tmp_path / "new", log)


# --- ids --------------------------------------------------------------------------------------------------------------


def test_rows_of_one_order_are_its_lines(tmp_path: Path, log: Path) -> None:
    log.write_text("customer,date,amount,invoice\na,2018-01-01,1,x\na,2018-01-01,2,x\nb,2018-01-01,2,\n")
    report = load_log(tmp_path / "new", log)
    assert (report.orders, report.total_amount) == (2, Decimal(5))


def test_an_order_of_two_customers_is_refused(home: Path, log: Path) -> None:
    log.write_text(LOG + "00003,2018-01-05,5,a\n")
    refused(
        home,
        log,
        r"log\.csv, line 5, column order_id: order 'a' is of customer '00003', but of '00001' in log\.csv, line 2",
    )
    log.write_text("customer_id,date,amount,order_id\n00002,2018-01-01,1,a\n")
    refused(
        home, log, r"line 2, column order_id: order 'a' is of customer '00002', but was loaded for '00001'", append=True
    )


def test_exact_duplicates_are_kept_and_reported(tmp_path: Path, log: Path) -> None:
    log.write_text(LOG + LOG.splitlines()[1] + "\n")
    report = load_log(tmp_path / "new", log)
    assert (report.total_amount, report.orders) == (Decimal("45.75"), 3)
    assert "rows that repeat another one in customer, time, amount and order, and were kept: 1." in report.notes


@pytest.mark.parametrize("row", [",2018-01-01,1", " ,2018-01-01,1", "1,,1", "1,2018-01-01,"])
def test_incomplete_rows_are_dropped_up_to_one_percent(tmp_path: Path, log: Path, row: str) -> None:
    complete = "customer,date,amount\n" + "1,2018-01-01,1\n" * 99
    log.write_text(complete + row + "\n")
    report = load_log(tmp_path / "new", log)
    assert (report.files[0].rows, report.files[0].dropped, report.total_amount) == (100, 1, Decimal(99))
    assert "log.csv: rows without customer, time or amount, which were dropped: 1." in report.notes
    log.write_text(complete + f"{row}\n" * 2)
    refused(
        tmp_path / "new",
        log,
        r"2 of 101 rows have no .* \(the first: log\.csv, line 101, column .*expected at most 1\.0%",
    )
    loose = Settings(home=tmp_path / "new", threads=2, max_null_share=0.5)
    assert load(loose, log, source="transactions", today=TODAY).files[0].dropped == 2


# --- currency and options ---------------------------------------------------------------------------------------------


def test_the_currency_comes_from_option_column_or_last_load(tmp_path: Path, log: Path) -> None:
    log.write_text("customer,date,amount,currency\n1,2018-01-01,1,EUR\n2,2018-01-01,1,\n")
    assert load_log(tmp_path / "a", log).currency == "EUR"
    refused(tmp_path / "a", log, "--currency: USD, the currency column: EUR", TransactionColumns(currency="USD"))
    log.write_text(LOG.replace("0000", ""))
    assert load_log(tmp_path / "a", log).currency == "EUR"
    refused(tmp_path / "a", log, "the loaded shop: EUR.*--replace-shop", TransactionColumns(currency="USD"))
    assert load_log(tmp_path / "b", log, TransactionColumns(currency="GBP")).currency == "GBP"


def test_mixed_currencies_are_refused(home: Path, log: Path) -> None:
    log.write_text("customer,date,amount,currency\n1,2018-01-01,1,EUR\n2,2018-01-01,1,USD\n")
    refused(home, log, r"line 3, column currency: USD after EUR \(currencies in all: 2\); expected one")


def test_the_time_zone_is_kept_by_later_loads(tmp_path: Path, log: Path) -> None:
    write_times(log, "2018-01-31T23:30:00Z")
    load_log(tmp_path / "new", log, TransactionColumns(time_zone="America/Sao_Paulo"))
    assert load_log(tmp_path / "new", log).time_zone == "America/Sao_Paulo"
    assert times(tmp_path / "new") == [datetime(2018, 1, 31, 21, 30)]


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        (TransactionColumns(decimal="x"), "--decimal 'x': expected"),
        (TransactionColumns(delimiter=";;"), "--delimiter ';;': expected one character"),
        (TransactionColumns(time_zone="Mars/Base"), "--time-zone 'Mars/Base' is not known"),
        (TransactionColumns(time_zone="../etc"), r"--time-zone '\.\./etc' is not known"),
        (TransactionColumns(currency="euro"), "--currency 'euro': expected the three capital letters"),
        (TransactionColumns(time_format="%Q"), "--time-format '%Q' can't be used"),
    ],
)
def test_options_that_cannot_be_used_are_named(home: Path, log: Path, columns: TransactionColumns, match: str) -> None:
    refused(home, log, match, columns)


# --- files ------------------------------------------------------------------------------------------------------------


def test_bom_crlf_quoted_line_breaks_and_other_delimiters_are_accepted(tmp_path: Path, log: Path) -> None:
    content = (
        '\ufeffcustomer\tdate\tamount\tremark\r\n"a ""b"""\t2018-01-01\t1,5\t"two\r\nlines"\r\n\r\nc\t2018-01-02\t2,5\t'
    )
    log.write_bytes(content.encode())
    load_log(tmp_path / "new", log, TransactionColumns(delimiter="tab", decimal=","))
    found = select(tmp_path / "new", "select customer_id, amount from raw.transactions")
    assert found == [('a "b"', Decimal("1.5")), ("c", Decimal("2.5"))]
    log.write_bytes(content.replace("2018-01-02", "soon").encode())
    refused(tmp_path / "new", log, "line 5, column date", TransactionColumns(delimiter="tab", decimal=","))


def test_gzip_parquet_and_csv_give_the_same_rows(tmp_path: Path, log: Path, home: Path) -> None:
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(LOG.encode()))
    frame = pd.read_csv(log, dtype=str)
    frame.to_parquet(tmp_path / "text.parquet")
    frame = frame.assign(date=pd.to_datetime(frame["date"]), amount=frame["amount"].astype(float))
    frame.to_parquet(tmp_path / "typed.parquet")
    frame.assign(date=frame["date"].dt.tz_localize("UTC")).to_parquet(tmp_path / "zoned.parquet")
    for name in ("log.csv.gz", "text.parquet", "typed.parquet", "zoned.parquet"):
        load_log(tmp_path / "new", tmp_path / name)
        assert select(tmp_path / "new", "from raw.transactions") == select(home, "from raw.transactions")


def test_parquet_faults_are_named(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    good = pd.DataFrame({"customer": ["1", "2"], "date": ["2018-01-01", "2018-01-02"], "amount": [1.0, 2.0]})
    good.assign(date=["2018-01-01", "x"]).to_parquet(path)
    refused(home, path, r"log\.parquet, row 2, column date: expected an ISO time")
    good.assign(customer=[1.0, float("nan")]).to_parquet(path)
    refused(home, path, "column customer is of type DOUBLE; expected text or whole numbers")
    good.assign(amount=[1.0, float("inf")]).to_parquet(path)
    refused(home, path, "row 2, column amount: expected an amount")
    good.assign(amount=[1.0, float("nan")]).to_parquet(path)
    refused(
        home, path, r"1 of 2 rows have no customer, time or amount \(the first: log\.parquet, row 2, column amount\)"
    )
    good.assign(amount=[True, False]).to_parquet(path)
    refused(home, path, "column amount is of type BOOLEAN; expected numbers")
    path.write_bytes(path.read_bytes()[:-9])
    refused(home, path, r"log\.parquet is not a Parquet file or is damaged")
    path.write_bytes(b"")
    refused(home, path, r"log\.parquet is empty")


FOREVER = 2**63 - 1  # microseconds: DuckDB's infinity; what is next to minus that breaks its casts
GOOD = 1_514_764_800_000_000


@pytest.mark.parametrize("time_zone", ["UTC", "America/Sao_Paulo", "Asia/Tokyo"])
@pytest.mark.parametrize(
    ("times", "match"),
    [
        (pa.array([GOOD, -FOREVER], pa.timestamp("us")), "row 2, column date: .* lies before 1678-01-01"),
        (pa.array([GOOD, 1 - FOREVER], pa.timestamp("us")), "row 2, column date: .* lies before 1678-01-01"),
        (pa.array([GOOD, -FOREVER], pa.timestamp("us", "UTC")), "row 2, column date: .* lies before 1678-01-01"),
        (pa.array([GOOD, 1 - FOREVER], pa.timestamp("us", "UTC")), "row 2, column date: .* lies before 1678-01-01"),
        (pa.array([date(2018, 1, 1), date(1677, 12, 31)]), "row 2, column date: '1677-12-31' lies before 1678-01-01"),
        (pa.array([17_532, 1 - 2**31], pa.int32()).cast(pa.date32()), "row 2, .* lies before 1678-01-01"),
        (pa.array([GOOD, FOREVER], pa.timestamp("us")), "row 2, column date: 9999-12-31 .* lies in the future"),
        (pa.array([GOOD, FOREVER - 1], pa.timestamp("us", "UTC")), "row 2, column date: .* lies in the future"),
        (pa.array([17_532, 2**31 - 1], pa.int32()).cast(pa.date32()), "row 2, column date: .* lies in the future"),
        (pa.array([GOOD // 1000, FOREVER - 1], pa.timestamp("ms")), "holds a time that fits no calendar .*; write it"),
    ],
)
def test_times_beyond_all_calendars_are_refused(
    home: Path, tmp_path: Path, times: pa.Array, match: str, time_zone: str
) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"customer": ["1", "2"], "date": times, "amount": [1.0, 2.0]}), path)
    refused(home, path, rf"^log\.parquet.*{match}", TransactionColumns(time_zone=time_zone))


def test_missing_times_of_parquet_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    for kind in (pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.date32()):
        times = pa.array([date(2018, 1, 1)] * 99 + [None]).cast(kind)
        pq.write_table(pa.table({"customer": ["1"] * 100, "date": times, "amount": [1.0] * 100}), path)
        assert load_log(tmp_path / "new", path).files[0].dropped == 1


def test_no_damaged_byte_of_parquet_is_an_internal_error(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(
        pa.table({"customer": [str(n) for n in range(99)], "date": ["2018-01-02"] * 99, "amount": range(99)}), path
    )
    good, told = path.read_bytes(), 0
    for place in range(4, len(good) // 2, 9):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        try:
            load_log(tmp_path / "new", path, replace_shop=True)
        except InputError as error:
            told += "log.parquet is damaged or holds" in str(error)
    assert told > 5


def test_a_folder_is_one_load(tmp_path: Path) -> None:
    folder = tmp_path / "logs [2018]*"  # characters that DuckDB would take for wildcards
    folder.mkdir()
    for day in (1, 2, 3):
        (folder / f"{day}.csv").write_text(f"customer,date,amount\n{day},2018-01-0{day},{day}\n")
    (folder / "README.md").write_text("no log")
    (folder / ".hidden.csv").write_text("no log")
    report = load_log(tmp_path / "home", folder)
    assert [entry.file for entry in report.files] == ["1.csv", "2.csv", "3.csv"]
    assert report.total_amount == Decimal(6)
    (folder / "2.csv").write_text("customer,date,amount\n1,2018-01-01,1\n1,2018-01-01,x\n")
    refused(tmp_path / "home", folder, r"^2\.csv, line 3, column amount")
    (folder / "2.csv").write_text("customer,date,amount,invoice\n1,2018-01-01,1,1\n")
    refused(tmp_path / "home", folder, r"2\.csv has .*invoice where 1\.csv has .*expected the same columns")


def test_files_that_cannot_be_used_are_named(home: Path, log: Path, tmp_path: Path) -> None:
    refused(home, tmp_path / "nowhere.csv", r"nowhere\.csv does not exist")
    (tmp_path / "empty").mkdir()
    refused(home, tmp_path / "empty", r"holds no \.csv, \.csv\.gz or \.parquet file")
    for name, match in (
        ("log.xlsx", "unknown suffix"),
        ("log.zip", "is a zip; unpack it first"),
        ("a.tar.gz", "unknown suffix"),
    ):
        (tmp_path / name).write_bytes(b"x")
        refused(home, tmp_path / name, match)
    (tmp_path / "bad.csv.gz").write_bytes(LOG.encode())
    refused(home, tmp_path / "bad.csv.gz", "is not gzip or is damaged")
    (tmp_path / "bad.csv.gz").write_bytes(gzip.compress(LOG.encode())[:-9])
    refused(home, tmp_path / "bad.csv.gz", "is not gzip or is damaged")
    log.write_bytes(LOG.replace("00002", "josé").encode("latin-1"))
    refused(home, log, r"log\.csv, line 3: byte 0xE9 is not UTF-8 .*iconv -f LATIN1 -t UTF-8")


def test_gzip_that_unpacks_to_far_too_much_is_refused(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.csv.gz"
    line = b"1,2018-01-01,1\n"
    path.write_bytes(gzip.compress(b"customer,date,amount\n" + line * (70 * 2**20 // len(line))))
    refused(home, path, r"bomb\.csv\.gz unpacks to \d+ MiB or more, over the 64 MiB allowed")


def test_the_fingerprint_is_of_the_bytes_handed_over(tmp_path: Path, log: Path) -> None:
    workspace = tmp_path / "work"
    workspace.mkdir()
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(LOG.encode()))
    assert files.open_file(log, workspace).sha256 != files.open_file(packed, workspace).sha256


def test_cdnow(tmp_path: Path, repository: Path, cdnow_log: Path) -> None:
    """Converted by the one line of the documentation."""
    page = (repository / "docs" / "your-data.md").read_text()
    [line] = re.findall(r"^awk .*$", page, flags=re.MULTILINE)
    (tmp_path / "CDNOW_master.txt").symlink_to(cdnow_log)
    subprocess.run(line, shell=True, cwd=tmp_path, check=True)
    report = load_log(tmp_path / "home", tmp_path / "cdnow.csv", TransactionColumns(amount="dollar_value"))
    amounts = [Decimal(line.split()[3]) for line in cdnow_log.read_text().splitlines()[1:] if line.strip()]
    assert report.customers == 23_570
    assert report.orders == len(amounts) == 69_659
    assert report.as_of_date == date(1998, 6, 30)
    assert report.total_amount == sum(amounts)
    assert select(tmp_path / "home", "select min(customer_id), max(customer_id) from raw.transactions") == [
        ("00001", "23570")
    ]
