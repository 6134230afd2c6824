"""Reading what people upload: guesses, dates, amounts; all without a service."""

import gzip
import io
from datetime import date, datetime

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from clv.errors import InputError
from streamlit_app import uploads


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["customer_id", "purchased_at", "amount"], ("customer_id", "purchased_at", "amount", None)),
        (["Invoice No", "Invoice Date", "Total", "User ID"], ("User ID", "Invoice Date", "Total", "Invoice No")),
        (["id", "x"], (None, None, None, None)),
        (["customer_id", "date", "number_of_cds", "dollar_value"], ("customer_id", "date", "dollar_value", None)),
        (["InvoiceNo", "InvoiceDate", "CustomerID"], ("CustomerID", "InvoiceDate", None, "InvoiceNo")),
    ],
)
def test_columns_are_guessed(columns: list[str], expected: tuple) -> None:
    assert tuple(uploads.guess_columns(columns).values()) == expected


def parquet_of(**columns: pa.Array) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def test_a_parquet_file_is_read_as_its_csv_would_be() -> None:
    times = [datetime(2018, 3, 31, 14, 5), None]
    content = parquet_of(
        customer=pa.array(["007", None]),
        time=pa.array(times, pa.timestamp("ns")),
        local=pa.array(times, pa.timestamp("s", "UTC")),
        day=pa.array([date(2018, 3, 31), None]),
        amount=pa.array([12.5, float("nan")]),
        count=pa.array([3, None]),
        items=pa.array([["a"], []]),
    )
    read = uploads.read("log.parquet", content)
    assert read.iloc[0].to_dict() == {
        "customer": "007",
        "time": "2018-03-31 14:05:00",
        "local": "2018-03-31 14:05:00.000Z",
        "day": "2018-03-31",
        "amount": "12.5",
        "count": "3",
    }
    assert read.iloc[1].isna().all()


def test_a_packed_file_is_read_whole_or_not_at_all() -> None:
    head, more = b"customer_id,date,amount\n1,2018-03-01,5\n", b"2,2018-03-01,5\n" * 1_000
    joined = gzip.compress(head) + gzip.compress(more)
    assert len(uploads.read("log.csv.gz", joined)) == 1_001
    with pytest.raises(InputError, match="looks like gzip but is damaged"):
        uploads.read("log.csv.gz", gzip.compress(head + more)[:-20])


def test_what_is_packed_too_large_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_MOST_BYTES", 30)
    monkeypatch.setattr(uploads, "_MOST_ROWS", 2)
    log = "customer_id,date,amount\n" + "1,2018-03-01,5\n" * 100
    with pytest.raises(InputError, match=r"larger than .* once unpacked"):
        uploads.read("log.csv.gz", gzip.compress(log.encode()))
    with pytest.raises(InputError, match="The file has 3 rows, at most 2 can be read"):
        uploads.read("log.parquet", parquet_of(customer=pa.array(["a", "b", "c"])))
    with pytest.raises(InputError, match="columns but no rows"):
        uploads.read("log.parquet", parquet_of(customer=pa.array([], pa.string())))


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        (["2018-03-31", "2018-03-31 14:05:00"], None),
        (["19970101", "19980630"], "%Y%m%d"),
        (["31/12/2018", "01/02/2018"], "%d/%m/%Y"),
        (["12/31/2018", "01/02/2018"], "%m/%d/%Y"),
        (["31.12.2018"], "%d.%m.%Y"),
    ],
)
def test_date_formats_are_guessed(values: list[str], pattern: str | None) -> None:
    assert uploads.DATE_FORMATS[uploads.guess_date_format(pd.Series(values, dtype="str"))] == pattern


