"""The registry, read only: which version stands behind the model URI, and its files.

MLflow is imported where it is used: that takes seconds, and ``/health`` must answer before.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clv.errors import UnavailableError, first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from clv.predictor import Predictor

_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<target>[^/]+)|@(?P<alias>[^/]+))")


_RECORD = "tags.`clv.record` = 'promotions'"


@dataclass(frozen=True)
class Record:
    """What the registry keeps about a version and the ones before.

    Attributes
    ----------
    metrics
        Metrics of the version's run.
    events
        Every change of what is in Production, the oldest first.
    gate_report
        The gate's last report on it, Markdown.
    backtest, backtest_figure
        Its recipe over past cutoffs, and the figure of it, PNG.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    events: Sequence[Mapping[str, Any]] = ()
    gate_report: str | None = None
    backtest: Mapping[str, Any] | None = None
    backtest_figure: bytes | None = None


@dataclass(frozen=True)
class Version:
    """What the registry says of one version.

    Attributes
    ----------
    name, version
        Registered model and version; a model addressed by its run has no version.
    uri
        Names exactly this version, whatever happens to stage and alias meanwhile.
    stage
        Its stage, ``None`` if it has none (MLflow's own word).
    aliases
        Its aliases.
    run_id
        The run that logged it.
    registered_at
        When it was registered.
    changed_at
        When its stage or description was last changed; of a version in Production normally its promotion.
    """

    name: str
    version: str | None
    uri: str
    stage: str = "None"
    aliases: tuple[str, ...] = ()
    run_id: str | None = None
    registered_at: datetime | None = None
    changed_at: datetime | None = None


