"""Reading request bodies: never more than allowed, never of another type than understood."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import Request

from serving.problems import Problem

JSON = "application/json"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"


def content_type(request: Request, accepted: Sequence[str]) -> str:
    """The body's media type, without parameters.

    Raises
    ------
    Problem
        415 if it is none of `accepted`.
    """
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found not in accepted:
        raise Problem(
            415,
            f"The body's content type is {found or 'not given'}; expected {' or '.join(accepted)}: set the header "
            "Content-Type.",
            headers={"Accept": ", ".join(accepted)},
        )
    return found


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """Read the whole body.

    Raises
    ------
    Problem
        413 as soon as it is known to be larger than `limit` bytes, 408 if it takes longer than `seconds`.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                chunks.append(chunk)
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise Problem(
            408, f"The body had not arrived after {seconds:g} seconds; send it faster.", headers={"Connection": "close"}
        ) from None
    return b"".join(chunks)


def _too_large(limit: int) -> Problem:
    return Problem(
        413,
        f"The body is larger than {limit:,} bytes; send the customers in several requests.",
        headers={"Connection": "close"},
    )
