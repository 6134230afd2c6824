"""The border of ``POST /predict``: what may come in, made from the contract of the model that is served.

A body is read twice at most. msgspec reads it ten times as fast as pydantic and refuses it at the first thing that is
wrong; pydantic then has the last word, and names every row and field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import from_json

from serving.customers import Column, Customers
from serving.problems import FieldError, field_error, invalid, invalid_field

LARGEST = 3.0e38
"""Boosters work in single precision; a larger number would become infinite."""

MAX_TEXT = 200
"""Longest customer id and category."""

_CHUNK = 500
"""Customers validated at a time: validation holds the interpreter, and other requests want a turn."""

_PIECE = 50_000
"""Bytes read at a time. Their customers become rows of numbers while they are still in the processor's cache, and the
next ones take their place in it; all at once would take up to half as long again, and hold the interpreter
throughout."""

_BETWEEN = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*\{")
"""Between two customers, or somewhere in a text."""

_FORBID = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

_STRICT: dict[str, Any] = {"forbid_unknown_fields": True, "gc": False}

CustomerId: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


def features_model(contract: Sequence[Mapping[str, Any]]) -> type[BaseModel]:
    """The pydantic model of one customer's features: present all, null only where the contract allows it."""
    fields: dict[str, Any] = {feature["name"]: (_annotation(feature), ...) for feature in contract}
    return create_model("Features", __config__=_FORBID, **fields)


def allowed_value(feature: Mapping[str, Any], values: Sequence[str] | None) -> float | str:
    """Some value the contract allows.

    Parameters
    ----------
    values
        The values of a category.
    """
    if feature["kind"] == "category":
        return values[0] if values else ""
    return feature["minimum"] if feature["minimum"] is not None else min(0.0, feature["maximum"] or 0.0)


def _annotation(feature: Mapping[str, Any]) -> Any:
    description = feature["description"] or None
    annotation: Any = Annotated[str, Field(max_length=MAX_TEXT, description=description)]
    if feature["kind"] == "number":
        low, high = _bounds(feature)
        annotation = Annotated[float, Field(ge=low, le=high, allow_inf_nan=False, description=description)]
    return annotation | None if feature["nullable"] else annotation


