"""Asks every address that README and docs link to; exit code 1 names those that do not answer.

    python docs/links.py

Run by .github/workflows/links.yml once a week: it needs the network, and other people's pages go away without a commit
here. Links within the repository are checked by ``make check``. Nothing but the standard library is needed.
"""

from __future__ import annotations

import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\((https?://[^)\s]+)\)")
ATTEMPTS, PAUSE_SECONDS, PATIENCE_SECONDS = 3, 5.0, 20.0
WALLED = {401, 403, 405, 429}
"""Answers of pages that are there, to a visitor who is no browser."""


def pages() -> list[Path]:
    """Everything that is read as a page."""
    return [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").glob("**/*.md"))]


def links() -> dict[str, list[str]]:
    """Address -> the pages that link to it."""
    found: dict[str, list[str]] = {}
    for page in pages():
        for url in LINK.findall(page.read_text(encoding="utf-8")):
            found.setdefault(url, []).append(str(page.relative_to(REPOSITORY)))
    return found


def trouble(url: str, *, pause: float = PAUSE_SECONDS) -> str:
    """What is wrong with an address; empty if it answers."""
    found = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause)
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0 (link check)"})
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS):
                return ""
        except urllib.error.HTTPError as error:
            if error.code in WALLED:
                return ""
            found = f"{error.code} {error.reason}"
        except OSError as error:
            found = str(error)
    return found


def broken() -> Iterator[str]:
    """One line for each address that does not answer."""
    for url, shown_on in links().items():
        if found := trouble(url):
            yield f"{', '.join(shown_on)}: {url}: {found}"


if __name__ == "__main__":
    lines = list(broken())
    print("\n".join(lines) or f"{len(links())} addresses answer.")
    sys.exit(1 if lines else 0)
