"""What the service refuses, in terms of the file."""

from typing import Any

import httpx
import pytest

from streamlit_app.client import ApiError, Client


def refused(document: Any, **place: Any) -> ApiError:
    """What the client says of a 422 with this document."""
    client = Client("http://service")
    client._http = httpx.Client(
        base_url="http://service", transport=httpx.MockTransport(lambda request: httpx.Response(422, json=document))
    )
    with pytest.raises(ApiError) as caught:
        client.ask("POST", "/predict", **place)
    return caught.value


def one(row: Any, field: Any) -> dict[str, Any]:
    return {"detail": "No.", "errors": [{"row": row, "field": field, "message": "Wrong."}]}


def test_rows_and_columns_are_those_of_the_file() -> None:
    assert str(refused(one(2, "amount"), rows=[4, 9], columns={"amount": "Total"})) == "Row 10, column Total: Wrong."


def test_a_row_that_was_not_sent_is_named_as_the_service_does() -> None:
    assert str(refused(one(3, "amount"), rows=[4, 9])) == "No."


@pytest.mark.parametrize(
    ("location", "says"),
    [
        (["body", "customers", 1, "features", "recency_days"], "Row 10, column recency_days: Not a number."),
        (["body", 0], "Row 5: Not a number."),
        (["query", "as_of"], "as_of: Not a number."),
        ([], "Not a number."),
    ],
)
def test_errors_in_the_form_of_pydantic_are_understood(location: list[str | int], says: str) -> None:
    error = refused({"detail": [{"type": "float", "loc": location, "msg": "Not a number."}]}, rows=[4, 9])
    assert error.trouble == "input"
    assert str(error) == says


@pytest.mark.parametrize("document", [None, [], "no", {"detail": "No."}, one("x", []), {"detail": [3]}])
def test_what_is_no_problem_document_is_told_so(document: Any) -> None:
    error = refused(document)
    assert error.trouble == "other"
    assert "answered 422, which this app does not understand" in str(error)
