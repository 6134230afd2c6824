"""The app in front of an API elsewhere, which comes and goes."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.timeout(600)


def test_an_api_that_is_away_is_told_and_can_be_tried_again(
    demo_home: Path, page: Page, tmp_path: Path, servers
) -> None:
    port = servers.free_port()
    with servers.running_app(tmp_path, CLV_API_URL=f"http://127.0.0.1:{port}") as app:
        page.goto(app.url)
        expect(page.get_by_test_id("stAlert").filter(has_text="can't be reached")).to_be_visible()
        again = page.get_by_role("button", name="Try again")
        expect(again).to_be_visible()
        with servers.running_api(demo_home, tmp_path, port):
            again.click()
            expect(page.get_by_test_id("stMetric").first).to_be_visible()
            assert page.get_by_text("made-up").count() == 0  # whose shop an API elsewhere serves is not ours to say
        page.reload()
        expect(page.get_by_test_id("stAlert").filter(has_text="can't be reached")).to_be_visible()
