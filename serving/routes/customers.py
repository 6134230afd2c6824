"""The last scored shop."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from starlette.background import BackgroundTask
from starlette.convertors import PathConvertor, register_url_convertor

from serving.answers import CustomerAnswer, CustomersAnswer
from serving.bodies import JSON, PARQUET
from serving.files import WholeFile
from serving.problems import documented
from serving.reading import respond
from serving.service import CurrentService
from serving.shop import SORTABLE

router = APIRouter(tags=["customers"])

Sort = Literal[SORTABLE]  # type: ignore[valid-type]


class _AnyText(PathConvertor):
    """The rest of the path, whatever it holds; Starlette's own ends at a line break."""

    regex = "(?s:.*)"


register_url_convertor("text", _AnyText())


@router.get("/customers", response_model=CustomersAnswer, responses=documented(401, 404, 422, 500, 503))
async def customers(
    service: CurrentService,
    sort: Annotated[Sort, Query(description="Column to sort by; a minus for the highest first.")] = "-expected_value",
    limit: Annotated[int, Query(ge=1, le=1000, description="Customers per page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=2000, description="next_cursor of the page before.")] = None,
    q: Annotated[str | None, Query(max_length=200, description="Part of a customer's id.")] = None,
) -> Response:
    """A page of the customers that were scored last."""
    page = await service.in_thread(lambda: respond(service.shop.page(sort, limit, cursor, q)))
    return Response(page, media_type=JSON)


@router.get(
    "/customers.parquet",
    response_class=WholeFile,
    responses={
        200: {"content": {PARQUET: {"schema": {"type": "string", "format": "binary"}}}, "description": "All of them."},
        **documented(401, 404, 500, 503),
    },
)
async def all_customers(service: CurrentService) -> WholeFile:
    """All customers that were scored last, the highest expected value first."""
    folder = tempfile.TemporaryDirectory(prefix="clv-customers-")
    file = Path(folder.name) / "customers.parquet"
    try:
        await service.in_thread(lambda: service.shop.write_parquet(file))
    except BaseException:
        folder.cleanup()
        raise
    return WholeFile(file, media_type=PARQUET, filename="customers.parquet", background=BackgroundTask(folder.cleanup))


@router.get(
    "/customers/{customer_id:text}",
    response_model=CustomerAnswer,
    responses=documented(401, 404, 500, 503),
)
async def customer(customer_id: str, service: CurrentService) -> Response:
    """One customer, the id percent-encoded: the prediction, and the purchases and features it was made from."""
    model = service.holder.state.model
    features = model.predictor.encoder.features if model else ()
    answer = await service.in_thread(lambda: respond(service.shop.customer(customer_id, features)))
    return Response(answer, media_type=JSON)
