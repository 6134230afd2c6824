"""The pages in front of a real service: what people see, and what they see when something is wrong."""

import io
import socket

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

LOG = "Customer,Order Date,Revenue,Invoice\n" + "\n".join(
    f"{customer:05d},2018-0{1 + row % 6}-1{row % 9},{10 + customer}.50,{customer}-{row}"
    for customer in range(40)
    for row in range(1 + customer % 3)
)


@pytest.fixture
def app(app_path, api, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("CLV_API_URL", str(api.base_url))
    return AppTest.from_file(str(app_path), default_timeout=60).run()


def upload(app: AppTest, content: str | bytes) -> AppTest:
    data = content.encode() if isinstance(content, str) else content
    app.file_uploader[0].set_value(("file.csv", data, "text/csv")).run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app


def box(app: AppTest, label: str):
    return next(one for one in app.selectbox if one.label == label)


def table(app: AppTest) -> pd.DataFrame:
    return next(one.value for one in app.dataframe if "expected_value" in one.value.columns)


def test_the_empty_page_says_what_to_upload(app: AppTest) -> None:
    assert not app.exception
    assert not app.error
    assert [heading.value for heading in app.subheader] == ["A transaction log", "A file of features"]
    assert "version 1 (Production) looks 90 days ahead" in app.caption[0].value


def test_a_log_is_matched_asked_and_shown_as_the_api_answers(app: AppTest, api) -> None:
    upload(app, LOG)
    assert [box(app, label).value for label in ("Customer", "Date", "Amount", "Order (optional)")] == [
        "Customer",
        "Order Date",
        "Revenue",
        "Invoice",
    ]
    press(app, "Predict")
    log = LOG.replace("Customer,Order Date,Revenue,Invoice", "customer_id,purchased_at,amount,order_id", 1)
    last = pd.read_csv(io.StringIO(log))["purchased_at"].max()
    answer = api.post(
        "/predict/purchases", params={"as_of": last}, content=log.encode(), headers={"content-type": "text/csv"}
    ).json()
    expected = pd.DataFrame(answer["predictions"])
    shown = table(app)
    assert len(shown) == 40
    assert shown["expected_value"].is_monotonic_decreasing
    got = shown.set_index("customer_id")["expected_value"]
    assert got.to_dict() == pytest.approx(expected.set_index("customer_id")["expected_value"].to_dict())
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics["Customers"] == "40"
    assert metrics["Expected revenue, 90 days"] == f"R$ {expected['expected_value'].sum():,.2f}"
    assert metrics["Share that will return"] == f"{100 * expected['p_return'].mean():.0f} %"
    assert len(app.get("vega_lite_chart") or app.get("arrow_vega_lite_chart")) == 2
    assert len(app.get("download_button")) == 1


def test_later_rows_are_not_sent(app: AppTest) -> None:
    upload(app, LOG)
    app.date_input[0].set_value(pd.Timestamp("2018-02-28").date()).run()
    assert any("rows after 2018-02-28 are left out" in caption.value for caption in app.caption)
    press(app, "Predict")
    assert not app.error
    assert len(table(app)) == 40


def test_an_answer_to_another_question_is_not_shown(app: AppTest) -> None:
    press(upload(app, LOG), "Predict")
    assert len(table(app)) == 40
    app.date_input[0].set_value(pd.Timestamp("2018-02-28").date()).run()
    assert not app.metric
    upload(app, LOG + "\n99999,2018-01-01,5,z")
    assert not app.metric


def test_guesses_can_be_corrected(app: AppTest) -> None:
    upload(app, "who;when;how_much\nann;31.03.2018;1.234,50\nbob;01.04.2018;10,00\n")
    assert box(app, "Customer").value is None
    assert any("Choose the columns" in info.value for info in app.info)
    for label, column in (("Customer", "who"), ("Date", "when"), ("Amount", "how_much")):
        box(app, label).select(column).run()
    assert box(app, "Dates look like").value == "31.03.2018"
    assert box(app, "Amounts look like").value == "1.234,56"
    press(app, "Predict")
    assert set(table(app)["customer_id"]) == {"ann", "bob"}


def test_a_bad_value_is_named_by_row_of_the_file(app: AppTest) -> None:
    upload(app, "customer_id,date,how much\nlater,2019-01-01,5\nann,2018-03-01,5\nbob,2018-03-02,many\n")
    box(app, "Amount").select("how much").run()
    app.date_input[0].set_value(pd.Timestamp("2018-06-30").date()).run()
    press(app, "Predict")
    assert "can't be used as it is" in app.error[0].value
    assert "Row 3, column how much: " in app.error[0].value
    wrong = next(one.value for one in app.dataframe if "What is wrong" in one.value.columns)
    assert wrong[["Row", "Column"]].values.tolist() == [[3, "how much"]]
    assert "found 'many'" in wrong["What is wrong"][0]


def test_a_features_file(app: AppTest, api, helpers) -> None:
    customers = helpers.random_customers(30, seed=9)
    csv = customers.assign(customer_id=[f"{row:03d}" for row in range(30)]).to_csv(index=False)
    press(upload(app, csv), "Predict")
    expected = api.post("/predict", json=helpers.as_customers(customers)).json()["predictions"]
    got = table(app).sort_values("customer_id")["expected_value"].tolist()
    assert got == pytest.approx([one["expected_value"] for one in expected])


def test_a_features_file_that_breaks_the_contract(app: AppTest, helpers) -> None:
    customers = helpers.random_customers(3)
    csv = customers.assign(customer_id="a", recency_days=["1", "-2", "x"]).to_csv(index=False)
    press(upload(app, csv), "Predict")
    wrong = next(one.value for one in app.dataframe if "What is wrong" in one.value.columns)
    assert wrong[["Row", "Column"]].values.tolist() == [[2, "recency_days"], [3, "recency_days"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "The file is empty"),
        (b"customer_id,date,amount\n", "no rows"),
        (b"customer_id,date,amount\n1,2018-01-01,1\nJos\xe9,2018-01-01,1\n", "Line 3 of the file is not UTF-8"),
        (b"customer_id,date,amount\n1,2018-01-01,1\n2,2018-01-01,1,9,9\n", "Expected 3 fields in line 3"),
        (
            b"customer_id,recency_days,purchase_count,amount_total,state\n1,2,3,4,SP\n",
            "lacks the columns gap_mean_days",
        ),
    ],
)
def test_unreadable_files(app: AppTest, content: bytes, message: str) -> None:
    upload(app, content)
    assert message.lower() in app.error[0].value.lower()


