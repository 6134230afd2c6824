"""What the demo tells its user to do next."""

from pathlib import Path

import pytest

from clv.settings import Settings
from experiments.demo import called


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, ".venv/bin/clv"),
        ({"home": Path("my shop")}, "CLV_HOME='{here}/my shop' .venv/bin/clv"),
        ({"warehouse": "bigquery://project/shop"}, "CLV_WAREHOUSE=bigquery://project/shop .venv/bin/clv"),
        (
            {"home": Path("elsewhere"), "warehouse": "duckdb:///shop.duckdb"},
            "CLV_HOME={here}/elsewhere CLV_WAREHOUSE=duckdb:///shop.duckdb .venv/bin/clv",
        ),
    ],
)
def test_the_commands_to_go_on_with_find_the_same_shop(monkeypatch, tmp_path: Path, given: dict, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert called(Settings(**given)) == says.format(here=tmp_path)
