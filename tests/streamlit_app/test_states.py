"""What people see when something is missing: the service, a model, a scored shop."""

import socket

import pytest

PAGES = ["portfolio", "customer", "budget", "model"]


@pytest.mark.parametrize("page", PAGES)
def test_the_api_is_down(open_page, page: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shown = open_page(f"http://127.0.0.1:{free.getsockname()[1]}", page).app
    assert "can't be reached" in shown.error[0].value
    assert "clv serve" in shown.error[0].value
    assert "Try again" in [button.label for button in shown.button]
    assert not shown.metric


def test_there_is_no_model(open_page, helpers, tmp_path) -> None:
    empty = helpers.make_registry(tmp_path)
    with helpers.serving(empty.serving, until_ready=False) as client:
        page = open_page(client.base_url)
        for name in PAGES:
            shown = page.go(name).app
            assert "There is no model to ask yet" in shown.error[0].value
            assert "clv run" in shown.error[0].value
            assert not shown.metric


@pytest.mark.parametrize("page", ["customer", "budget"])
def test_there_is_no_shop(open_page, api, page: str) -> None:
    shown = open_page(api.base_url, page).app
    assert "There is no shop to look at yet" in shown.info[0].value
    assert not shown.error
    assert not shown.metric


def test_without_a_scored_shop_portfolio_leads_to_the_upload(open_page, api) -> None:
    page = open_page(api.base_url)
    assert "No shop has been scored yet" in page.app.info[0].value
    page.press("Use your own file")
    assert len(page.app.file_uploader) == 1
    assert [heading.value for heading in page.app.subheader] == [
        "A transaction log",
        "A file of features",
        "Olist's orders",
    ]
