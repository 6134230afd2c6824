"""POST /predict/purchases: three formats, one answer, the SQL of the model."""

import io
import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from decimal import Decimal

import duckdb
import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clv.sources.values import money
from serving.problems import Problem
from serving.purchases import MAX_COLUMNS, TABLES, read_table, type_raw
from serving.workspace import Workspace

DAY = "2018-06-30"

LOG = pd.DataFrame(
    [
        ("00002", "2018-05-20 10:00:00", "80.00", "b"),
        ("00001", "2018-03-01", "100.00", "a"),
        ("00001", "2018-03-01", "20.50", "a"),
        ("00003", "2018-04-01", "30.00", None),
        ("00003", "2018-04-01", "-30.00", None),
        ("00001", "2018-06-30 23:59:59", "60.00", "c"),
    ],
    columns=["customer_id", "purchased_at", "amount", "order_id"],
)

JSON = {"content-type": "application/json"}
CSV = {"content-type": "text/csv"}
PARQUET = {"content-type": "application/vnd.apache.parquet"}


def as_json(log: pd.DataFrame) -> dict:
    rows = json.loads(log.to_json(orient="records"))
    return {"as_of": DAY, "purchases": [{**row, "amount": float(row["amount"])} for row in rows]}


def as_parquet(log: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    log.to_parquet(buffer, index=False)
    return buffer.getvalue()


def errors_of(response: httpx.Response) -> list[tuple[int | None, str | None]]:
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return [(error["row"], error["field"]) for error in response.json()["errors"]]


def ask(api: httpx.Client, *purchases: dict) -> httpx.Response:
    return api.post("/predict/purchases", json={"as_of": DAY, "purchases": list(purchases)})


def test_features_are_those_of_the_models_sql(api: httpx.Client) -> None:
    answer = api.post("/predict/purchases", json=as_json(LOG)).json()
    nothing = {"first_category": None, "state": None}
    features = [
        {"recency_days": 41, "purchase_count": 1, "amount_total": 80, "gap_mean_days": None, **nothing},
        {"recency_days": 0, "purchase_count": 2, "amount_total": 180.5, "gap_mean_days": 121, **nothing},
    ]
    customers = [{"customer_id": name, "features": one} for name, one in zip(["00002", "00001"], features, strict=True)]
    expected = api.post("/predict", json={"customers": customers}).json()
    assert answer["predictions"] == expected["predictions"]
    assert answer["model"] == expected["model"]


def test_features_come_along_if_asked_for(api: httpx.Client) -> None:
    plain = api.post("/predict/purchases", json=as_json(LOG)).json()["predictions"]
    asked = api.post("/predict/purchases", params={"features": True}, json=as_json(LOG)).json()["predictions"]
    features = [one.pop("features") for one in asked]
    assert asked == plain
    assert features[1] == {
        "recency_days": 0,
        "purchase_count": 2,
        "amount_total": 180.5,
        "gap_mean_days": 121,
        "first_category": None,
        "state": None,
    }


def test_customers_without_a_purchase_are_left_out_and_named(api: httpx.Client) -> None:
    (warning,) = api.post("/predict/purchases", json=as_json(LOG)).json()["warnings"]
    assert warning.startswith("1 customer without a purchase")
    assert warning.endswith("'00003'.")
    only = api.post("/predict/purchases", json=as_json(LOG.iloc[3:5])).json()
    assert only["predictions"] == []


def test_csv_and_parquet_give_the_same_answer(api: httpx.Client) -> None:
    expected = api.post("/predict/purchases", json=as_json(LOG)).json()
    csv = LOG.to_csv(index=False)
    typed = LOG.assign(
        purchased_at=pd.to_datetime(LOG["purchased_at"], format="ISO8601"), amount=LOG["amount"].astype(float)
    )
    for content, headers in (
        (csv.encode(), CSV),
        (("\ufeff" + csv.replace("\n", "\r\n")).encode(), {"content-type": "text/csv; charset=utf-8"}),
        (as_parquet(LOG), PARQUET),
        (as_parquet(typed), PARQUET),
    ):
        answer = api.post("/predict/purchases", params={"as_of": DAY}, content=content, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json() == expected


def test_columns_nobody_uses_are_named(api: httpx.Client) -> None:
    for content, headers in (
        (LOG.assign(row=1, note="x").to_csv(index=False).encode(), CSV),
        (as_parquet(LOG.assign(row=1, note="x")), PARQUET),
    ):
        answer = api.post("/predict/purchases", params={"as_of": DAY}, content=content, headers=headers).json()
        assert answer["warnings"][0] == "Columns that are not used: row, note."


def test_later_purchases_are_refused_by_row(api: httpx.Client) -> None:
    response = ask(
        api,
        {"customer_id": "1", "purchased_at": "2018-06-30 23:59:59", "amount": 1},
        {"customer_id": "1", "purchased_at": "2018-07-01", "amount": 1},
    )
    assert errors_of(response) == [(2, "purchased_at")]
    assert "after the as-of day 2018-06-30" in response.json()["detail"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("customer_id", None),
        ("customer_id", ""),
        ("customer_id", 7),
        ("customer_id", "x" * 201),
        ("purchased_at", "01/02/2018"),
        ("purchased_at", "2018-02-30"),
        ("purchased_at", "2018-02-03T10:00:00Z"),
        ("purchased_at", "2018-02-03 10:00:00+02:00"),
        ("purchased_at", "2018-02-03 10:00:00 UTC"),
        ("purchased_at", "2018-02-03 10:00:00 America/Sao_Paulo"),
        ("purchased_at", "2018-02-03 10:00:00Z "),
        ("purchased_at", "2018-02-03 10:00:00+03 "),
        ("purchased_at", "epoch"),
        ("purchased_at", "2018-2-3"),
        ("purchased_at", "0044-03-15 (BC)"),
        ("purchased_at", None),
        ("amount", "1.234,56"),
        ("amount", "many"),
        ("amount", True),
        ("amount", 1e12),
        ("amount", None),
        ("amount", [1]),
        ("order_id", {"id": 1}),
        ("item_count", 1.5),
        ("item_count", -1),
        ("freight_amount", -0.01),
        ("delivered_date", "infinity"),
        ("delivered_date", "epoch"),
        ("delivered_date", "2018-03-01 10:00:00 UTC"),
        ("delivered_date", "2018-03-01 10:00:00Z "),
        ("colour", "red"),
    ],
)
def test_a_wrong_value_is_refused_by_row_and_field(api: httpx.Client, field: str, value) -> None:
    good = {"customer_id": "1", "purchased_at": "2018-06-01", "amount": 10}
    assert errors_of(ask(api, good, {**good, field: value})) == [(2, field)]


@pytest.mark.parametrize("blank", [" {}", "{} ", "  {}  "])
def test_blanks_around_a_time_say_nothing(api: httpx.Client, blank: str) -> None:
    plain = {"customer_id": "1", "purchased_at": "2018-06-01T09:30", "amount": 10, "delivered_date": "2018-06-03"}
    spaced = plain | {name: blank.format(plain[name]) for name in ("purchased_at", "delivered_date")}
    answers = [ask(api, one) for one in (plain, spaced)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[1].text
    assert answers[0].json() == answers[1].json()


AMOUNTS = st.one_of(
    st.text("0123456789.,_+-eE \t", max_size=12),
    st.from_regex(r"[+-]?\d{1,3}([,._]\d{3}){0,2}([.,]\d{0,5})?([eE][+-]?\d{1,2})?", fullmatch=True),
    st.sampled_from(["nan", "inf", "-infinity", "true", "0x10", "1 000", "\u0661", "\u00a01", "1_000.5"]),
    st.decimals(-(10**9), 10**9, places=4).map(str),
    st.floats().map(repr),
)


@settings(max_examples=100, deadline=None)
@given(text=AMOUNTS)
@example(text="1_000")
@example(text="1,234.56")
@example(text="-1,234,567.5")
@example(text="1,234")
@example(text="1.234,56")
@example(text=" 12.50 ")
@example(text="1e3")
@example(text="1." + "0" * 250 + "e5")
def test_an_amount_is_read_as_clv_load_reads_it(text: str) -> None:
    with duckdb.connect() as connection:
        [(loaded,)] = connection.execute(f"select {money('text')} from (select ? as text)", [text]).fetchall()
        workspace = Workspace(connection.cursor(), TABLES, is_lasting=False)
        day = date(2018, 6, 30)
        workspace.run_once("insert into cutoffs values (?)", [day])
        names = "row, customer_id, purchased_at, amount, freight_amount"
        # whatever comes in is cut so
        workspace.run_once(f"insert into raw ({names}) values (1, 'a', '2018-06-01', left(?, 201), '1,000.0')", [text])
        if loaded is not None and abs(loaded) < 10**9 and len(text) <= 200:
            type_raw(workspace, day)
            read = workspace.run("select amount, freight_amount from purchases").fetchall()
            assert read == [(loaded, 1000)]
        else:
            with pytest.raises(Problem, match="Row 1, field amount"):
                type_raw(workspace, day)


def test_nan_is_no_amount(api: httpx.Client) -> None:
    body = json.dumps({"as_of": DAY, "purchases": [{"customer_id": "1", "purchased_at": DAY, "amount": float("nan")}]})
    assert errors_of(api.post("/predict/purchases", content=body, headers=JSON)) == [(1, "amount")]


def test_an_order_of_two_customers_is_refused(api: httpx.Client) -> None:
    rows = [{"customer_id": name, "purchased_at": DAY, "amount": 1, "order_id": "o"} for name in "ab"]
    assert errors_of(ask(api, *rows)) == [(2, "order_id")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[]", "Expected an object"),
        (b'{"as_of": "2018-06-30", "purchases": 1}', "Expected an object"),
        (b'{"as_of": "2018-06-30", "purchases": []}', "Expected 1 to 200,000 purchases; found 0"),
        (b'{"as_of": "2018-06-30", "purchases": [1]}', "Row 1: Expected an object"),
        (b'{"as_of": "2018-06-30", "purchases": [null]}', "Row 1: Expected an object"),
        (b'{"purchases": [{}]}', "Expected the as-of day"),
        (b'{"as_of": 20180630, "purchases": [{}]}', "Expected the as-of day"),
        (b'{"as_of": "30.06.2018", "purchases": [{}]}', "found '30.06.2018'"),
        (b'{"as_of": "2018-W26-6", "purchases": [{}]}', "found '2018-W26-6'"),
        (b'{"as_of": null, "purchases": [{}]}', "Expected the as-of day as text YYYY-MM-DD."),
        (b'{"as_of": "2018-06-30", "purchases": [{}], "x": 1}', "Field x: Field is unknown"),
        (b'{"as_of": "2018-06-30", "purchases": ' + b"[" * 200_000, "not JSON"),
    ],
)
def test_other_json_is_refused(api: httpx.Client, content: bytes, message: str) -> None:
    response = api.post("/predict/purchases", content=content, headers=JSON)
    assert response.status_code == 422, response.text
    assert message in response.json()["detail"]


@pytest.mark.parametrize(
    ("content", "headers", "message"),
    [
        (b"", CSV, "can't be read as CSV"),
        (b"customer_id,purchased_at,amount\n", CSV, "found 0"),
        (b"customer_id;purchased_at;amount\n1;2;3\n", CSV, "Field customer_id: Column is missing"),
        (b"customer_id,purchased_at,amount,amount\n1,2018-01-01,3,4\n", CSV, "Field amount: Column is there twice"),
        (b"customer_id,purchased_at,amount\n1,2018-01-01\n", CSV, "Expected 3 columns, got 2"),
        (b"customer_id,purchased_at,amount\n\xe9,2018-01-01,1\n", CSV, "invalid UTF8"),
        (b"no parquet", PARQUET, "can't be read as Parquet"),
        (as_parquet(pd.DataFrame({"customer_id": [["a"]]})), PARQUET, "plain values"),
    ],
)
def test_unreadable_tables_are_refused(api, content: bytes, headers: dict, message: str) -> None:
    response = api.post("/predict/purchases", params={"as_of": DAY}, content=content, headers=headers)
    assert response.status_code == 422, response.text
    assert message in response.json()["detail"]


def test_the_as_of_day_has_one_place(api: httpx.Client) -> None:
    assert errors_of(api.post("/predict/purchases", content=LOG.to_csv().encode(), headers=CSV)) == [(None, "as_of")]
    assert errors_of(api.post("/predict/purchases", params={"as_of": DAY}, json=as_json(LOG))) == [(None, "as_of")]


def test_a_small_parquet_can_not_stand_for_gigabytes(api: httpx.Client) -> None:
    rows = 100_000
    customers = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 100_000]))
    table = pa.table({"customer_id": customers, "purchased_at": [DAY] * rows, "amount": ["1"] * rows})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, store_schema=False)
    bomb = buffer.getvalue()
    assert len(bomb) < 2_000_000
    response = api.post("/predict/purchases", params={"as_of": DAY}, content=bomb, headers=PARQUET)
    assert errors_of(response)[0] == (1, "customer_id")
    assert "100,000 errors in all" in response.json()["detail"]


