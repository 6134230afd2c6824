"""Starting the servers a person looks at: API, app, MLflow UI. Each runs until it is interrupted.

App and UI take the place of this process, so that a signal reaches them and none is left behind.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from experiments import views
from experiments.workspace import Workspace

APP = Path(__file__).resolve().parent.parent / "streamlit_app" / "app.py"


def environment(workspace: Workspace) -> dict[str, str]:
    """The environment of this process with the home, warehouse and store of `workspace`."""
    return {
        **os.environ,
        "CLV_HOME": str(workspace.settings.home),
        "CLV_WAREHOUSE": workspace.settings.warehouse,
        "MLFLOW_TRACKING_URI": workspace.settings.tracking_uri,
    }


def serve(workspace: Workspace, host: str, port: int) -> None:
    """Run the prediction service in this process; port 0 takes any free one."""
    from serving.server import listen
    from serving.server import serve as run_service
    from serving.settings import ServingSettings

    workspace.tracker  # noqa: B018  (so that an empty home gives 503, not a broken store)
    bound = listen(host, port)
    address = f"http://{host}:{bound.getsockname()[1]}"
    workspace.console.say(f"API: {address}, its documentation: {address}/docs")
    sys.stdout.flush()
    run_service(ServingSettings.from_environment(environment(workspace)), bound)


def open_app(workspace: Workspace, host: str, port: int) -> NoReturn:
    """Run the Streamlit app; without a model in the home it shows a made-up demo shop.

    It asks nobody for a key and shows every customer, so that it is for this machine unless told otherwise.
    """
    workspace.home  # noqa: B018  (told now if it can't be used; the store is not created, and MLflow not imported)
    command = ["-m", "streamlit", "run", str(APP), "--server.address", host, "--server.port", str(port)]
    _become([*command, "--server.headless", "true"], host, port, workspace)


def open_ui(workspace: Workspace, port: int) -> NoReturn:
    """Run the MLflow server with one worker and no job runners: two processes instead of a dozen."""
    workspace.tracker  # noqa: B018
    command = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--default-artifact-root", workspace.home.artifacts.as_uri()]
    models = views.address(workspace.tracker.experiment_id, views.MODELS)
    workspace.console.say(f"MLflow UI: http://127.0.0.1:{port}{models}")
    # its address may hold a password, and arguments are seen by whoever lists processes
    store = {"MLFLOW_BACKEND_STORE_URI": workspace.settings.tracking_uri}
    _become(command, "127.0.0.1", port, workspace, **store, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")


def _become(command: list[str], host: str, port: int, workspace: Workspace, **extra: str) -> NoReturn:
    """Replace this process by Python running `command`; a port in use is told before."""
    from serving.server import listen

    listen(host, port).close()
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *command], {**environment(workspace), **extra})