def test_values_that_can_not_be_read_are_left_for_the_api_to_name() -> None:
    log = pd.DataFrame({"c": ["a", "b"], "t": ["31/12/2018", "soon"], "v": ["1.234,50", "x"]}, dtype="str")
    matching = uploads.Matching("c", "t", "v", date_format="31/03/2018", has_decimal_comma=True)
    sent = uploads.purchases_of(log, matching)
    assert sent["purchased_at"].tolist() == ["2018-12-31", "soon"]
    assert sent["amount"].tolist() == ["1234.50", "x"]


@pytest.mark.parametrize(
    ("has_comma", "amounts", "sent"),
    [
        (False, ["1,234.50", "-1,234,567.5", "5.0", "1,50", "x"], ["1234.50", "-1234567.5", "5.0", "1,50", "x"]),
        (
            True,
            ["1.234,50", "-1.234.567,5", "1.234", "1,50", "x", None],
            ["1234.50", "-1234567.5", "1234", "1.50", "x"],
        ),
    ],
)
def test_groups_of_thousands_are_read_as_clv_load_does(has_comma: bool, amounts: list, sent: list[str]) -> None:
    log = log_of("2018-03-01").iloc[[0] * len(amounts)].assign(v=pd.Series(amounts, dtype="str").to_numpy())
    found = uploads.purchases_of(log, uploads.Matching("c", "when", "v", has_decimal_comma=has_comma))["amount"]
    assert found.dropna().tolist() == sent


def test_a_decimal_point_among_commas_is_refused_not_multiplied() -> None:
    log = log_of("2018-03-01", "2018-03-02").assign(v=["1.234,50", "12.50"])
    with pytest.raises(InputError, match=r"Row 2, column v: expected an amount such as 1.234,56, found '12.50'"):
        uploads.purchases_of(log, uploads.Matching("c", "when", "v", has_decimal_comma=True))


def test_ids_are_read_verbatim() -> None:
    assert uploads.read("log.csv", b"\xef\xbb\xbfid,n\r\n00001,NA\r\nnull,\r\n")["id"].tolist() == ["00001", "null"]


def test_incomplete_features_are_named() -> None:
    assert uploads.is_features(["a", "b", "x"], ["a", "b", "c"])
    with pytest.raises(InputError, match="lacks the columns customer_id, c"):
        uploads.check_features(["a", "b"], ["a", "b", "c"])


def test_a_log_in_columns_of_spaces_is_read() -> None:
    log = uploads.read("log.csv", b" customer_id  date number_of_cds  dollar_value\r\n 00001 19970101  1   11.77\r\n")
    assert log.to_dict("records") == [
        {"customer_id": "00001", "date": "19970101", "number_of_cds": "1", "dollar_value": "11.77"}
    ]


def test_a_stray_row_long_after_the_rest_does_not_move_the_as_of_day() -> None:
    days = pd.date_range("2018-01-01", "2018-04-30").repeat(5).strftime("%Y-%m-%d").tolist()
    customers = [f"c{number}" for number in range(len(days))]
    log = pd.DataFrame({"customer_id": [*customers, "late"], "purchased_at": [*days, "2018-09-01"]})
    assert uploads.as_of_day(log) == date(2018, 4, 30)
    assert uploads.as_of_day(log.assign(purchased_at="soon")) is None


def log_of(*times: str, amount: str = "1") -> pd.DataFrame:
    return pd.DataFrame({"c": ["a"] * len(times), "when": times, "v": amount}, dtype="str")


@pytest.mark.parametrize(
    "found",
    [
        "2018-03-01T14:05:00.000Z",
        "2018-03-01 14:05:00 +0000",
        "2018-03-01T14:05:00.123-03:00",
        "2018-03-01 14:05 UTC",
        "2018-03-01 14:05:00 America/Sao_Paulo",
        "2018-03-01T14:05:00-03:00[America/Sao_Paulo]",
        "20180301T140500Z",
        "31/03/2018 14:05 GMT",
        "2018-03-01 02:05 PM",
    ],
)
@pytest.mark.parametrize("others", [(), ("2018-02-01 10:00:00", "2018-02-01T10:00:00+02:00")])
def test_times_with_a_zone_are_refused_wherever_they_are(found: str, others: tuple[str, ...]) -> None:
    log = log_of("2018-01-01 09:00:00", found, *others)
    matching = uploads.Matching("c", "when", "v", date_format=uploads.guess_date_format(log["when"]))
    with pytest.raises(InputError) as caught:
        uploads.purchases_of(log, matching)
    assert str(caught.value) == (
        "Row 2, column when: expected a local time such as 2018-03-01 14:05:00, with no zone after it, found "
        f"'{found}'."
    )


