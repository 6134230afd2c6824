"""Uploading: what is guessed, corrected, asked and shown, and what people read when the file is wrong."""

import gzip
import io
from collections.abc import Callable

import pandas as pd
import pytest

from streamlit_app.money import Style


@pytest.fixture
def page(open_page, api):
    return open_page(api.base_url)


def test_a_log_is_matched_asked_and_shown_as_the_api_answers(page, api, log: str) -> None:
    page.upload(log)
    assert [page.box(label).value for label in ("Customer", "Date", "Amount", "Order (optional)")] == [
        "Customer",
        "Order Date",
        "Revenue",
        "Invoice",
    ]
    assert "Amounts are taken as R$" in page.captions
    page.press("Predict")
    body = log.replace("Customer,Order Date,Revenue,Invoice", "customer_id,purchased_at,amount,order_id", 1)
    last = pd.read_csv(io.StringIO(body))["purchased_at"].max()
    request = {"params": {"as_of": last}, "content": body.encode(), "headers": {"content-type": "text/csv"}}
    expected = pd.DataFrame(api.post("/predict/purchases", **request).json()["predictions"])
    totals = api.post("/portfolio/purchases", **request).json()["portfolio"]
    assert len(page.customers) == 40
    assert page.customers["expected_value"].is_monotonic_decreasing
    got = page.customers.set_index("customer_id")["expected_value"]
    assert got.to_dict() == pytest.approx(expected.set_index("customer_id")["expected_value"].to_dict())
    assert page.metrics["Customers"] == "40"
    assert page.metrics["Expected revenue, 90 days"] == Style().money(expected["expected_value"].sum(), "BRL")
    assert page.metrics["Share that will return"] == f"{100 * totals['return_share']:.0f} %"
    assert page.charts == 2
    assert len(page.app.get("download_button")) == 1


def as_parquet(log: str) -> bytes:
    """The log as a shop's own software writes it, with a column that is of no use here."""
    frame = pd.read_csv(io.StringIO(log), dtype={"Customer": str}, parse_dates=["Order Date"])
    buffer = io.BytesIO()
    frame.assign(items=[["a", "b"]] * len(frame)).to_parquet(buffer, index=False)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "pack"), [("log.parquet", as_parquet), ("log.csv.gz", lambda log: gzip.compress(log.encode()))]
)
def test_a_packed_log_is_answered_as_its_csv(page, log: str, name: str, pack: Callable[[str], bytes]) -> None:
    expected = page.upload(log).press("Predict").customers
    page.upload(pack(log), name)
    assert page.box("Date").value == "Order Date"
    assert page.box("Date").options == ["Customer", "Order Date", "Revenue", "Invoice"]
    page.press("Predict")
    assert f"**{name}**" in page.captions
    pd.testing.assert_frame_equal(page.customers, expected)


def test_the_file_stays_when_people_look_at_other_pages(page, log: str) -> None:
    page.upload(log).press("Predict").go("budget")
    assert "file.csv" in page.captions
    page.go("portfolio")
    assert page.metrics["Customers"] == "40"


def test_a_forgotten_file_is_gone(page, log: str) -> None:
    page.upload(log).press("Predict").go("budget").go("portfolio")
    page.press("Forget this file")
    assert not page.metrics
    page.go("budget")
    assert "There is no shop to look at yet" in page.app.info[0].value


def test_the_scored_shop_is_one_click_away(open_page, scored_api, log: str) -> None:
    page = open_page(scored_api.base_url).upload("\n".join(log.splitlines()[:6])).press("Predict")
    assert len(page.customers) < 40
    page.run(page.app.segmented_control(key="source").set_value("The scored shop"))
    assert len(page.customers) == 40


def test_later_rows_are_not_sent(page, log: str) -> None:
    page.upload(log)
    page.run(page.app.date_input[0].set_value(pd.Timestamp("2018-02-28").date()))
    assert "rows after 2018-02-28 left out" in page.captions
    page.press("Predict")
    assert not page.app.error
    assert len(page.customers) == 40


