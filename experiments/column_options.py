"""The options that say how to read a transaction log, the same for every verb that reads one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer


def _option(words: str) -> Any:
    return typer.Option(help=words, rich_help_panel="How to read transactions")


def transaction_columns(
    customer_column: Annotated[str | None, _option("Column of the customer id.")] = None,
    time_column: Annotated[str | None, _option("Column of the timestamp or date.")] = None,
    amount_column: Annotated[str | None, _option("Column of the amount.")] = None,
    order_column: Annotated[str | None, _option("Column of the order id, if there is one.")] = None,
    time_format: Annotated[str | None, _option("strptime format, such as %d/%m/%Y.")] = None,
    time_zone: Annotated[str | None, _option("The shop's time zone, such as America/Sao_Paulo.")] = None,
    decimal: Annotated[str, _option("Decimal mark of amounts.")] = ".",
    delimiter: Annotated[str, _option("Delimiter of the CSV.")] = ",",
    currency: Annotated[str | None, _option("ISO code of the shop's currency.")] = None,
) -> Any:
    """Make of the options what the loader takes: its parameters are the options, of which an empty one is not given."""
    from clv.sources.transactions import TransactionColumns

    return TransactionColumns(
        customer=customer_column or None,
        time=time_column or None,
        amount=amount_column or None,
        order=order_column or None,
        time_format=time_format or None,
        time_zone=time_zone or None,
        decimal=decimal,
        delimiter=delimiter,
        currency=currency or None,
    )


def with_columns(verb: Callable[..., None]) -> Callable[..., None]:
    """Put these options after the verb's own; it gets what they make as its parameter ``columns``."""
    shared = inspect.signature(transaction_columns, eval_str=True).parameters
    own = inspect.signature(verb, eval_str=True)

    @wraps(verb)
    def command(**given: Any) -> None:
        columns = transaction_columns(**{name: given.pop(name) for name in shared})
        verb(**given, columns=columns)

    every = [parameter for name, parameter in own.parameters.items() if name != "columns"] + [*shared.values()]
    command.__signature__ = own.replace(parameters=every)  # type: ignore[attr-defined]  # what typer looks at
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
    return command
