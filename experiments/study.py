"""The file in which a search keeps its trials, so that a killed one can go on."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from clv.errors import InputError, UnavailableError
from clv.home import disk_errors

if TYPE_CHECKING:
    import optuna

STARTUP_TRIALS = 5
"""Trials drawn at random before the search learns from them, the enqueued defaults among them."""


@contextmanager
def open_study(path: Path, *, space: int, seed: int, resume: bool) -> Iterator[optuna.Study]:
    """Open the study kept in `path` for this process alone, anew unless `resume`.

    The lock is the operating system's, so that a killed process leaves none behind; a line that it had half written is
    cut off.

    Parameters
    ----------
    space, seed
        Version of the search space, and what the draws begin with; a study of another one is not continued.

    Raises
    ------
    UnavailableError
        If another process works on the same study, or the file can't be written.
    InputError
        If the file is damaged, of another search space or of another seed.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with disk_errors(path):
        path.parent.mkdir(exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UnavailableError(
                f"Another process is tuning on the same data ({path}); wait for it, or end it and give --resume."
            ) from None
    try:
        with disk_errors(path):
            if not resume:
                path.unlink(missing_ok=True)
            _cut_half_line(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            try:
                backend = JournalFileBackend(str(path), lock_obj=_Held())
                storage = JournalStorage(backend)
                study = optuna.create_study(
                    study_name="clv",
                    storage=storage,
                    load_if_exists=True,
                    direction="maximize",
                    pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS - 1),
                )
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                raise InputError(
                    f"Study {path} is damaged ({type(error).__name__}: {error}); begin anew by leaving out --resume."
                ) from None
        for name, word, asked in (("space", "search space", space), ("seed", "seed", seed)):
            found = study.user_attrs.get(name)
            if found != asked:
                if found is not None or study.trials:
                    raise InputError(
                        f"Study {path} is of another {word} ({found}, this is {asked}); begin anew by leaving out "
                        "--resume."
                    )
                study.set_user_attr(name, asked)
        # begun with the seed alone, a resumed search would draw its first trials a second time
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials), n_startup_trials=STARTUP_TRIALS)
        yield study
    finally:
        lock.release()


def give_up_killed(study: optuna.Study) -> None:
    """End the trials that a killed process had under way as failed: nobody works on them any more."""
    for trial in study.trials:
        if trial.state.name == "RUNNING":
            study.tell(trial.number, state=type(trial.state).FAIL)


class _Held:
    """The journal's own lock, which a killed process would leave behind: not needed, as the study is ours alone."""

    def acquire(self) -> bool:
        """Say that it is held."""
        return True

    def release(self) -> None:
        """Keep it."""


def _cut_half_line(path: Path) -> None:
    """Leave out what follows the last whole line: a killed process may have written the rest of it by halves."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    last = content[:whole].splitlines()[-1:] or [b"{}"]
    if not _is_json(last[0]):
        whole -= len(last[0]) + 1
    if whole < len(content):
        os.truncate(path, whole)


def _is_json(line: bytes) -> bool:
    try:
        value: Any = json.loads(line)
    except ValueError:
        return False
    return isinstance(value, dict)