def test_an_answer_to_another_question_is_not_shown(page, log: str) -> None:
    page.upload(log).press("Predict")
    assert len(page.customers) == 40
    page.run(page.app.date_input[0].set_value(pd.Timestamp("2018-02-28").date()))
    assert not page.app.metric
    page.upload(log + "\n99999,2018-01-01,5,z")
    assert not page.app.metric


def test_guesses_can_be_corrected(page) -> None:
    page.upload("who;when;how_much\nann;31.03.2018;1.234,50\nbob;01.04.2018;10,00\n")
    assert page.box("Customer").value is None
    assert any("Choose the columns" in info.value for info in page.app.info)
    for label, column in (("Customer", "who"), ("Date", "when"), ("Amount", "how_much")):
        page.run(page.box(label).select(column))
    assert page.box("Dates look like").value == "31.03.2018"
    assert page.box("Amounts look like").value == "1.234,56"
    page.press("Predict")
    assert set(page.customers["customer_id"]) == {"ann", "bob"}


def test_a_bad_value_is_named_by_row_of_the_file(page) -> None:
    page.upload("customer_id,date,how much\nlater,2019-01-01,5\nann,2018-03-01,5\nbob,2018-03-02,many\n")
    page.run(page.box("Amount").select("how much"))
    page.run(page.app.date_input[0].set_value(pd.Timestamp("2018-06-30").date()))
    page.press("Predict")
    assert "can't be used as it is" in page.app.error[0].value
    assert "Row 3, column how much: " in page.app.error[0].value
    wrong = next(one.value for one in page.app.dataframe if "What is wrong" in one.value.columns)
    assert wrong[["Row", "Column"]].values.tolist() == [[3, "how much"]]
    assert "found 'many'" in wrong["What is wrong"][0]


def test_a_features_file(page, api, helpers) -> None:
    customers = helpers.random_customers(30, seed=9)
    csv = customers.assign(customer_id=[f"{row:03d}" for row in range(30)]).to_csv(index=False)
    page.upload(csv).press("Predict")
    expected = api.post("/predict", json=helpers.as_customers(customers)).json()["predictions"]
    got = page.customers.sort_values("customer_id")["expected_value"].tolist()
    assert got == pytest.approx([one["expected_value"] for one in expected])


def test_a_features_file_that_breaks_the_contract(page, helpers) -> None:
    customers = helpers.random_customers(3)
    csv = customers.assign(customer_id="a", recency_days=["1", "-2", "x"]).to_csv(index=False)
    page.upload(csv).press("Predict")
    wrong = next(one.value for one in page.app.dataframe if "What is wrong" in one.value.columns)
    assert wrong[["Row", "Column"]].values.tolist() == [[2, "recency_days"], [3, "recency_days"]]


UNREADABLE = {
    b"": "The file is empty",
    b"customer_id,date,amount\n": "no rows",
    b"customer_id,date,amount\n1,2018-01-01,1\nJos\xe9,2018-01-01,1\n": "Line 3 of the file is not UTF-8",
    b"customer_id,date,amount\n1,2018-01-01,1\n2,2018-01-01,1,9,9\n": "Expected 3 fields in line 3",
    b"customer_id,recency_days,purchase_count,amount_total,state\n1,2,3,4,SP\n": "lacks the columns gap_mean_days",
}