class ModelFiles:
    """A version's files, copied to this machine; they are removed when nobody holds this object any more.

    Attributes
    ----------
    uri
        Names the version.
    path
        What MLflow loads.

    Raises
    ------
    UnavailableError
        If they can't be had.
    """

    def __init__(self, uri: str) -> None:
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        self.uri = uri
        try:
            folder = tempfile.mkdtemp(prefix="clv-model-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self.path = Path(download_artifacts(artifact_uri=uri, dst_path=folder))
        except (MlflowException, OSError) as error:
            raise UnavailableError(f"The files of {uri} can't be had: {first_line(error)}") from error


class Registry:
    """One MLflow store, asked for one model URI.

    Parameters
    ----------
    tracking_uri
        The store.
    model_uri
        ``models:/NAME/STAGE``, ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or any other URI MLflow loads.
    """

    def __init__(self, tracking_uri: str, model_uri: str) -> None:
        self.tracking_uri = tracking_uri
        self.model_uri = model_uri
        self._fetched: ModelFiles | None = None

    def resolve(self) -> Version:
        """The version behind the URI now.

        Raises
        ------
        UnavailableError
            If the store can't be reached, or there is no such version.
        """
        self._check_store()
        found = _REGISTERED.fullmatch(self.model_uri)
        if found is None:
            return Version(name=self.model_uri, version=None, uri=self.model_uri)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(self.tracking_uri, self.tracking_uri)
        try:
            model = client.get_registered_model(found["name"])
            number = _number(model, found["target"], found["alias"])
            version = client.get_model_version(found["name"], number)
        except MlflowException as error:
            raise UnavailableError(f"{self.model_uri} can't be found: {first_line(error)}") from error
        return Version(
            name=found["name"],
            version=str(version.version),
            uri=f"models:/{found['name']}/{version.version}",
            stage=version.current_stage or "None",
            aliases=tuple(sorted(alias for alias, aliased in model.aliases.items() if str(aliased) == str(number))),
            run_id=version.run_id or None,
            registered_at=_moment(version.creation_timestamp),
            changed_at=_moment(version.last_updated_timestamp),
        )

    def is_empty(self) -> bool:
        """Whether there is a store but no model in it, or no store at all.

        Raises
        ------
        UnavailableError
            If the store can't be reached.
        """
        try:
            self._check_store()
        except UnavailableError:
            return True
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            return not MlflowClient(self.tracking_uri, self.tracking_uri).search_registered_models(max_results=1)
        except MlflowException as error:
            raise UnavailableError(f"The registry can't be asked: {first_line(error)}") from error

    def load(self, version: Version) -> tuple[Predictor, Path, ModelFiles]:
        """The native predictor of a version, unwrapped from the pyfunc once, its folder, and what keeps that there.

        The files are fetched once, as loading may be tried again.

        Raises
        ------
        UnavailableError
            If its files can't be had.
        """
        import mlflow

        # MLflow follows a registered model to its files by its global stores, whatever it is passed.
        mlflow.set_tracking_uri(self.tracking_uri)
        mlflow.set_registry_uri(self.tracking_uri)
        if self._fetched is None or self._fetched.uri != version.uri or not self._fetched.path.exists():
            self._fetched = ModelFiles(version.uri)
        files = self._fetched
        model = mlflow.pyfunc.load_model(str(files.path), suppress_warnings=True).unwrap_python_model()
        return model.predictor, Path(model.folder), files

    def record(self, version: Version) -> Record:
        """Metrics of a version's run and the record of promotions beside it.

        Raises
        ------
        UnavailableError
            If the store can't be reached.
        """
        self._check_store()
        if version.run_id is None:
            return Record()
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(self.tracking_uri, self.tracking_uri)
        try:
            run = client.get_run(version.run_id)
            records = client.search_runs([run.info.experiment_id], _RECORD, max_results=1)
            events = _files(client, records[0].info.run_id, "events") if records else {}
            gate = _files(client, version.run_id, "gate")
            backtest = _files(client, version.run_id, "backtest")
            report = gate.get(f"version-{version.version}.md")
            grid = backtest.get("backtest.json")
            return Record(
                metrics=dict(run.data.metrics),
                events=[json.loads(events[name]) for name in sorted(events)],
                gate_report=None if report is None else report.decode(),
                backtest=None if grid is None else json.loads(grid),
                backtest_figure=backtest.get("backtest.png"),
            )
        except (MlflowException, OSError, ValueError) as error:
            raise UnavailableError(f"The promotion record can't be read: {first_line(error)}") from error

    def _check_store(self) -> None:
        """A missing sqlite file would be created by MLflow on the spot, and the service only reads."""
        if self.tracking_uri.startswith("sqlite:"):
            file = Path(self.tracking_uri.partition(":///")[2])
            if not file.exists():
                raise UnavailableError(f"There is no registry at {file}; train a model first with `clv run`.")


def _number(model: Any, target: str, alias: str | None) -> str:
    """The version number that an alias, or else a stage, ``latest`` or a number means."""
    if alias is not None:
        aliased = model.aliases.get(alias)
        if aliased is None:
            raise UnavailableError(f"Model {model.name} has no alias {alias!r}; set it or serve another URI.")
        return str(aliased)
    if target.isdigit():
        return target
    newest = {version.current_stage.lower(): version for version in model.latest_versions}
    if target.lower() == "latest" and newest:
        return str(max(int(version.version) for version in newest.values()))
    if target.lower() not in newest:
        raise UnavailableError(
            f"Model {model.name} has no version in stage {target}; promote one with `clv promote`, it is served "
            "as soon as it is there."
        )
    return str(newest[target.lower()].version)


def _files(client: MlflowClient, run_id: str, folder: str) -> dict[str, bytes]:
    """Files of a folder of a run's artifacts by name; none where there is no such folder."""
    if not client.list_artifacts(run_id, folder):
        return {}
    with tempfile.TemporaryDirectory() as target:
        # Over HTTP, MLflow follows artifacts by its global store, whatever the client was made with.
        downloaded = Path(client.download_artifacts(run_id, folder, target))
        return {file.name: file.read_bytes() for file in downloaded.iterdir() if file.is_file()}


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