POOLS: list[pa.MemoryPool] = []
"""Kept, for what was taken from them is given back to them."""


@contextmanager
def little_memory() -> Iterator[None]:
    """Arrow takes next to nothing meanwhile."""
    usual = pa.default_memory_pool()
    watched = pa.proxy_memory_pool(usual)
    POOLS.append(watched)
    pa.set_memory_pool(watched)
    try:
        yield
    finally:
        pa.set_memory_pool(usual)
    assert watched.max_memory() < 2**25


def repeated(value: pa.Array, rows: int = 100_000) -> pa.Table:
    """A log whose customers are all the same, as a dictionary."""
    customers = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), value)
    return pa.table({"customer_id": customers, "purchased_at": [DAY] * rows, "amount": ["1"] * rows})


def packed(table: pa.Table, hint: pa.DataType | None = None) -> bytes:
    """As Parquet, very small; `hint` is the type that its own schema claims for the customers."""
    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer, table.schema, compression="zstd", store_schema=False, dictionary_pagesize_limit=2**30
    ) as writer:
        writer.write_table(table, row_group_size=2**30)
        if hint is not None:
            claimed = io.BytesIO()
            pq.write_table(pa.table({"customer_id": pa.array([], hint)}), claimed)
            schema = pq.read_metadata(pa.BufferReader(claimed.getvalue())).metadata[b"ARROW:schema"]
            writer.add_key_value_metadata({"ARROW:schema": schema.decode()})
    return buffer.getvalue()


