"""SQL expressions that turn text into values, or into NULL where the text isn't what was expected.

DuckDB's own casts are too kind for a border (``1.5`` becomes the integer 2, ``2018-1-5`` a date), so each kind of value
has a pattern that the whole text must match first.
"""

from __future__ import annotations

MONEY = "decimal(18, 4)"
"""Type of every amount."""

EARLIEST_DAY = "1678-01-01"
"""No time may be earlier: from here on it fits whatever reads it later, 64 bits of nanoseconds too."""

_CLOCK = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?"
_OFFSET = r" ?(Z|UTC|[+-]\d{2}(:?\d{2})?)"
_TIME_OF_DAY = rf"\d{{4}}-\d{{2}}-\d{{2}}[ T]{_CLOCK}"
_LOCAL = rf"\d{{4}}-\d{{2}}-\d{{2}}|{_TIME_OF_DAY}"
_EXPONENT = r"([eE][+-]?\d{1,3})?"
_POINT = rf"[+-]?(\d+(\.\d*)?|\.\d+){_EXPONENT}|[+-]?\d{{1,3}}(,\d{{3}})+\.\d+"
_COMMA = rf"[+-]?(\d+(,\d*)?|,\d+){_EXPONENT}|[+-]?\d{{1,3}}(\.\d{{3}})+(,\d+)?"


def tellable(time: str, kind: str) -> str:
    """A typed time, or the nearest in the years 1 to 9999: text and Python know no other, and it is refused anyway."""
    first, last = f"{kind} '0001-01-01 00:00:00+00'", f"{kind} '9999-12-31 00:00:00+00'"
    return f"case when {time} < {first} then {first} when {time} > {last} then {last} else {time} end"


def says_too_early(found: str) -> str:
    """What is wrong with a time before :data:`EARLIEST_DAY`, and what to do."""
    return (
        f"{found!r} lies before {EARLIEST_DAY}; expected no earlier day, so mend it, or leave it empty if the time is "
        "not known."
    )


def integer(text: str) -> str:
    """A whole number."""
    return _checked(text, r"[+-]?\d+", f"try_cast(trim({text}) as integer)")


def double(text: str) -> str:
    """A finite number with a decimal point."""
    return _checked(text, _POINT, f"try_cast(replace(trim({text}), ',', '') as double)")


def money(text: str, decimal: str = ".") -> str:
    """An amount with `decimal` before its fraction; the other mark may group thousands.

    With a point, groups are read only where a fraction follows them: ``1,234`` could mean either.
    """
    if decimal == ",":
        return _checked(text, _COMMA, f"try_cast(replace(replace(trim({text}), '.', ''), ',', '.') as {MONEY})")
    return _checked(text, _POINT, f"try_cast(replace(trim({text}), ',', '') as {MONEY})")


def local_time(text: str) -> str:
    """A local time or day in ISO form."""
    return _checked(text, _LOCAL, f"try_cast(trim({text}) as timestamp)")


def compact_day(text: str) -> str:
    """A day as ``YYYYMMDD``."""
    return _checked(text, r"\d{8}", f"try_strptime(trim({text}), '%Y%m%d')")


def instant(text: str) -> str:
    """A time in ISO form with an offset from UTC (``Z``, ``UTC``, ``-03:00``)."""
    joined = rf"regexp_replace(replace(trim({text}), 'UTC', 'Z'), ' (Z|[+-][0-9:]+)$', '\1')"
    return _checked(text, _TIME_OF_DAY + _OFFSET, f"try_cast({joined} as timestamptz)")


def _checked(text: str, pattern: str, cast: str) -> str:
    return f"case when regexp_full_match(trim({text}), '{pattern}') then {cast} end"
