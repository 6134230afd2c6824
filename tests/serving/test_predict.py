"""POST /predict: the answer is the model's, the border is the contract's."""

import copy
import json

import httpx
import numpy as np
import pandas as pd
import pytest


def body_of(helpers, n: int = 3) -> dict:
    return copy.deepcopy(helpers.as_customers(helpers.random_customers(n, seed=5)))


def refusal(response: httpx.Response, status: int) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert set(problem) == {"type", "title", "status", "detail", "errors"}
    return problem


def test_answers_are_those_of_the_pyfunc_in_input_order(api: httpx.Client, registry, helpers) -> None:
    import mlflow

    mlflow.set_tracking_uri(registry.settings.tracking_uri)
    mlflow.set_registry_uri(registry.settings.tracking_uri)
    frame = helpers.random_customers(2300, seed=3)  # as many as are shared out
    expected = mlflow.pyfunc.load_model("models:/clv/Production").predict(frame)
    answer = api.post("/predict", json=helpers.as_customers(frame)).json()
    assert list(answer) == ["model", "interval_level", "predictions", "warnings"]
    assert answer["model"] == {
        "name": "clv",
        "version": "1",
        "stage": "Production",
        "as_of_date": "2018-06-30",
        "horizon_days": 90,
        "currency": "BRL",
    }
    assert (answer["interval_level"], answer["warnings"]) == (0.8, [])
    got = pd.DataFrame(answer["predictions"])
    assert got.pop("customer_id").tolist() == [f"c{row}" for row in range(2300)]
    pd.testing.assert_frame_equal(got[list(expected.columns)], expected, check_dtype=False, rtol=1e-12)
    np.testing.assert_allclose(got["p_return"] * got["value_if_return"], got["expected_value"], atol=1e-9)
    assert (got["value_if_return_low"] < got["value_if_return_high"]).all()


def test_a_row_gets_the_same_answer_alone_and_among_others(api: httpx.Client, helpers) -> None:
    body = body_of(helpers, 20)
    together = api.post("/predict", json=body).json()["predictions"]
    alone = [api.post("/predict", json={"customers": [one]}).json()["predictions"][0] for one in body["customers"]]
    assert alone == together


def test_unknown_categories_count_as_missing_and_are_listed(api: httpx.Client, helpers) -> None:
    body = body_of(helpers, 2)
    for one in body["customers"]:
        one["features"]["first_category"] = None
    missing = api.post("/predict", json=body).json()
    body["customers"][1]["features"]["first_category"] = "submarines"
    unknown = api.post("/predict", json=body).json()
    assert unknown["predictions"] == missing["predictions"]
    assert missing["warnings"] == []
    assert unknown["warnings"] == ["first_category: 'submarines' is not known to the model and counts as missing."]


@pytest.mark.parametrize(
    ("feature", "value", "message"),
    [
        ("recency_days", -1, "greater than or equal to 0"),
        ("purchase_count", 10_001, "less than or equal to 10000"),
        ("recency_days", "3", "valid number"),
        ("recency_days", True, "valid number"),
        ("recency_days", None, "valid number"),
        ("amount_total", float("nan"), "finite number"),
        ("amount_total", float("inf"), "finite number"),
        ("amount_total", 1e39, "less than or equal to"),
        ("state", 5, "valid string"),
        ("state", "x" * 201, "at most 200 characters"),
    ],
)
def test_a_wrong_value_is_refused_by_row_and_field(api, helpers, feature: str, value, message: str) -> None:
    body = body_of(helpers)
    body["customers"][1]["features"][feature] = value
    content = json.dumps(body)
    problem = refusal(api.post("/predict", content=content, headers={"content-type": "application/json"}), 422)
    (error,) = problem["errors"]
    assert (error["row"], error["field"]) == (2, feature)
    assert message in error["message"]
    assert f"Row 2, field {feature}: " in problem["detail"]


def test_missing_and_unknown_fields_are_refused(api: httpx.Client, helpers) -> None:
    body = body_of(helpers)
    del body["customers"][0]["features"]["gap_mean_days"]
    body["customers"][1]["features"]["recency"] = 3
    body["customers"][2]["name"] = "Ann"
    errors = refusal(api.post("/predict", json=body), 422)["errors"]
    assert [(error["row"], error["field"]) for error in errors] == [(1, "gap_mean_days"), (2, "recency"), (3, "name")]
    assert "missing" in errors[0]["message"]
    assert "unknown" in errors[1]["message"]


def test_rows_are_counted_through_large_bodies_and_errors_are_bounded(api: httpx.Client, helpers) -> None:
    body = body_of(helpers, 1300)
    body["customers"][1234]["features"]["recency_days"] = -1
    assert refusal(api.post("/predict", json=body), 422)["errors"][0]["row"] == 1235
    for one in body["customers"]:
        one["customer_id"] = ""
    problem = refusal(api.post("/predict", json=body), 422)
    assert len(problem["errors"]) == 100
    assert "1,301 errors in all" in problem["detail"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "Expected an object"),
        (b'{"customers": {}}', "Expected an object"),
        (b'{"customers": []}', "Expected 1 to 10,000 customers; found 0"),
        (b'{"customers": [1]}', "Expected an object"),
        (b'{"customers": [{}], "more": 1}', "Field is unknown"),
    ],
)
def test_other_bodies_are_refused(api: httpx.Client, content: bytes, message: str) -> None:
    response = api.post("/predict", content=content, headers={"content-type": "application/json"})
    assert message in refusal(response, 422)["detail"]


def test_too_many_rows(api: httpx.Client, helpers) -> None:
    body = {"customers": body_of(helpers, 1)["customers"] * 10_001}
    assert "found 10,001" in refusal(api.post("/predict", json=body), 422)["detail"]


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large_a_body(api: httpx.Client, chunked: bool) -> None:
    size, piece = 16 * 1024 * 1024 + 1, b" " * 65_536
    content = (piece for _ in range(size // len(piece) + 1)) if chunked else b" " * size
    headers = {"content-type": "application/json"}
    try:
        response = api.post("/predict", content=content, headers=headers)
    except httpx.TransportError:  # the service hung up before all was sent, which is its right
        return
    assert "larger than 16,777,216 bytes" in refusal(response, 413)["detail"]


def test_wrong_content_type(api: httpx.Client) -> None:
    problem = refusal(api.post("/predict", data={"a": "b"}), 415)
    assert "expected application/json" in problem["detail"]


def test_wrong_paths_and_methods(api: httpx.Client) -> None:
    refusal(api.get("/nothing"), 404)
    response = api.get("/predict")
    refusal(response, 405)
    assert response.headers["allow"] == "POST"


def test_openapi_knows_the_model_and_its_examples_run(api: httpx.Client) -> None:
    schemas = api.get("/openapi.json").json()["components"]["schemas"]
    features = schemas["Features"]
    assert features["required"] == list(features["properties"])
    assert features["additionalProperties"] is False
    assert features["properties"]["purchase_count"] == {
        "description": "Purchases so far.",
        "maximum": 10000.0,
        "minimum": 1.0,
        "title": "Purchase Count",
        "type": "number",
    }
    for path, name in (("/predict", "PredictRequest"), ("/predict/purchases", "PurchasesRequest")):
        answer = api.post(path, json=schemas[name]["example"])
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["predictions"]) == 1
