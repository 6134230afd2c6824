"""What the workflows and the commit hooks run is what people run here: make targets, verbs, images that exist."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.commands import REPOSITORY
from tests.docs.conftest import Desk

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (REPOSITORY / "Makefile").read_text()
NOT_RUN = {
    "docker": "needs a Docker engine; hadolint and tests/serving/test_docker.py look at the Dockerfile",
    "gcloud": "needs a Google Cloud account",
    "pip": "installs the auditor",
    "pip-audit": "asks a database of vulnerabilities",
}
"""Programs of the workflows that no test runs, and why."""


def steps(*names: str) -> list[tuple[str, dict[str, Any]]]:
    """Steps that run something, with the workflow's name."""
    return [
        (path.stem, step | {"job": job})
        for path in WORKFLOWS
        if not names or path.stem in names
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]


def test_every_line_of_a_workflow_is_run_here_or_said_not_to_be() -> None:
    """Make targets by people and tests, verbs by `test_the_gate_...` below, the link check by test_links.py."""
    others = set()
    for workflow, step in steps():
        for line in step["run"].replace("\\\n", " ").splitlines():
            program, *words = line.split()
            if program == "make":
                assert set(words) <= set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, flags=re.MULTILINE))
            elif program == "python":
                assert (REPOSITORY / words[0]).exists()
            elif (workflow, program) not in {("promote", ".venv/bin/clv"), ("promote", "if")}:
                others.add(program)
    assert others == set(NOT_RUN)


def test_every_image_that_is_built_is_a_stage() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)", (REPOSITORY / "docker" / "Dockerfile").read_text(), flags=re.MULTILINE)
    built = [step["job"]["strategy"]["matrix"]["target"] for _, step in steps() if "docker build" in step["run"]]

    assert len(built) == 2
    assert all(set(targets) == {"api", "app", "pipeline"} <= set(stages) for targets in built)


def test_every_version_of_python_that_is_promised_is_tested() -> None:
    matrix = next(step["job"]["strategy"]["matrix"] for _, step in steps("ci") if step["run"] == "make test")
    promised = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (REPOSITORY / "pyproject.toml").read_text())
    assert promised

    assert matrix["python"] == [f"3.{minor}" for minor in range(int(promised[1]), int(promised[2]))]


def test_every_variable_is_explained_and_used() -> None:
    used = {name for path in WORKFLOWS for name in re.findall(r"\bvars\.([A-Z_]+)", path.read_text())}
    explained = re.findall(
        r"^\| ((?:`[A-Z_]+`(?:, )?)+) \|", (REPOSITORY / "docs" / "deploy.md").read_text(), re.MULTILINE
    )

    assert used == set(re.findall(r"[A-Z_]+", " ".join(explained)))
    assert sorted(used) == yaml.safe_load((REPOSITORY / ".github" / "actionlint.yaml").read_text())["config-variables"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_asks_for_no_more_than_it_needs(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())

    assert workflow["permissions"] == {}
    assert "concurrency" in workflow
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert set(job["permissions"].items()) <= {("contents", "read"), ("id-token", "write")}
    assert re.findall(r"uses: (?!\S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$).*", path.read_text(), flags=re.MULTILINE) == []


def test_a_commit_is_held_to_the_rules_of_make_check() -> None:
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]

    assert all(hook["language"] == "system" for hook in hooks)  # nothing is fetched
    for hook in hooks:
        rule = hook["entry"].removesuffix(" --fix").replace(".venv/bin/", "$(BIN)/")
        assert f"\t@{rule}" in MAKEFILE, hook["id"]


@pytest.mark.full_scale("trains a model and runs the gate twice: `make check` runs it")
@pytest.mark.timeout(900)
def test_the_gate_of_the_promotion_workflow_shows_its_report_and_promotes(desk: Desk) -> None:
    """The very lines of promote.yml, with the variables that GitHub would set."""
    desk.has_a_model()
    desk.do("clv --quiet train")
    given = {"VERSION": "2", "REASON": "more trees", "WHO": "ana", "GITHUB_STEP_SUMMARY": "summary.md"}
    for _, step in steps("promote"):
        if step["run"] != "make setup":
            desk.do(step["run"], **given)
    assert "version 2" in (desk.folder / "summary.md").read_text().lower()
    assert "ana" in desk.type("clv history").stdout