ODD = {
    b"customer_id,date,amount\n1,2018-03-01T14:05:00Z,5\n2,2018-04-01T14:05:00Z,6\n": "Row 1, column date: expected a "
    "local time",
    b"customer_id,date,amount\n1,2018-03-01,5\n2,2018-04-01 14:05:00 UTC,6\n": "found '2018-04-01 14:05:00 UTC'",
    b"customer_id,date,amount\n1,2018-03-01,5\n2,9999-12-31,6\n": "Row 2, column date: '9999-12-31' lies in the future",
    b"customer_id,date,amount\n1,soon,5\n2,later,6\n": "Row 1, column date: expected a date",
    b"customer_id,date,amount\n1,,5\n2,,6\n": "Column date is empty",
    b"customer_id,date,amount\n1,2018-03-01,5,x\n2,2018-04-01,6,y\n": "The rows hold 4 values",
    "customer_id,date,amount\n1,2018-03-01,5\n".encode("utf-16"): "Line 1 of the file is not UTF-8",
    "customer_id,date,amount\n1,2018-03-01,5\n".encode("utf-16-le"): "is not text in UTF-8",
    bytes(range(256)) * 20: "is not",
}


def test_odd_files_are_refused_in_a_sentence(page) -> None:
    for content, message in ODD.items():
        page.upload(content)
        assert message in page.app.error[0].value, content


ASKED = {
    "customer_id;date;amount\n1;2018-03-01;5\n": None,
    "customer_id,date,amount\n1,2018-03-01,5,\n2,2018-04-01,6,\n": None,
    "customer_id, date, amount\n1, 2018-03-01, 5\n": None,
    "customer_id,date,date,amount,amount\n1,2018-03-01,2018-03-02,5,6\n": None,
    ",".join(["customer_id", "date", "amount", *(f"c{number}" for number in range(300))])
    + "\n1,2018-03-01,5"
    + ",x" * 300: None,
    "customer_id,date,amount\n,2018-03-01,5\n,2018-03-02,5\n": "Row 1, column customer_id: ",
    "customer_id,date,amount\n1,2018-03-01,\n2,2018-03-02,\n": "Row 1, column amount: ",
    "customer_id,date,amount\n1,0218-03-01,5\n": "Row 1, column date: ",
}


def test_unusual_files_are_asked_about(page) -> None:
    for content, refused in ASKED.items():
        page.upload(content).press("Predict")
        if refused is None:
            assert not page.app.error, page.app.error[0].value
            assert "1" in set(page.customers["customer_id"])
        else:
            assert refused in page.app.error[0].value


def test_one_column_is_no_log(page) -> None:
    page.upload("customer_id\n1\n2\n")
    assert any("Choose the columns" in info.value for info in page.app.info)


def test_a_column_chosen_twice_is_refused(page, log: str) -> None:
    page.upload(log)
    page.run(page.box("Order (optional)").select("Customer"))
    assert "Column Customer is chosen for Customer and Order; expected a column of its own for each." in (
        page.app.error[0].value
    )
    page.run(page.box("Order (optional)").select("Invoice"))
    assert not page.app.error


PACKED = {
    ("orders.xlsx", b"PK\x03\x04 a workbook"): "orders.xlsx looks like an Excel workbook; save its sheet as CSV",
    ("orders.xls", b"\xd0\xcf\x11\xe0 an old one"): "orders.xls looks like an Excel workbook",
    ("log.parquet", b"PAR1 nonsense"): "looks like Parquet but is damaged",
    ("log.csv.gz", b"\x1f\x8b nonsense"): "looks like gzip but is damaged",
}


def test_packed_files_that_can_not_be_read_are_refused_in_a_sentence(page) -> None:
    for (name, content), message in PACKED.items():
        page.upload(content, name)
        assert message in page.app.error[0].value, name


def test_unreadable_files(page) -> None:
    for content, message in UNREADABLE.items():
        page.upload(content)
        assert message.lower() in page.app.error[0].value.lower()


def test_olists_tables_are_checked_by_the_code_that_loads_a_shop(page) -> None:
    page.upload(b"PK nonsense", "shop.zip")
    assert "shop.zip is not a zip or is damaged" in page.app.error[0].value
    page.upload("order_id\n1\n", "olist_orders_dataset.csv")
    assert "lacks 7 of Olist's tables" in page.app.error[0].value
