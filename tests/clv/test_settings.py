from pathlib import Path

import pytest
from pydantic import ValidationError

from clv.errors import InputError
from clv.settings import Settings
from clv.warehouse import open_warehouse


def test_defaults_live_in_the_home_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.home == tmp_path / ".clv"
    assert settings.tracking_uri == f"sqlite:///{tmp_path / '.clv' / 'mlflow.db'}"
    assert open_warehouse(settings).path == tmp_path / ".clv" / "warehouse.duckdb"


def test_overrides_beat_the_environment() -> None:
    environment = {"CLV_HOME": "/a", "CLV_SEED": "7", "MLFLOW_TRACKING_URI": "http://x"}
    settings = Settings.from_environment(environment, home=Path("/b"))
    assert (settings.home, settings.seed, settings.tracking_uri) == (Path("/b"), 7, "http://x")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("CLV_SEED", "many"), ("CLV_SEED", "-1"), ("CLV_MEMORY_LIMIT", "lots"), ("CLV_THREADS", "-2")],
)
def test_a_bad_value_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(InputError, match=f"Setting {variable} = '{value}'"):
        Settings.from_environment({variable: value})


def test_settings_are_frozen_and_refuse_unknown_ones() -> None:
    with pytest.raises(ValidationError):
        Settings().seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Settings(sed=1)  # type: ignore[call-arg]


def test_an_unknown_warehouse_is_refused() -> None:
    with pytest.raises(InputError, match="Warehouse 'mysql://x' is not known"):
        open_warehouse(Settings(warehouse="mysql://x"))
