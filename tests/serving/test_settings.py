"""Settings come from the environment, at the border."""

import socket
from pathlib import Path

import pytest

from clv.errors import InputError
from serving.server import listen
from serving.settings import ServingSettings


def test_defaults_follow_the_home(tmp_path: Path) -> None:
    settings = ServingSettings.from_environment({"CLV_HOME": str(tmp_path)})
    assert settings.tracking_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert settings.model_uri == "models:/clv/Production"
    assert (settings.poll_seconds, settings.max_rows, settings.max_purchase_rows) == (15, 10_000, 200_000)


def test_environment_and_overrides() -> None:
    environment = {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "CLV_POLL_SECONDS": "2", "CLV_API_KEY": "secret"}
    settings = ServingSettings.from_environment(environment, poll_seconds=3, model_uri=None)
    assert settings.tracking_uri == "http://mlflow:5000"
    assert settings.poll_seconds == 3
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("value", "meant"),
    [("off", None), ("warehouse", "warehouse"), ("./warehouse", Path("warehouse")), ("a", Path("a"))],
)
def test_where_predictions_are_logged(value: str, meant: object) -> None:
    assert ServingSettings.from_environment({"CLV_PREDICTION_LOG": value}).prediction_log == meant


@pytest.mark.parametrize(
    ("name", "value"), [("CLV_POLL_SECONDS", "0"), ("CLV_MAX_ROWS", "x"), ("CLV_MODEL_URI", "clv")]
)
def test_wrong_values_name_the_variable(name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"Setting {name} = '{value}'"):
        ServingSettings.from_environment({name: value})


def test_a_taken_port_is_one_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"Can't listen on 127.0.0.1:{port} .* choose another --port."):
            listen("127.0.0.1", port)
