"""The examples of docs/serving.md run as shown; its table of settings is complete."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

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
