"""The service the app starts itself, and the demo shop where there is nothing to serve."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from clv.errors import UnavailableError
from streamlit_app import demo
from streamlit_app.service import OwnService


@pytest.fixture
def own_app(app_path, monkeypatch: pytest.MonkeyPatch):
    """The app on a home, without an API elsewhere."""

    def run(home: Path) -> AppTest:
        for name in ("CLV_API_URL", "MLFLOW_TRACKING_URI", "CLV_WAREHOUSE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("CLV_HOME", str(home))
        app = AppTest.from_file(str(app_path), default_timeout=120).run()
        assert not app.exception
        return app

    return run


@pytest.fixture
def builds(registry, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where demo shops were asked for; each is the tiny registry."""
    asked: list[Path] = []

    def build(where: Path, report: demo.Report) -> Path:
        asked.append(where)
        report("Training", 0.5)
        return registry.settings.home

    monkeypatch.setattr(demo, "build", build)
    return asked


def is_labelled(app: AppTest) -> bool:
    return demo.LABEL in [info.value for info in app.info]


def test_without_an_address_the_app_starts_its_own_service(own_app, registry, builds) -> None:
    app = own_app(registry.settings.home)
    assert not app.error
    assert "No shop has been scored yet" in app.info[0].value
    assert not is_labelled(app)
    assert builds == []


def test_where_there_is_no_registry_a_demo_shop_is_built_beside_and_labelled(own_app, builds, tmp_path) -> None:
    home = tmp_path / "home"
    app = own_app(home)
    assert not app.error
    assert is_labelled(app)
    assert builds == [home / "demo-shop"]
    assert not home.exists()
    app.switch_page("views/model.py").run()
    assert app.metric[0].value == "1"
    assert is_labelled(app)
    assert len(builds) == 1


def test_a_registry_without_any_model_counts_as_none(own_app, registry, builds, monkeypatch) -> None:
    monkeypatch.setattr("mlflow.MlflowClient.search_registered_models", lambda *_, **__: [])
    app = own_app(registry.settings.home)
    assert is_labelled(app)
    assert not app.error
    assert len(builds) == 1


def test_a_model_that_is_not_in_production_is_not_hidden_by_a_demo(own_app, registry, builds, monkeypatch) -> None:
    monkeypatch.setenv("CLV_MODEL_URI", "models:/clv/Staging")
    app = own_app(registry.settings.home)
    assert "There is no model to ask yet" in app.error[0].value
    assert not is_labelled(app)
    assert builds == []


def test_a_server_that_hangs_is_not_replaced_by_a_demo() -> None:
    assert not OwnService({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}).is_demo


def test_a_demo_shop_that_can_not_be_built_is_told_and_tried_again(own_app, builds, tmp_path, monkeypatch) -> None:
    works = demo.build

    def full(where: Path, report: demo.Report) -> Path:
        raise UnavailableError("No space left.")

    monkeypatch.setattr(demo, "build", full)
    app = own_app(tmp_path / "home")
    assert "No space left." in app.error[0].value
    monkeypatch.setattr(demo, "build", works)
    next(button for button in app.button if button.label == "Try again").click().run()
    assert not app.error
    assert len(builds) == 1


def test_a_wrong_setting_is_told(own_app, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CLV_THREADS", "many")
    assert "CLV_THREADS" in own_app(tmp_path).error[0].value


def test_the_process_that_builds_says_why_it_can_not(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UnavailableError, match=r"The demo shop could not be built: .*file.* can't be written"):
        demo.build(file / "demo-shop", lambda text, share: None)
