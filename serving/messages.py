"""What errors say, fit to be shown: addresses of a registry or a database may hold passwords."""

from __future__ import annotations

import re

_SECRET = re.compile(r"(?<=//)[^\s/:@'\"]*(:[^\s'\"]*)?@")
"""Who logs in where, between the slashes and the host; a password may hold slashes and more."""


def masked(text: str) -> str:
    """The text without names and passwords in addresses."""
    return _SECRET.sub("***@", text)


def first_line(error: Exception) -> str:
    """The first line of what an error says, its kind if it says nothing."""
    return masked((str(error).strip().splitlines() or [type(error).__name__])[0])
