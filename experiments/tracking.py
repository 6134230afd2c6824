"""MLflow tracking: the only module that writes runs.

Runs are written by client calls in one batch each, not through the fluent API's global state, so that trials may run
in parallel; only a model is logged through it.
"""

from __future__ import annotations

import getpass
import json
import logging
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_GIT_COMMIT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)

from clv.contract import Contract
from clv.errors import InputError, UnavailableError, first_line, masked
from clv.home import Home
from clv.settings import Settings
from experiments import views

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

EXPERIMENT = "clv"
MODEL = "clv"

OUTPUTS = (
    "p_return",
    "value_if_return",
    "expected_value",
    "value_if_return_low",
    "value_if_return_high",
    "percentile",
)

_ABOUT = {
    "mlflow.experimentKind": "custom_model_development",  # the UI opens on runs and models, not on GenAI traces
    "mlflow.note.content": "Customer lifetime value: `clv run`, tuning with its trials, training, evaluation.",
}


class Run:
    """One MLflow run that is being written."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.id = run_id

    def log(
        self,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float | None] | None = None,
        tags: Mapping[str, Any] | None = None,
        step: int = 0,
    ) -> None:
        """Log all of it in one batch.

        A parameter which the run has already (from ``mlflow run``) is left alone, a metric that is undefined left out.
        """
        known = self.client.get_run(self.id).data.params if params else {}
        self.client.log_batch(
            self.id,
            params=[Param(name, str(value)) for name, value in (params or {}).items() if name not in known],
            metrics=_metrics(metrics or {}, step),
            tags=[RunTag(name, str(value)) for name, value in (tags or {}).items()],
        )

    def dataset(
        self,
        name: str,
        *,
        digest: str,
        source: str,
        columns: Mapping[str, str],
        profile: Mapping[str, Any],
        context: str,
    ) -> None:
        """Log what data the run looked at, by fingerprint: nothing is read or hashed anew.

        Parameters
        ----------
        name, source
            What they are called, and where they are.
        digest
            Fingerprint; MLflow keeps the first 36 characters.
        columns
            MLflow type by column.
        profile
            Sizes and days, for people.
        context
            What for, such as training.
        """
        schema = [{"name": column, "type": kind, "required": True} for column, kind in columns.items()]
        data = Dataset(
            name=name,
            digest=digest[:36],
            source_type="local",
            source=json.dumps({"uri": source}),
            schema=json.dumps({"mlflow_colspec": schema}),
            profile=json.dumps(dict(profile), default=str),
        )
        self.client.log_inputs(self.id, [DatasetInput(data, [InputTag(MLFLOW_DATASET_CONTEXT, context)])])

    def rename(self, name: str) -> None:
        """Give the run the name by which people will find it."""
        self.client.set_tag(self.id, MLFLOW_RUN_NAME, name)

    def figure(self, figure: Figure, path: str) -> None:
        """Log a figure as PNG."""
        self.client.log_figure(self.id, figure, path)

    def folder(self, folder: Path, path: str) -> None:
        """Log the files of a folder."""
        self.client.log_artifacts(self.id, str(folder), path)

    def text(self, text: str, path: str) -> None:
        """Log a text file."""
        self.client.log_text(self.id, text, path)

    def json(self, value: Any, path: str) -> None:
        """Log a JSON file."""
        self.client.log_dict(self.id, value, path)


class Tracker:
    """The MLflow store of a home (or a server), ready to be written.

    Parameters
    ----------
    settings
        Names the store.
    run_id
        The run that ``mlflow run`` opened for this process, if any: the first run of ours continues it.
    """

    def __init__(self, settings: Settings, run_id: str | None = None) -> None:
        self.settings = settings
        self._project_run_id = run_id
        logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)  # it prints tracebacks beside our one sentence
        mlflow.set_tracking_uri(settings.tracking_uri)
        mlflow.set_registry_uri(settings.tracking_uri)
        try:
            self.client = MlflowClient()
        except MlflowException:
            raise InputError(
                f"MLflow store {masked(settings.tracking_uri)!r} is of no known kind; expected sqlite:///FILE or "
                "http(s)://HOST, so correct --tracking-uri or MLFLOW_TRACKING_URI."
            ) from None

    def open(self) -> Tracker:
        """Create store and experiment once, under the home's lock: parallel first use corrupts a fresh sqlite store.

        Raises
        ------
        UnavailableError
            If the store can't be reached or written.
        """
        home = Home(self.settings.home, self.settings.lock_wait_seconds)
        local = self.settings.tracking_uri.startswith("sqlite:")
        with home.writing("init"), store_errors(self.settings.tracking_uri):
            experiment = self.client.get_experiment_by_name(EXPERIMENT)
            tags = {**_ABOUT, **views.tags()}
            if experiment is None:
                self.client.create_experiment(EXPERIMENT, home.artifacts.as_uri() if local else None, tags=tags)
            elif experiment.lifecycle_stage == "active":
                for name in tags.keys() - experiment.tags.keys():
                    self.client.set_experiment_tag(experiment.experiment_id, name, tags[name])
        return self

    @property
    def experiment_id(self) -> str:
        """Id of the experiment.

        Raises
        ------
        UnavailableError
            If it was deleted, in the UI for instance.
        """
        with store_errors(self.settings.tracking_uri):
            experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise UnavailableError(
                f"MLflow experiment {EXPERIMENT!r} is missing or deleted in {masked(self.settings.tracking_uri)}; "
                "restore it with `mlflow experiments restore` or use another home."
            )
        return str(experiment.experiment_id)

    @contextmanager
    def run(
        self,
        name: str,
        *,
        parent: Run | None = None,
        tags: Mapping[str, Any] | None = None,
        description: str = "",
        reopen: str | None = None,
    ) -> Iterator[Run]:
        """Open a run; it ends as FINISHED, FAILED or KILLED by how the block ends.

        Parameters
        ----------
        reopen
            Id of a run that was interrupted and goes on; it keeps its name and when it began, and its parent unless
            another is given: then the former one is said to be killed.
        """
        version = commit()
        every = {MLFLOW_RUN_NAME: name, "clv.commit": version, **(tags or {})}
        if self._project_run_id is None or parent is not None:  # `mlflow run` has told already
            source = f"clv {every.get('clv.kind', '')}".strip()
            every |= {MLFLOW_SOURCE_NAME: source, MLFLOW_SOURCE_TYPE: "LOCAL", MLFLOW_USER: user()}
            every |= {} if version == "unknown" else {MLFLOW_GIT_COMMIT: version.removesuffix("-dirty")}
        if description:
            every[MLFLOW_RUN_NOTE] = description
        if parent is not None:
            every[MLFLOW_PARENT_RUN_ID] = parent.id
        with store_errors(self.settings.tracking_uri):
            if reopen is not None:
                run = Run(self.client, reopen)
                former = self.client.get_run(reopen).data.tags.get(MLFLOW_PARENT_RUN_ID)
                self.client.update_run(reopen, "RUNNING")
                self.client.set_tag(reopen, "clv.commit", version)
                if parent is not None:
                    self.client.set_tag(reopen, MLFLOW_PARENT_RUN_ID, parent.id)
                    if former is not None and self.status(former) == "RUNNING":
                        self.client.set_terminated(former, "KILLED")
            elif parent is None and self._project_run_id is not None:
                run = Run(self.client, self._project_run_id)
                self._project_run_id = None
                run.log(tags=every)
            else:
                started = self.client.create_run(self.experiment_id, tags={key: str(v) for key, v in every.items()})
                run = Run(self.client, started.info.run_id)
        try:
            with store_errors(self.settings.tracking_uri):
                yield run
        except BaseException as error:
            with suppress(Exception):  # the store may be what failed; the error under way matters more than one here
                self.client.set_terminated(run.id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        with store_errors(self.settings.tracking_uri):
            self.client.set_terminated(run.id, "FINISHED")

    def trial(
        self,
        parent: Run,
        name: str,
        *,
        params: Mapping[str, Any],
        metrics: Mapping[str, float | None],
        tags: Mapping[str, Any],
        status: str,
        began: datetime | None = None,
        ended: datetime | None = None,
        run_id: str | None = None,
    ) -> None:
        """Write a finished trial as a child run, in one batch; a metric that is undefined is left out.

        Parameters
        ----------
        began, ended
            When the trial was made, if not just now: it is written afterwards, and the UI shows how long it took.
        run_id
            The run that a killed process began to write for it, if any.
        """
        with store_errors(self.settings.tracking_uri):
            if run_id is None:
                every = {MLFLOW_PARENT_RUN_ID: parent.id, MLFLOW_RUN_NAME: name, **tags}
                experiment = parent_experiment(self.client, parent)
                run = self.client.create_run(experiment, _milliseconds(began), {k: str(v) for k, v in every.items()})
                run_id = run.info.run_id
            self.client.log_batch(
                run_id,
                params=[Param(key, str(value)) for key, value in params.items()],
                metrics=_metrics(metrics),
            )
            self.client.set_terminated(run_id, status, _milliseconds(ended))

    def trials(self, parent: Run) -> dict[str, tuple[str, str]]:
        """Run id and status of the trials that were written below a run, by number (``clv.trial``)."""
        with store_errors(self.settings.tracking_uri):
            found = self.client.search_runs(
                [parent_experiment(self.client, parent)],
                f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent.id}' and tags.`clv.kind` = 'trial'",
                max_results=50_000,  # as many as MLflow gives at once
            )
        return {run.data.tags.get("clv.trial", ""): (run.info.run_id, run.info.status) for run in found}

    def status(self, run_id: str) -> str | None:
        """How a run stands (RUNNING, FINISHED, FAILED, KILLED); None if it was deleted or is not in this store."""
        with store_errors(self.settings.tracking_uri):
            try:
                info = self.client.get_run(run_id).info
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None
        return str(info.status) if info.lifecycle_stage == "active" else None

    def metrics(self, run_id: str) -> dict[str, float]:
        """Metrics of a run, by name."""
        with store_errors(self.settings.tracking_uri):
            return dict(self.client.get_run(run_id).data.metrics)

    def artifact(self, run_id: str, path: str) -> bytes | None:
        """One file of a run; None if it has no such file."""
        with store_errors(self.settings.tracking_uri), tempfile.TemporaryDirectory() as folder:
            folder_of_file = path.rpartition("/")[0]
            if path not in {item.path for item in self.client.list_artifacts(run_id, folder_of_file or None)}:
                return None
            return Path(self.client.download_artifacts(run_id, path, folder)).read_bytes()

    def log_model(
        self,
        run: Run,
        folder: Path,
        *,
        contract: Contract,
        example: pd.DataFrame,
        version_tags: Mapping[str, Any],
        description: str,
    ) -> str:
        """Log a model folder to `run` and register it; returns the version."""
        signature = ModelSignature(
            inputs=Schema(
                [ColSpec("double" if feature.kind == "number" else "string", feature.name) for feature in contract]
            ),
            outputs=Schema([ColSpec("double", name) for name in OUTPUTS]),
        )
        with mlflow.start_run(run_id=run.id):
            info = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(Path(__file__).with_name("pyfunc_model.py")),
                artifacts={"model": str(folder)},
                signature=signature,
                input_example=example,
                pip_requirements=requirements(),
            )
        if not self.client.search_registered_models(f"name = '{MODEL}'"):
            self.client.create_registered_model(
                MODEL, description="Customer lifetime value: P(return) x value if return, per customer and horizon."
            )
        version = self.client.create_model_version(
            MODEL,
            source=info.model_uri,
            run_id=run.id,
            tags={name: str(value) for name, value in version_tags.items()},
            description=description,
            model_id=info.model_id,
        )
        return str(version.version)


def parent_experiment(client: MlflowClient, parent: Run) -> str:
    """Experiment of a run: children live beside their parent, also where ``mlflow run`` chose another."""
    return str(client.get_run(parent.id).info.experiment_id)


def _milliseconds(moment: datetime | None) -> int | None:
    """As MLflow counts time; None, which MLflow takes for now, stays."""
    return None if moment is None else int(moment.timestamp() * 1000)


def _metrics(values: Mapping[str, float | None], step: int = 0) -> list[Metric]:
    """Those that are defined, rounded: MLflow's lists show every digit. The JSON files of a run are exact."""
    now = int(time.time() * 1000)
    return [
        Metric(name, round(float(value), 4), now, step)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    ]


def requirements() -> list[str]:
    """What a model needs to predict, pinned to what is installed: explicit, as inference takes seconds."""
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in ("mlflow", "numpy", "pandas", "scipy", "xgboost", "duckdb")]


def user() -> str:
    """Who runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


def commit() -> str:
    """Git commit of the code, with ``-dirty`` if it was changed; ``unknown`` outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn a store that can't be reached or written into one clear error."""
    import requests
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, requests.RequestException) as error:
        raise _away(uri, error) from error
    except MlflowException as error:
        if error.error_code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"):
            raise _away(uri, error) from error
        raise


def _away(uri: str, error: Exception) -> UnavailableError:
    """With what the store said; SQLAlchemy may put a line before it about how it came to write."""
    lines = str(error).strip().splitlines()
    said = next((line for line in lines if not line.startswith("(raised as a result of")), first_line(error))
    return UnavailableError(masked(f"MLflow store {uri} can't be reached or written: {said}"))
