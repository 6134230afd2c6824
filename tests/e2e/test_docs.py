"""The service's documentation of itself, as a browser shows it."""

from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Page, expect


def test_the_documentation_needs_no_other_host(api: httpx.Client, page: Page) -> None:
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    page.goto(str(api.base_url.join("/docs")))
    expect(page.get_by_text("/predict/purchases")).to_be_visible()
    assert asked == {api.base_url.netloc.decode()}
