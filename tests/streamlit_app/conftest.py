"""The tiny registry of the serving tests, and the app in front of it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import streamlit as st

APP = Path(__file__).resolve().parents[2] / "streamlit_app" / "app.py"


def _load() -> ModuleType:
    """The serving tests' fixtures; importlib mode keeps conftest files apart."""
    name = "tiny_registry"
    if name not in sys.modules:
        path = Path(__file__).resolve().parent.parent / "serving" / "conftest.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


tiny = _load()
helpers = tiny.helpers
predictor = tiny.predictor
registry = tiny.registry
api = tiny.api


@pytest.fixture(autouse=True)
def fresh_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLV_API_KEY", raising=False)
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture
def app_path() -> Path:
    return APP
