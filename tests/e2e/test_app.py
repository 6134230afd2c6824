"""What a visitor of the app sees, clicks and takes away."""

import io
import re
from itertools import combinations
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from streamlit_app.demo import LABEL
from streamlit_app.money import Style

pytestmark = pytest.mark.timeout(600)

GIGABYTE = 1e9

PAGES = {
    "Portfolio": "What will your customers spend?",
    "Customer": "What is a customer worth, and why?",
    "Budget": "Whom is it worth contacting?",
    "Model": "Can you believe the model?",
}


def settled(page: Page) -> Page:
    """The page once its script has run."""
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]')).to_be_visible()
    expect(page.get_by_text("Starting the prediction service")).to_have_count(0)
    return page


def metrics(page: Page) -> dict[str, str]:
    """The figures on the page by their label, once they stand still."""
    expect(page.get_by_test_id("stMetric").first).to_be_visible()
    before: dict[str, str] = {}
    for _ in range(50):
        settled(page)
        now = {
            card.get_by_test_id("stMetricLabel").inner_text(): card.get_by_test_id("stMetricValue").inner_text()
            for card in page.get_by_test_id("stMetric").all()
        }
        if now == before:
            return now
        before = now
        page.wait_for_timeout(600)
    raise AssertionError(f"The figures never stand still: {before}")


def downloaded(page: Page, button: str) -> bytes:
    """The file behind a download button."""
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").filter(has_text=button).get_by_role("button").click()
    return Path(download.value.path()).read_bytes()


def choose(page: Page, option: str) -> None:
    """Press one of a row of buttons of which one is pressed."""
    page.get_by_role("radio", name=option).click()


def test_the_demo_shop_is_built_once_and_says_what_it_is(public_app) -> None:
    waiting, also_waiting, *ready = public_app.seen
    for text in (waiting, also_waiting):
        assert "Building a made-up demo shop" in text
        assert LABEL in text
    for text in ready:
        assert LABEL in text
        assert "4,000" in text
    assert public_app.usage.builders == 1


def test_all_pages_can_be_clicked_through(public_app, page: Page) -> None:
    page.goto(public_app.url)
    for name, title in PAGES.items():
        page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", name=title)).to_be_visible()
        settled(page)
        expect(page.get_by_test_id("stException")).to_have_count(0)
        assert urlsplit(page.url).path == ("/" if name == "Portfolio" else f"/{name.lower()}")
        assert name == "Customer" or len(metrics(page)) >= 4


def test_pages_are_reached_by_the_keyboard(public_app, page: Page) -> None:
    page.goto(public_app.url)
    settled(page)
    link = page.get_by_test_id("stSidebarNav").get_by_role("link", name="Model")
    for _ in range(12):
        page.keyboard.press("Tab")
        if link.evaluate("element => element === document.activeElement"):
            break
    else:
        pytest.fail("12 times Tab do not reach the page Model")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=PAGES["Model"])).to_be_visible()


@pytest.fixture
def portfolio(public_app, page: Page, log_csv: Path) -> Page:
    """The page Portfolio with the answer to an uploaded log."""
    page.goto(public_app.url)
    choose(page, "Your own file")
    page.locator("input[type=file]").set_input_files(log_csv)
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_test_id("stMetric").first).to_be_visible(timeout=120_000)
    return settled(page)


def test_numbers_of_an_uploaded_log_are_those_of_predict(portfolio: Page, api: httpx.Client, log_csv: Path) -> None:
    log = pd.read_csv(log_csv, dtype=str).rename(columns={"date": "purchased_at"})
    days = pd.to_datetime(log["purchased_at"], format="%Y%m%d" if log["purchased_at"][0].isdigit() else "ISO8601")
    log["purchased_at"] = days.dt.strftime("%Y-%m-%d")
    content = log[["customer_id", "purchased_at", "amount"]].to_csv(index=False)
    snapshots = api.post(
        "/predict/purchases",
        params={"as_of": log["purchased_at"].max(), "features": "true"},
        content=content,
        headers={"content-type": "text/csv"},
    ).json()
    model, customers = snapshots["model"], snapshots["predictions"]
    predictions = []
    for start in range(0, len(customers), 10_000):
        some = [
            {"customer_id": one["customer_id"], "features": one["features"]}
            for one in customers[start : start + 10_000]
        ]
        predictions += api.post("/predict", json={"customers": some}).raise_for_status().json()["predictions"]
    expected = pd.DataFrame(predictions).set_index("customer_id")

    shown = metrics(portfolio)
    say = Style()
    assert shown["Customers"] == say.number(len(expected))
    revenue = shown[f"Expected revenue, {model['horizon_days']} days"]
    assert revenue == say.money(expected["expected_value"].sum(), model["currency"])
    assert shown["Share that will return"] == say.share(expected["p_return"].mean())

    table = pd.read_csv(io.BytesIO(downloaded(portfolio, "Download as CSV")), dtype={"customer_id": str})
    assert table["expected_value"].is_monotonic_decreasing
    got = table.set_index("customer_id")
    assert set(got.index) == set(expected.index)
    for column in ("p_return", "value_if_return", "expected_value"):
        assert (got[column] - expected[column]).abs().max() < 1e-6


def test_uploads_live_in_the_session_only(portfolio: Page, public_app) -> None:
    count = metrics(portfolio)["Customers"]
    stranger = portfolio.context.browser.new_context(locale="en-US").new_page()
    stranger.goto(public_app.url)
    assert metrics(stranger)["Customers"] == "4,000" != count
    stranger.context.close()


def test_the_address_holds_the_view(public_app, page: Page) -> None:
    page.goto(f"{public_app.url}/budget?k=250")
    of_250 = metrics(page)
    page.goto(f"{public_app.url}/budget?k=500")
    of_500 = metrics(page)
    changed = {label: (of_250[label], of_500[label]) for label in of_250 if of_250[label] != of_500.get(label)}
    assert ("250", "500") in changed.values()
    assert len(changed) >= 3  # revenue and cost go with it

    page.goto(f"{public_app.url}/model?about=Promotion")
    settled(page)
    expect(page.get_by_text("Every change of what is in Production")).to_be_visible()
    choose(page, "What moves it")
    expect(page.get_by_text("How far each feature moves the expected value")).to_be_visible()
    assert parse_qs(urlsplit(page.url).query)["about"] == ["What moves it"]


def test_a_customer_is_shared_by_the_address(public_app, page: Page, api: httpx.Client) -> None:
    best = api.get("/customers", params={"limit": 1}).json()["customers"][0]
    page.goto(f"{public_app.url}/customer?customer={best['customer_id']}")
    shown = metrics(page)
    currency = api.get("/model").json()["model"]["currency"]
    assert Style().money(best["expected_value"], currency) in shown.values()
    assert Style().share(best["p_return"]) in shown.values()
    expect(page.get_by_role("heading", name="What they bought")).to_be_visible()


def test_a_wrong_file_is_told_by_row_and_column(public_app, page: Page, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("customer_id,date,amount\nann,2018-03-01,5\nbob,2018-03-02,many\n")
    page.goto(public_app.url)
    choose(page, "Your own file")
    page.locator("input[type=file]").set_input_files(wrong)
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_test_id("stAlert").filter(has_text="Row 2, column amount")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_a_phone(public_app, browser, name: str, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme, locale="en-US")
    phone = context.new_page()
    phone.goto(f"{public_app.url}/{'' if name == 'Portfolio' else name.lower()}")
    expect(phone.get_by_role("heading", name=PAGES[name])).to_be_visible()
    settled(phone)
    main = phone.get_by_test_id("stMain")
    assert main.evaluate("element => element.scrollWidth - element.clientWidth") <= 1
    background = phone.get_by_test_id("stApp").evaluate("element => getComputedStyle(element).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", background)[:3])) / 3
    assert brightness > 200 if scheme == "light" else brightness < 60
    context.close()


NARROWEST_CHART = 300
ABOUT = ("Over time", "What moves it", "Model card")


@pytest.mark.parametrize("address", ["", "customer", "budget", *(f"model?about={part}" for part in ("Tested", *ABOUT))])
def test_charts_have_room_and_nothing_overlaps_in_any_window(
    public_app, api: httpx.Client, page: Page, address: str
) -> None:
    best = api.get("/customers", params={"limit": 1}).json()["customers"][0]["customer_id"]
    page.goto(f"{public_app.url}/{address}" + (f"?customer={best}" if address == "customer" else ""))
    metrics(page)
    for width in (390, 768, 1000, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(1500)  # until the charts are drawn anew
        main = page.get_by_test_id("stMain")
        assert main.evaluate("element => element.scrollWidth - element.clientWidth") <= 1, width
        charts = page.get_by_test_id("stVegaLiteChart").all()
        assert all(chart.bounding_box()["width"] >= NARROWEST_CHART for chart in charts), width
        cards = [card.bounding_box() for card in page.get_by_test_id("stMetric").all()]
        headings = [heading.bounding_box() for heading in page.get_by_role("heading").all()]
        for one, other in combinations([box for box in cards + headings if box], 2):
            apart = (
                one["x"] + one["width"] <= other["x"] + 1
                or other["x"] + other["width"] <= one["x"] + 1
                or one["y"] + one["height"] <= other["y"] + 1
                or other["y"] + other["height"] <= one["y"] + 1
            )
            assert apart, (width, one, other)


def test_the_public_demo_fits_into_a_gigabyte(public_app, portfolio: Page) -> None:
    """Summed over all processes, from the first visitor's until here: building, looking around, an uploaded log."""
    assert 0 < public_app.usage.peak < GIGABYTE, f"{public_app.usage.peak / 1e6:.0f} MB"
