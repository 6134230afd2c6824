"""The two readers of a body: what the fast one takes, the careful one takes too, and reads the same."""

import json
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.customers import Coder, Customers
from serving.problems import Problem
from serving.schemas import CustomerReader, allowed_value, features_model

MOST = 3

NUMBERS = [
    "null",
    "true",
    "0",
    "-0",
    "-0.0",
    "1",
    "7.5",
    "-1",
    "1e5",
    "1E+2",
    "1e400",
    "-1e400",
    "3.1e38",
    "1e-400",
    "01",
    "+1",
    ".5",
    "1.",
    "NaN",
    "Infinity",
    "-Infinity",
    "10000",
    "10001",
    "9007199254740993",
    "0.1",
    "1e39",
    "2e-5",
    "12345678.9",
    "[]",
    "{}",
    "'SP'",
    "999",
]
TEXTS = [json.dumps(letter * length) for letter in "xé" for length in (0, 1, 200, 201)]
ESCAPES = [
    r'"\u00e9"',
    r'"\ud83d\ude00"',
    r'"\ud800"',
    r'"\u0000"',
    r'"\x"',
    '"\t"',
    '"SP"',
    '"3"',
    '"}, {"',
    '"]"',
    "9" * 400,
    "",
    "1 2",
]
TOKENS = st.sampled_from([*NUMBERS, *TEXTS, *ESCAPES])


@st.composite
def bodies(draw: st.DrawFn, contract: list[dict]) -> bytes:
    """JSON that is nearly right: a good body with some tokens, names and places changed."""
    good = {"number": "3", "category": '"SP"'}
    customers = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, MOST, 0, MOST + 1]))):
        features = {feature["name"]: good[feature["kind"]] for feature in contract}
        for name in draw(st.lists(st.sampled_from([*features, *features, "x"]), max_size=1)):
            features[name] = draw(TOKENS)
        if draw(st.integers(0, 9)) == 0:
            features.pop(draw(st.sampled_from(list(features))))
        pairs = [f"{json.dumps(name)}: {token}" for name, token in features.items()]
        if draw(st.integers(0, 9)) == 0:
            pairs.append(f'"state": {draw(TOKENS)}')  # there twice: the last one counts
        who = draw(TOKENS) if draw(st.integers(0, 4)) == 0 else '"c"'
        customers.append(f'{{"customer_id": {who}, "features": {{{", ".join(draw(st.permutations(pairs)))}}}}}')
    between = draw(st.sampled_from([", ", ", ", ",", "\r\n,\t", ",\f", ",,"]))
    front, more = draw(
        st.sampled_from(
            [("", "")] * 6
            + [("", ', "x": 1'), ("", ","), ('"x": "[", ', ""), ("", ', "customers": []'), ('"customers": [], ', "")]
        )
    )
    body = f'{{{front}"customers": [{between.join(customers)}]{more}}}'.encode()
    return body if draw(st.integers(0, 19)) else body.replace(b"SP", b"\xff\xfe")


@pytest.fixture(scope="module")
def reader(helpers: ModuleType) -> CustomerReader:
    return CustomerReader(helpers.CONTRACT.to_json())


def read(method, body: bytes) -> tuple[list[str], list[dict]] | None:
    try:
        customers = method(body, MOST)
    except Problem:
        return None
    return list(customers.ids), customers.records()


@pytest.mark.parametrize("piece", [1_000_000, 0, 900])  # large bodies are read in pieces: here, of a customer or two
def test_both_readers_agree(
    helpers: ModuleType, reader: CustomerReader, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr("serving.schemas._PIECE", piece)
    taken = []

    @settings(max_examples=500, deadline=None, database=None, derandomize=True)
    @given(bodies(helpers.CONTRACT.to_json()))
    def agree(body: bytes) -> None:
        found = read(reader.read, body)
        assert found == read(reader._read_with_care, body)
        if found is not None:
            taken.append(body)
            for who in found[0]:
                who.encode()

    agree()
    assert len(taken) > 50


def test_features_may_have_any_name() -> None:
    feature = {"kind": "number", "nullable": False, "minimum": None, "maximum": None, "description": ""}
    contract = [{**feature, "name": name} for name in ("1st", "with space", "class", "features")]
    body = {"customers": [{"customer_id": "a", "features": {one["name"]: 1 for one in contract}}]}
    assert read(CustomerReader(contract).read, json.dumps(body).encode()) == (
        ["a"],
        [{one["name"]: 1.0 for one in contract}],
    )


def test_the_service_encodes_as_the_model_does(helpers: ModuleType, predictor) -> None:
    frame = helpers.random_customers(300, seed=12)
    frame.loc[5, "state"] = "submarine"
    features = helpers.as_customers(frame)["customers"]
    customers = Customers(
        [one["customer_id"] for one in features],
        {name: [one["features"][name] for one in features] for name in frame},
    )
    coder = Coder(predictor.encoder)
    np.testing.assert_array_equal(coder.matrix(customers), predictor.encoder.encode(frame))
    assert coder.unknown(customers) == predictor.encoder.unknown(frame) == {"state": ["submarine"]}
    assert coder.matrix(customers).flags.c_contiguous


def test_the_documented_model_is_that_of_the_contract(helpers: ModuleType) -> None:
    assert list(features_model(helpers.CONTRACT.to_json()).model_fields) == helpers.CONTRACT.names


@pytest.mark.parametrize(
    ("kind", "minimum", "maximum", "values", "value"),
    [
        ("category", None, None, ["b", "a"], "b"),
        ("category", None, None, [], ""),
        ("number", 1, 10, None, 1),
        ("number", None, None, None, 0),
        ("number", None, -3, None, -3),
        ("number", None, 3, None, 0),
    ],
)
def test_an_allowed_value_is_allowed(kind: str, minimum, maximum, values, value) -> None:
    feature = {"kind": kind, "minimum": minimum, "maximum": maximum}
    assert allowed_value(feature, values) == value
