"""Categories that a model has never seen, told to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MOST_NAMED = 20
"""Most values or customers named in one warning."""


def unknown_warnings(unknown: Mapping[str, Sequence[str]]) -> list[str]:
    """One warning per feature with values the model has never seen.

    Examples
    --------
    >>> unknown_warnings({"first_state": ["XX", "YY"]})
    ["first_state: 'XX', 'YY' are not known to the model and count as missing."]
    """
    return [
        f"{name}: {named(values)} {'is' if len(values) == 1 else 'are'} not known to the model and "
        f"count{'s' if len(values) == 1 else ''} as missing."
        for name, values in unknown.items()
    ]


def named(values: Sequence[str]) -> str:
    """The values, the first of them if there are many.

    Examples
    --------
    >>> named(["a", "b"])
    "'a', 'b'"
    """
    shown = ", ".join(f"'{value}'" for value in values[:MOST_NAMED])
    more = len(values) - MOST_NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown
