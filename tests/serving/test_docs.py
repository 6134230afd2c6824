"""The examples of docs/serving.md run as shown; its table of settings is complete."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml

from serving.settings import _ENVIRONMENT, ServingSettings


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "serving.md").read_text()


def run(command: list[str], api: httpx.Client, text: str) -> str:
    """What an example prints, asked of the service that is there."""
    local = text.replace("http://127.0.0.1:8000", str(api.base_url).rstrip("/"))
    assert local != text
    done = subprocess.run([*command, local], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def examples(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


def test_curl(page: str, api: httpx.Client) -> None:
    asked = [text for text in examples(page, "sh") if text.startswith("curl")]
    assert asked
    for text in asked:
        assert '"predictions":[{"customer_id":"00001","p_return":' in run(["bash", "-c"], api, text)


def test_python(page: str, api: httpx.Client) -> None:
    (text,) = examples(page, "python")
    assert run([sys.executable, "-c"], api, text).startswith("Expected to spend ")


def test_javascript(page: str, api: httpx.Client) -> None:
    if shutil.which("node") is None:
        pytest.skip("only the page's JavaScript example needs node; after `apt-get install nodejs` this runs")
    (text,) = examples(page, "javascript")
    assert re.fullmatch(
        r"\d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\)\n", run(["node", "--input-type=module", "-e"], api, text)
    )


def test_the_problem_shown_is_one(page: str, api: httpx.Client, helpers) -> None:
    body = helpers.as_customers(helpers.random_customers(2))
    body["customers"][1]["features"]["recency_days"] = -1
    response = api.post("/predict", json=body)
    assert response.json()["detail"] in page


def test_every_setting_and_route_is_told(page: str, api: httpx.Client) -> None:
    assert [name for name in _ENVIRONMENT if f"`{name}`" not in page] == []
    assert {"tracking_uri", "warehouse", "common", *_ENVIRONMENT.values()} == set(ServingSettings.model_fields)
    for path, methods in api.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {re.sub('customer_id', 'id', path)}`" in page


def test_every_status_is_told(page: str, api: httpx.Client) -> None:
    described = {
        status
        for methods in api.get("/openapi.json").json()["paths"].values()
        for operation in methods.values()
        for status in operation["responses"]
    }
    (table,) = re.findall(r"^\| status \| \|\n((?:\|.*\n)+)", page, flags=re.MULTILINE)
    told = [status for row in table.splitlines()[1:] for status in re.findall(r"\d+", row.split("|")[1])]
    assert told == sorted({*described, "405"} - {"200"})


def test_the_percentile_is_what_is_said_of_it(page: str, api: httpx.Client, predictor, helpers) -> None:
    told = "hole percent of the scored shop's customers at or below"
    described = api.get("/openapi.json").json()["components"]["schemas"]["Prediction"]["properties"]["percentile"]
    assert told in described["description"]
    assert told in " ".join(page.split())
    answers = api.post("/predict", json=helpers.as_customers(helpers.random_customers(50))).json()["predictions"]
    shop = np.quantile(predictor.percentiles, np.linspace(0, 1, 1501))
    for one in answers:
        share = 100 * np.mean(shop <= one["expected_value"])
        assert one["percentile"] == round(one["percentile"])
        assert one["percentile"] - 0.1 <= share < one["percentile"] + 1.1


def flags(command: str) -> dict[str, str]:
    """Options of a command, and what they are given."""
    found = re.findall(r"(--[a-z-]+)(?: +(?!--)(\S+))?", command.replace("\\\n", " "))
    return dict(found)


def test_the_workflow_deploys_as_the_page_says(repository: Path) -> None:
    text = (repository / "docs" / "deploy.md").read_text()
    by_hand = flags(re.search(r"gcloud run deploy.*?```", text, flags=re.DOTALL)[0])
    jobs = yaml.safe_load((repository / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    released = flags(jobs["deploy"]["steps"][-1]["run"])
    assert set(by_hand) <= set(released)
    for flag in ("--port", "--concurrency", "--set-secrets", "--startup-probe", "--liveness-probe"):
        assert released[flag] == by_hand[flag]
    assert "--no-cpu-throttling" in released  # it follows a registry between two requests
    assert "`--no-cpu-throttling`" in text