def test_local_times_in_all_forms_are_taken() -> None:
    times = ["2018-03-01", "2018-03-01 14:05", "2018-03-01T14:05:00.123456", "20180301", "31/03/2018 14:05", "soon"]
    for time in times:
        assert len(uploads.purchases_of(log_of(time), uploads.Matching("c", "when", "v"))) == 1


def test_days_of_times_with_a_zone_never_break_a_page() -> None:
    log = pd.DataFrame({"purchased_at": ["2018-03-01T14:05:00.000Z", "2018-03-02 10:00", "2018-03-03 14:05:00 UTC"]})
    assert uploads.days_of(log).isna().tolist() == [False, False, True]
    assert uploads.is_after(log, date(2018, 3, 1)).tolist() == [False, True, False]


def test_spaces_around_values_say_nothing() -> None:
    """As for ``clv load``; "a, b" after a comma is a common way of writing."""
    log = log_of(" 2018-03-01 ", "2018-03-02", amount=" 1,50 ")
    assert uploads.guess_date_format(log["when"]) == next(iter(uploads.DATE_FORMATS))
    assert uploads.guess_decimal_comma(log["v"])
    sent = uploads.purchases_of(log, uploads.Matching("c", "when", "v", has_decimal_comma=True))
    assert uploads.as_of_day(sent.rename(columns={"c": "customer_id"})) == date(2018, 3, 2)
    assert sent["amount"].tolist() == ["1.50", "1.50"]


def test_days_in_the_future_are_refused_as_clv_load_does() -> None:
    purchases = uploads.purchases_of(log_of("2018-03-01", "9999-12-31"), uploads.Matching("c", "when", "v"))
    with pytest.raises(InputError, match="Row 2, column when: '9999-12-31' lies in the future; expected no day after"):
        uploads.check_days(purchases, "when", date(2018, 3, 2))
    uploads.check_days(purchases.iloc[:1], "when", date(2018, 3, 1))


@pytest.mark.parametrize(("times", "says"), [((None, "soon", "later"), "Row 2, .*found 'soon'"), ((None,), "empty")])
def test_a_column_without_any_date_is_refused(times: tuple, says: str) -> None:
    with pytest.raises(InputError, match=f"olumn when.*{says}|{says}"):
        uploads.check_days(pd.DataFrame({"purchased_at": pd.Series(times, dtype="str")}), "when", date(2018, 3, 2))


@pytest.mark.parametrize("end", [",", ",,", ", "])
def test_delimiters_at_the_end_of_rows_shift_nothing(end: str) -> None:
    log = uploads.read("log.csv", f"customer,date,amount\n00001,2018-03-01,5{end}\n,2018-04-01,6{end}\n".encode())
    assert log.columns.tolist() == ["customer", "date", "amount"]
    assert log.index.tolist() == [0, 1]
    assert log.fillna("").values.tolist() == [["00001", "2018-03-01", "5"], ["", "2018-04-01", "6"]]


def test_a_column_is_one_thing_only() -> None:
    with pytest.raises(InputError, match="Column c is chosen for Customer and Order; expected a column of its own"):
        uploads.Matching("c", "when", "v", "c")


def test_more_values_than_columns_are_refused() -> None:
    with pytest.raises(InputError, match="The rows hold 4 values, but the header names 3 columns"):
        uploads.read("log.csv", b"customer,date,amount\n1,2018-03-01,5,x\n2,2018-04-01,6,\n")
