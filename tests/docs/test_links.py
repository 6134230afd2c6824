"""Links within the repository lead somewhere; those to other sites are addresses, which a workflow asks every week."""

import re
import runpy
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LINKS = SimpleNamespace(**runpy.run_path(str(REPOSITORY / "docs" / "links.py")))
PAGES = [*LINKS.pages(), REPOSITORY / ".github" / "PULL_REQUEST_TEMPLATE.md"]
ON_GITHUB = "../../actions/workflows/"
"""What README links to relative to its own page on GitHub: https://github.com/OWNER/REPOSITORY/blob/BRANCH/README.md."""


def _anchor(heading: str) -> str:
    """As GitHub and the site make it."""
    plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower())
    return re.sub(r"[\s]+", "-", plain.strip())


def _without_code(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_link_within_the_repository_leads_somewhere(page: Path) -> None:
    """The site's builder does not read README, and does not know the files outside docs/."""
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", _without_code(page)):
        if urlsplit(link).scheme:
            continue
        if link.startswith(ON_GITHUB):
            workflow = link.removeprefix(ON_GITHUB).split("/")[0]
            target, anchor = REPOSITORY / ".github" / "workflows" / workflow, ""
        else:
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            lost.append(link)
    assert lost == []


def _anchors(page: Path) -> set[str]:
    return {_anchor(heading) for heading in re.findall(r"^#+ (.+)$", _without_code(page), flags=re.MULTILINE)}


@pytest.mark.parametrize("url", LINKS.links())
def test_a_link_to_another_site_is_an_address(url: str) -> None:
    parts = urlsplit(url)

    assert parts.scheme == "https"
    assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc)
    assert re.fullmatch(r"[\w%./?=&~-]*", parts.path + parts.query)


class Site(BaseHTTPRequestHandler):
    """A page that is there, one behind a wall, one that comes at the second attempt; the rest is gone."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        there = {"/there": 200, "/wall": 403, "/slow": 503 if self.asked.count("/slow") < 2 else 200}
        self.send_response(there.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("path", "wrong"), [("/there", ""), ("/wall", ""), ("/slow", ""), ("/gone", "404 Not Found")])
def test_the_weekly_check_tells_what_does_not_answer(site: str, path: str, wrong: str) -> None:
    assert LINKS.trouble(site + path, pause=0.01) == wrong


def test_a_site_that_is_away_is_told() -> None:
    assert "refused" in LINKS.trouble("http://127.0.0.1:9/", pause=0.01)
