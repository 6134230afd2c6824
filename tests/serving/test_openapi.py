"""Requests generated from the service's own description: never a 5xx, never an answer it does not describe."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
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
