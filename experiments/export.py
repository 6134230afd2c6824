"""Exporting a version: its plain model folder, or one pickle for those who want one."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from clv.errors import InputError, UnavailableError
from clv.home import disk_errors, replacing
from experiments.workspace import Workspace


def export(workspace: Workspace, *, version: str | None, kind: Literal["pkl", "ubj"], path: Path | None) -> Path:
    """Write a version (Production's by default, else the newest) to one file.

    ``ubj`` is a zip of the model folder: native boosters, facts, SQL and prediction code. ``pkl`` is a pickle with the
    prediction code inside, so that it loads where numpy, pandas, scipy and xgboost are but clv is not. Loading a pickle
    runs code: open only those you made yourself.

    Raises
    ------
    InputError
        If there is no such version, or `path` is a folder.
    UnavailableError
        If its artifacts can't be read or the file can't be written.
    """
    if path is not None and path.is_dir():
        raise InputError(f"Export file {path} is a folder; name a file.")
    registry = workspace.registry
    chosen = registry.version(version) if version else registry.production() or registry.latest()
    target = (path or Path(f"clv-{chosen.number}.{'pkl' if kind == 'pkl' else 'zip'}")).absolute()
    with tempfile.TemporaryDirectory() as temporary, disk_errors(target):
        folder = _download(workspace, chosen.number, Path(temporary))
        with replacing(target) as place:
            if kind == "ubj":
                made = shutil.make_archive(str(Path(temporary) / "model"), "zip", folder)
                shutil.copyfile(made, place)
            else:
                place.write_bytes(_pickle(folder))
    return target


def _download(workspace: Workspace, version: str, temporary: Path) -> Path:
    import mlflow
    from mlflow.exceptions import MlflowException

    from experiments.tracking import MODEL, store_errors

    with store_errors(workspace.tracker.settings.tracking_uri):
        try:
            local = Path(mlflow.artifacts.download_artifacts(f"models:/{MODEL}/{version}", dst_path=str(temporary)))
        except (MlflowException, FileNotFoundError):
            local = temporary
    folder = next((file.parent for file in local.rglob("model.json")), None)
    if folder is None:
        raise UnavailableError(f"Version {version} of model {MODEL} has lost its artifacts; export another version.")
    return folder


class _Packed:
    """A model folder that unpickles as its predictor."""

    def __init__(self, folder: Path) -> None:
        self.files = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, (self.files,)


def _unpack(files: dict[str, bytes]) -> Any:
    """Restore the folder and load it with the prediction code inside; runs where clv is not installed."""
    import importlib.util
    import sys
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        spec = importlib.util.spec_from_file_location("clv_predictor_unpickled", folder / "predictor.py")
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        sys.modules[module.__name__] = module
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        return module.Predictor.load(folder)


def _pickle(folder: Path) -> bytes:
    import cloudpickle

    here = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(here)
    try:
        return cloudpickle.dumps(_Packed(folder))  # type: ignore[no-any-return]
    finally:
        cloudpickle.unregister_pickle_by_value(here)