def test_the_model_page(app: AppTest) -> None:
    app.switch_page("views/model.py").run()
    assert not app.exception
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics["Version in Production"] == "1"
    assert metrics["Looks ahead"] == "90 days"
    assert metrics["Has learnt up to"] == "2018-06-30"
    ladder, verdicts = app.dataframe[0].value, app.dataframe[1].value
    assert ladder.loc["model", "Normalized Gini"] == "0.610  (0.550 to 0.660)"
    assert ladder.loc["mean", "Normalized Gini"] == "0.000"
    assert verdicts.loc["newest", "Normalized Gini"] == "better"
    assert len(app.image) == 1
    assert len(app.get("vega_lite_chart") or app.get("arrow_vega_lite_chart")) == 3


@pytest.mark.parametrize("page", ["views/portfolio.py", "views/model.py"])
def test_the_api_is_down(app_path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("CLV_API_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
        app = AppTest.from_file(str(app_path), default_timeout=60).run().switch_page(page).run()
    assert not app.exception
    assert "can't be reached" in app.error[0].value
    assert "clv serve" in app.error[0].value
    assert [button.label for button in app.button] == ["Try again"]


def test_there_is_no_model(app_path, helpers, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = helpers.make_registry(tmp_path)
    with helpers.serving(empty.serving, until_ready=False) as client:
        monkeypatch.setenv("CLV_API_URL", str(client.base_url))
        app = AppTest.from_file(str(app_path), default_timeout=60).run()
        assert not app.exception
        assert "There is no model to ask yet" in app.error[0].value
        assert "clv run" in app.error[0].value


def test_without_an_address_the_app_starts_its_own_service(app_path, registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLV_API_URL", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("CLV_HOME", str(registry.settings.home))
    app = AppTest.from_file(str(app_path), default_timeout=120).run()
    assert not app.exception
    assert not app.error
    assert "version 1 (Production)" in app.caption[0].value
