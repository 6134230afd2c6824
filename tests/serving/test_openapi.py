"""Requests generated from the service's own description: never a 5xx, never an answer it does not describe."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from pydantic import SecretStr
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.mark.timeout(1500)
def test_generated_requests_get_described_answers(api: httpx.Client, full_scale: bool) -> None:
    schema = schemathesis.openapi.from_dict(api.get("/openapi.json").json())
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 13
    per_operation = 10_000 // len(operations) + 1 if full_scale else 8
    for operation in operations:

        @settings(
            max_examples=per_operation,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @schemathesis_given(operation)
        def ask(case: schemathesis.Case) -> None:
            case.call_and_validate(base_url=str(api.base_url), checks=list(CHECKS))

        ask()


def schemathesis_given(operation):
    from hypothesis import given

    return given(case=operation.as_strategy())


@pytest.mark.parametrize("path", ["/predict", "/predict/purchases", "/explain", "/portfolio", "/portfolio/purchases"])
def test_examples_run_as_shown(api: httpx.Client, path: str) -> None:
    document = api.get("/openapi.json").json()
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    name = content["schema"]["$ref"].rpartition("/")[2]
    response = api.post(path, json=document["components"]["schemas"][name]["example"])
    assert response.status_code == 200, response.text


def test_every_answer_described_is_one_that_is_sent(api: httpx.Client) -> None:
    document = api.get("/openapi.json").json()
    assert "ValidationError" not in str(document)
    described = {path: set(next(iter(methods.values()))["responses"]) for path, methods in document["paths"].items()}
    assert "422" not in described["/customers/{customer_id}"] | described["/model/figures/{name}"]
    assert "422" in described["/customers"] & described["/predict/purchases"]


def test_a_key_is_asked_for_where_it_is_needed(helpers, registry, api: httpx.Client) -> None:
    assert "securitySchemes" not in api.get("/openapi.json").json()["components"]
    with helpers.serving(registry.serving.model_copy(update={"api_key": SecretStr("key")})) as client:
        document = client.get("/openapi.json").json()
        (name,) = document["components"]["securitySchemes"]
        scheme = document["components"]["securitySchemes"][name]
        assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                is_closed = client.request(method, path).status_code == 401
                assert operation.get("security", document["security"]) == ([{name: []}] if is_closed else []), path