class CustomerReader:
    """Reads and checks bodies of ``POST /predict`` for one contract.

    Parameters
    ----------
    contract
        The model's features.
    """

    def __init__(self, contract: Sequence[Mapping[str, Any]]) -> None:
        self.customer = create_model(
            "Customer",
            __config__=_FORBID,
            customer_id=(CustomerId, ...),
            features=(features_model(contract), ...),
        )
        numbers_first = sorted(contract, key=lambda feature: feature["kind"] != "number")
        self._names = [feature["name"] for feature in numbers_first]
        self._numbers = sum(feature["kind"] == "number" for feature in contract)
        customers = _customers_type(numbers_first)
        body = msgspec.defstruct("Body", [("customers", customers)], **_STRICT)
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(body)
        self._list_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(customers)
        self._chunk: TypeAdapter[list[Any]] = TypeAdapter(list[self.customer])  # type: ignore[name-defined]

    @cached_property
    def request(self) -> type[BaseModel]:
        """The whole body, for OpenAPI."""
        customers = Annotated[list[self.customer], Field(min_length=1)]  # type: ignore[name-defined]
        return create_model("PredictRequest", __config__=_FORBID, customers=(customers, ...))

    def read(self, body: bytes, max_rows: int) -> Customers:
        """Parse and check a body.

        Raises
        ------
        Problem
            422 naming rows and fields, if anything is not as the contract says.
        """
        try:
            ids, columns = self._whole(body) if len(body) <= _PIECE else self._in_pieces(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._read_with_care(body, max_rows)
        _check_count(len(ids), max_rows)
        return Customers(ids, dict(zip(self._names, columns, strict=True)))

    def _whole(self, body: bytes) -> tuple[list[str], Iterable[Column]]:
        """Ids and columns of a small body."""
        customers = self._decoder.decode(body).customers
        rows = map(msgspec.structs.astuple, [one.features for one in customers])
        return [one.customer_id for one in customers], zip(*rows, strict=True)

    def _in_pieces(self, body: bytes) -> tuple[list[str], Iterable[Column]]:
        """The same of a large one."""
        ids: list[str] = []
        numbers: list[NDArray[np.float64]] = []
        texts: list[tuple[Any, ...]] = []
        for customers in self._pieces(body):
            ids += [one.customer_id for one in customers]
            rows = list(map(msgspec.structs.astuple, [one.features for one in customers]))
            flat = chain.from_iterable([row[: self._numbers] for row in rows])
            numbers.append(np.fromiter(flat, np.float64, len(rows) * self._numbers))
            texts += [row[self._numbers :] for row in rows]
        table = np.concatenate(numbers).reshape(len(ids), self._numbers)
        return ids, chain(table.T, zip(*texts, strict=True))

    def _pieces(self, body: bytes) -> Iterator[list[Any]]:
        """The customers of a body, some at a time.

        The frame around them must read right, and so must each piece as a list; the body then does so as a whole. A
        cut in the wrong place, in a text, leaves pieces that are no lists, and the body is read with care.
        """
        start, end = body.find(b"[") + 1, body.rfind(b"]")
        self._decoder.decode(body[:start] + body[end:])
        while True:
            cut = _BETWEEN.search(body, start + _PIECE, end)
            yield self._list_decoder.decode(b"[%b]" % body[start : cut.start() + 1 if cut else end])
            if cut is None:
                return
            start = cut.end() - 1

    def _read_with_care(self, body: bytes, max_rows: int) -> Customers:
        """The same by pydantic, which tells what is wrong."""
        rows = _rows(body, max_rows)
        customers: list[Any] = []
        errors: list[FieldError] = []
        for start in range(0, len(rows), _CHUNK):
            try:
                customers += self._chunk.validate_python(rows[start : start + _CHUNK])
            except ValidationError as error:
                errors += [
                    field_error(one, offset=start, skip=("features",)) for one in error.errors(include_url=False)
                ]
        if errors:
            raise invalid(errors)
        records = [one.features.__dict__ for one in customers]
        return Customers(
            [one.customer_id for one in customers], {name: [record[name] for record in records] for name in self._names}
        )


def _rows(body: bytes, max_rows: int) -> list[Any]:
    """The list under ``customers``."""
    try:
        document = from_json(body)
    except ValueError as error:
        raise invalid_field(None, f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict) or not isinstance(document.get("customers"), list):
        raise invalid_field("customers", 'Expected an object {"customers": [{"customer_id": ..., "features": ...}]}.')
    unknown = sorted(set(document) - {"customers"})
    if unknown:
        raise invalid_field(unknown[0], "Field is unknown; expected customers only.")
    rows: list[Any] = document["customers"]
    _check_count(len(rows), max_rows)
    return rows


def _check_count(count: int, max_rows: int) -> None:
    if not 1 <= count <= max_rows:
        raise invalid_field("customers", f"Expected 1 to {max_rows:,} customers; found {count:,}.")


def _customers_type(contract: Sequence[Mapping[str, Any]]) -> Any:
    """The list of customers as msgspec reads it."""
    fields = [(feature["name"], _fast_annotation(feature)) for feature in contract]
    # Features may have names that are no identifiers; JSON's names are given beside them.
    numbered = [(f"feature_{number}", annotation) for number, (_, annotation) in enumerate(fields)]
    names = {field: name for (field, _), (name, _) in zip(numbered, fields, strict=True)}
    features = msgspec.defstruct("Features", numbered, rename=names, **_STRICT)
    customer_id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
    customer = msgspec.defstruct("Customer", [("customer_id", customer_id), ("features", features)], **_STRICT)
    return list[customer]  # type: ignore[valid-type]


def _fast_annotation(feature: Mapping[str, Any]) -> Any:
    annotation: Any = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
    if feature["kind"] == "number":
        low, high = _bounds(feature)
        annotation = Annotated[float, msgspec.Meta(ge=low, le=high)]
    return annotation | None if feature["nullable"] else annotation


def _bounds(feature: Mapping[str, Any]) -> tuple[float, float]:
    low = -LARGEST if feature["minimum"] is None else feature["minimum"]
    high = LARGEST if feature["maximum"] is None else feature["maximum"]
    return low, high
