"""Pages that are generated say what their source says; the site builds without a broken link."""

import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from clv import settings
from experiments import score


def test_the_data_dictionary_is_what_the_yaml_says(repository: Path) -> None:
    page = runpy.run_path(str(repository / "docs" / "data_dictionary.py"))

    written = (repository / "docs" / "data-dictionary.md").read_text()

    assert written == page["dictionary"](), "run `make docs-generated`"
    assert list(page["PREDICTIONS"]) == score._ANSWERS.names


@pytest.mark.full_scale("built by `make check`")
def test_the_site_builds_and_every_link_leads_somewhere(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=repository,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr


def test_who_cites_cites_this_version(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())

    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_every_setting_is_told(repository: Path) -> None:
    page = (repository / "docs" / "index.md").read_text()
    told = {name for name in settings._ENVIRONMENT if f"| `{name}` |" in page}
    assert settings._ENVIRONMENT.keys() - told == {"BIGQUERY_EMULATOR_HOST", "BIGQUERY_STORAGE_EMULATOR_HOST"}
