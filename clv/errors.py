"""The errors a person can meet.

Each message is one sentence that names the thing, what was expected and what to do. The command line prints it and
exits with ``exit_code``; anything that is not a :class:`ClvError` is our bug (exit code 1).
"""

import re

_SECRET = re.compile(r"(?<=//)[^\s/:@'\"]*(:[^\s'\"]*)?@")
"""Who logs in where, between the slashes and the host; a password may hold slashes and more."""


class ClvError(Exception):
    """Base class of all expected errors."""

    exit_code = 1


class InputError(ClvError):
    """The user's input (file, row, column, option, too little history) can't be used."""

    exit_code = 2


class RefusedError(ClvError):
    """The gate refused a model, or a monitored figure is out of bounds."""

    exit_code = 3


class UnavailableError(ClvError):
    """Warehouse, registry, disk or network can't be reached or written."""

    exit_code = 4


def masked(text: str) -> str:
    """The text without names and passwords in addresses of a registry or a database: fit to be shown."""
    return _SECRET.sub("***@", text)


def first_line(error: Exception) -> str:
    """What a library's error says first, its kind if it says nothing: for a sentence of ours, which is one line."""
    return masked((str(error).strip().splitlines() or [type(error).__name__])[0])