def changed(body: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A Parquet file with another footer."""
    (size,) = struct.unpack("<I", body[-8:-4])
    footer = change(body[-8 - size : -8])
    return body[: -8 - size] + footer + struct.pack("<I", len(footer)) + b"PAR1"


def as_decimal(footer: bytes) -> bytes:
    """Declare the customers, which are bytes, to be a decimal of 38 digits."""
    name = b"customer_id"
    end = footer.index(name) + len(name)
    return footer[:end] + bytes([0x25, 2 * 5, 0x15, 0, 0x15, 2 * 38]) + footer[end:]


LONG = b"a" * 20_000


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (packed(repeated(pa.array([LONG], pa.binary()))), "binary"),
        (packed(repeated(pa.array([LONG], pa.binary())), pa.binary_view()), "binary"),
        (packed(repeated(pa.array([LONG], pa.binary(len(LONG))))), "fixed_size_binary[20000]"),
        (changed(packed(repeated(pa.array([LONG], pa.binary()))), as_decimal), "decimal128(38, 0)"),
        (changed(packed(repeated(pa.array([LONG], pa.binary(len(LONG))))), as_decimal), "decimal128(38, 0)"),
        (as_parquet(pd.DataFrame({"customer_id": [["a"]]})), "list<element: string>"),
        (as_parquet(pd.DataFrame({"customer_id": [{"a": 1}]})), "struct<a: int64>"),
        (packed(pa.table({"customer_id": np.ones(1, np.float16)})), "halffloat"),
    ],
)
def test_what_is_no_plain_value_is_refused_before_it_takes_memory(body: bytes, found: str) -> None:
    assert len(body) < 4_000
    with little_memory(), pytest.raises(Problem) as refusal:
        read_table(body, PARQUET["content-type"], 200_000)
    assert refusal.value.status == 422
    assert refusal.value.detail.startswith("Field customer_id: Expected a column of plain values")
    assert f"found {found}" in refusal.value.detail


@pytest.mark.parametrize("hint", [None, pa.string(), pa.large_string(), pa.string_view(), pa.binary_view(), pa.json_()])
def test_text_is_read_as_a_dictionary_whatever_the_file_hints_at(hint: pa.DataType | None) -> None:
    body = packed(repeated(pa.array([LONG.decode()])), hint)
    with little_memory():
        table = read_table(body, PARQUET["content-type"], 200_000)
    assert table.schema.field("customer_id").type.value_type == pa.string()


def test_plain_values_of_any_width_are_read() -> None:
    for value in (pa.array([1], pa.int8()), pa.array([1], pa.uint64()), pa.array([1.0], pa.float32()), pa.nulls(1)):
        body = as_parquet(pa.table({"amount": value}).to_pandas())
        assert read_table(body, PARQUET["content-type"], 1).num_rows == 1
    for kind in (pa.decimal128(38, 2), pa.decimal128(5, 2), pa.dictionary(pa.int8(), pa.large_string())):
        value = pa.array([Decimal("1.50")]).cast(kind) if pa.types.is_decimal(kind) else pa.array(["1.50"]).cast(kind)
        assert read_table(packed(pa.table({"amount": value})), PARQUET["content-type"], 1).num_rows == 1


def test_a_parquet_can_not_hide_how_many_rows_it_has() -> None:
    """Arrow reads what the row groups say, not the file as a whole."""
    rows = 10_000_000
    told, hidden = (bytes([2 * n & 127 | 128, n >> 6 & 127 | 128, n >> 13 & 127 | 128, n >> 20]) for n in (rows, 10))
    honest = packed(pa.table({"amount": np.zeros(rows)}))
    body = changed(honest, lambda footer: footer.replace(told, hidden, 1))
    assert pq.read_metadata(pa.BufferReader(body)).num_rows == 10
    with little_memory(), pytest.raises(Problem, match="found 10,000,000"):
        read_table(body, PARQUET["content-type"], 200_000)


def test_a_parquet_that_unpacks_to_very_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.purchases._MAX_UNPACKED", 2**25)
    body = packed(repeated(pa.array(["a" * 2**25]), 10))
    assert len(body) < 10_000
    with little_memory(), pytest.raises(Problem, match="unpacks to more than 32 MiB"):
        read_table(body, PARQUET["content-type"], 200_000)


def wide(columns: int) -> pd.DataFrame:
    """A log of so many columns, most of which nobody knows."""
    names = [f"extra {number}" for number in range(columns - LOG.shape[1])]
    return pd.concat([LOG, pd.DataFrame(None, index=LOG.index, columns=names, dtype=object)], axis=1)


@pytest.mark.parametrize(("columns", "status"), [(MAX_COLUMNS, 200), (MAX_COLUMNS + 1, 422)])
def test_columns_are_bounded(api: httpx.Client, columns: int, status: int) -> None:
    log = wide(columns)
    for content, headers in ((log.to_csv(index=False).encode(), CSV), (as_parquet(log), PARQUET)):
        answer = api.post("/predict/purchases", params={"as_of": DAY}, content=content, headers=headers)
        assert answer.status_code == status, answer.text
        if status == 422:
            assert "more than 200 columns" in answer.json()["detail"]
        else:
            assert "extra 19 and 176 more." in answer.json()["warnings"][0]


@pytest.mark.parametrize("head", ["{}", "\ufeff{}", "\n\r\n{}", '"a\nb",{}', '"a,b""",{}', 'a"b,{}'])
def test_columns_are_counted_in_the_first_line(head: str) -> None:
    """However it is written; a whole body of commas takes no time."""
    for count, is_refused in ((150, False), (10_000_000, True)):
        body = head.format("x," * count).encode() + b"x\n" + b"," * 200
        if is_refused:
            with pytest.raises(Problem, match="more than 200 columns"):
                read_table(body, "text/csv", 10)
        else:
            with suppress(Problem):  # rows of another length
                read_table(body, "text/csv", 10)


def test_a_name_as_long_as_a_body_takes_no_time() -> None:
    started = time.monotonic()
    for body in (b'"' + b'x""' * 10_000_000, b'"' + b"x" * 30_000_000 + b'",' + b"y," * 300):
        with pytest.raises(Problem, match=r"CSV|columns"):
            read_table(body, "text/csv", 10)
    assert time.monotonic() - started < 10


def test_names_of_columns_are_cut(api: httpx.Client) -> None:
    long = "x" * 5_000
    for log in (LOG.assign(**{long: 1}), LOG.drop(columns="amount").assign(**{long: 1})):
        content = log.to_csv(index=False).encode()
        answer = api.post("/predict/purchases", params={"as_of": DAY}, content=content, headers=CSV)
        assert len(answer.text) < 2_000
        assert "x" * 50 in answer.text


def test_many_columns_take_no_longer_each() -> None:
    log = pa.table({"customer_id": ["a"], **{f"extra {number}": pa.nulls(1) for number in range(20_000)}})
    buffer = io.BytesIO()
    pq.write_table(log, buffer)
    started = time.monotonic()
    with pytest.raises(Problem, match="more than 200 columns"):
        read_table(buffer.getvalue(), PARQUET["content-type"], 10)
    assert time.monotonic() - started < 5
