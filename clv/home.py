"""The home folder: where state lives, its format stamp, its one lock, and atomic writes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from clv import __version__
from clv.errors import InputError, UnavailableError

FORMAT = 1
"""Format of the home folder; raised when an older version could no longer read it."""


class Home:
    """Paths under ``CLV_HOME`` and the lock that lets one writer in at a time."""

    def __init__(self, root: Path, lock_wait_seconds: float = 60) -> None:
        self.root = root
        self._lock = FileLock(root / ".lock", timeout=lock_wait_seconds)

    @property
    def stamp(self) -> Path:
        """The file that tells which format the home has."""
        return self.root / "home.json"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifact folder."""
        return self.root / "artifacts"

    @property
    def predictions(self) -> Path:
        """Where ``clv score`` and ``clv run`` leave predictions."""
        return self.root / "predictions"

    @property
    def served(self) -> Path:
        """Where a service logs what it answers, if it is to log to an embedded warehouse: that file has one writer."""
        return self.predictions / "served"

    @property
    def logs(self) -> Path:
        """Logs of dbt and of our own bugs."""
        return self.root / "logs"

    @property
    def dbt_target(self) -> Path:
        """What dbt writes: compiled SQL, manifest, results."""
        return self.root / "dbt"

    def open(self) -> Home:
        """Create what is missing and check the format stamp; idempotent.

        Raises
        ------
        InputError
            If the path is not a folder or a newer version of clv wrote it.
        UnavailableError
            If it can't be written.
        """
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"CLV_HOME {self.root} is a file; expected a folder, so name another with --home.")
        self._check_format()
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        with self.writing("init"):
            self._check_format()
            with disk_errors(self.root):
                for folder in (self.artifacts, self.predictions, self.logs, self.dbt_target):
                    folder.mkdir(exist_ok=True)
                if not self.stamp.exists():
                    with replacing(self.stamp) as temporary:
                        temporary.write_text(json.dumps({"format": FORMAT, "clv": __version__}) + "\n")
        return self

    def _check_format(self) -> None:
        if not self.stamp.exists():
            return
        try:
            stamp = json.loads(self.stamp.read_text())
            found = int(stamp["format"])
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{self.stamp} is not a home's stamp; restore it or name another folder with --home."
            ) from None
        if found > FORMAT:
            raise InputError(
                f"Home {self.root} has format {found}, written by clv {stamp.get('clv', 'unknown')}; this clv "
                f"{__version__} reads up to format {FORMAT}, so upgrade clv or name another folder with --home."
            )

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Hold the home's lock while `what` writes; re-entrant within this object.

        Raises
        ------
        UnavailableError
            If another process holds it for longer than the wait; says which.
        """
        holder = self.root / ".lock-holder"
        try:
            self._lock.acquire()
        except Timeout:
            try:
                who = holder.read_text()
            except FileNotFoundError:  # it has let go in this moment
                who = ""
            raise UnavailableError(
                f"Home {self.root} is being written by {who or 'another process'}; wait for it to end and try again."
            ) from None
        except OSError as error:
            raise UnavailableError(
                f"Home {self.root} can't be locked ({error.strerror}); it must be writable."
            ) from None
        try:
            if self._lock.lock_counter == 1:
                since = time.strftime("%Y-%m-%d %H:%M:%S")
                with disk_errors(holder):
                    holder.write_text(f"`clv {what}` (process {os.getpid()}, since {since})")
            yield
        finally:
            if self._lock.lock_counter == 1:
                holder.unlink(missing_ok=True)
            self._lock.release()


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into one clear error."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise UnavailableError(f"No space left to write {path}; free some disk space and try again.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise UnavailableError(f"{path} can't be written ({error.strerror}); choose a writable place.") from error
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes its place, on failure nothing has changed.

    The name is fixed, not random, so that what a killed process left behind is overwritten by the next.
    """
    temporary = path.with_name(f".{path.name}.next")
    try:
        with disk_errors(path):
            remove(temporary)
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError, NotADirectoryError):  # what lies below a file is not there either
            path.unlink()
