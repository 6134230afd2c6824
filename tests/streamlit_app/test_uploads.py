"""Reading what people upload: guesses, dates, amounts; all without a service."""

from datetime import date

import pandas as pd
import pytest

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


def test_ids_are_read_verbatim() -> None:
    assert uploads.read_csv(b"\xef\xbb\xbfid,n\r\n00001,NA\r\nnull,\r\n")["id"].tolist() == ["00001", "null"]


def test_incomplete_features_are_named() -> None:
    assert uploads.is_features(["a", "b", "x"], ["a", "b", "c"])
    with pytest.raises(InputError, match="lacks the columns customer_id, c"):
        uploads.check_features(["a", "b"], ["a", "b", "c"])


def test_a_log_in_columns_of_spaces_is_read() -> None:
    log = uploads.read_csv(b" customer_id  date number_of_cds  dollar_value\r\n 00001 19970101  1   11.77\r\n")
    assert log.to_dict("records") == [
        {"customer_id": "00001", "date": "19970101", "number_of_cds": "1", "dollar_value": "11.77"}
    ]


def test_a_stray_row_long_after_the_rest_does_not_move_the_as_of_day() -> None:
    days = pd.date_range("2018-01-01", "2018-04-30").repeat(5).strftime("%Y-%m-%d").tolist()
    customers = [f"c{number}" for number in range(len(days))]
    log = pd.DataFrame({"customer_id": [*customers, "late"], "purchased_at": [*days, "2018-09-01"]})
    assert uploads.as_of_day(log) == date(2018, 4, 30)
    assert uploads.as_of_day(log.assign(purchased_at="soon")) is None
