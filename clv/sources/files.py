"""Files as a person hands them over: plain or gzipped CSV, Parquet, a folder of them, or a zip.

Every file is hashed and, if it is text, checked to be UTF-8 before anything else reads it. Archives are unpacked into
a folder of ours within fixed limits.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clv.errors import InputError, UnavailableError
from clv.home import disk_errors

MAX_UNPACKED_BYTES = 32 * 2**30
"""No archive may unpack to more than this."""

MAX_UNPACKED_RATIO = 100
"""Nor to more than this many times its own size (real shop exports shrink 3 to 20 times) ..."""

FREE_UNPACKED_BYTES = 64 * 2**20
"""... unless the result is smaller than this anyway."""

_CHUNK = 2**20
_TEXT_SUFFIXES = (".csv", ".txt", ".tsv")


@dataclass(frozen=True)
class RawFile:
    """One file, unpacked and fingerprinted.

    Attributes
    ----------
    name
        How messages call it; for a member of a zip ``archive.zip: member.csv``.
    path
        Where its unpacked content lies.
    sha256
        Of the bytes handed over (of the member for a zip, of the packed file for ``.csv.gz``).
    is_parquet
        Otherwise it is CSV text in UTF-8.
    """

    name: str
    path: Path
    sha256: str
    is_parquet: bool = False


def open_file(path: Path, workspace: Path) -> RawFile:
    """Check and fingerprint one CSV, CSV.gz or Parquet file.

    Parameters
    ----------
    path
        The file.
    workspace
        A folder of ours for what has to be unpacked.

    Raises
    ------
    InputError
        If it is missing, empty, of another kind, damaged, not UTF-8 or unpacks to far too much.
    """
    require(path)
    name, suffixes = path.name, [suffix.lower() for suffix in path.suffixes]
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a file.")
    if suffixes[-1:] == [".gz"] and suffixes[-2:-1] != [".tar"]:
        return _gunzip(path, workspace)
    if suffixes[-1:] == [".zip"]:
        raise InputError(f"{name} is a zip; unpack it first and name the CSV or Parquet file, or the folder, in it.")
    is_parquet = suffixes[-1:] in ([".parquet"], [".pq"])
    if not is_parquet and not name.lower().endswith(_TEXT_SUFFIXES):
        raise InputError(f"{name} has an unknown suffix; expected .csv, .csv.gz or .parquet.")
    reading = _Reading(name, is_text=not is_parquet)
    with _reading_errors(path), path.open("rb") as source:
        for chunk in iter(lambda: source.read(_CHUNK), b""):
            reading.feed(chunk)
    reading.finish()
    return RawFile(name, _without_wildcards(path, workspace), reading.sha256, is_parquet)


def require(path: Path) -> None:
    """Refuse a path that isn't there or can't be read."""
    with _reading_errors(path):
        if not path.exists():
            raise InputError(f"{path} does not exist; expected a file or folder to load.")


def unzip(path: Path, wanted: Collection[str], workspace: Path) -> dict[str, RawFile]:
    """Unpack the `wanted` files of a zip, wherever in it they lie; only those are written.

    Returns
    -------
    dict
        By file name; a name that the zip lacks is left out.

    Raises
    ------
    InputError
        If it is no zip, is damaged or encrypted, holds links or paths that lead outside, holds a wanted file twice or
        unpacks to far too much.
    """
    files: dict[str, RawFile] = {}
    with _reading_errors(path), path.open("rb"):
        pass
    try:
        with zipfile.ZipFile(path) as archive:
            members = _checked_members(archive, path)
            for member in members:
                name = PurePosixPath(member.filename).name
                if name not in wanted:
                    continue
                label = f"{path.name}: {name}"
                if name in files:
                    raise InputError(f"{path.name} holds {name} twice; expected each table once.")
                reading = _Reading(label, is_text=True)
                target = workspace / name
                with archive.open(member) as source, disk_errors(target), target.open("wb") as sink:
                    for chunk in iter(lambda source=source: source.read(_CHUNK), b""):  # type: ignore[misc]
                        reading.feed(chunk)
                        sink.write(chunk)
                reading.finish()
                files[name] = RawFile(label, target, reading.sha256)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as error:
        raise InputError(
            f"{path.name} is not a zip or is damaged ({error}); expected the zip as Kaggle gives it, so fetch it again."
        ) from None
    except (NotImplementedError, RuntimeError) as error:  # zipfile's for an unknown compression and for a password
        raise InputError(f"{path.name} can't be unpacked ({error}); expected a plain zip without a password.") from None
    return files


def _checked_members(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    for member in members:
        place = PurePosixPath(member.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or ":" in "".join(place.parts[:1]):
            raise InputError(
                f"{path.name} holds the path {member.filename!r}, which leads outside its folder; not loaded."
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"{path.name} holds the link {member.filename!r}; expected plain files only.")
    _check_unpacked(path, sum(member.file_size for member in members))
    return members


def _gunzip(path: Path, workspace: Path) -> RawFile:
    name = path.name
    if not name.lower().removesuffix(".gz").endswith(_TEXT_SUFFIXES):
        raise InputError(f"{name} has an unknown suffix; expected .csv, .csv.gz or .parquet.")
    target = workspace / f"{len(list(workspace.iterdir()))}-unpacked.csv"
    packed, reading, written = hashlib.sha256(), _Reading(name, is_text=True), 0
    with _reading_errors(path), path.open("rb") as source:
        for chunk in iter(lambda: source.read(_CHUNK), b""):
            packed.update(chunk)
    try:
        with gzip.open(path) as stream, disk_errors(target), target.open("wb") as sink:
            for chunk in iter(lambda: stream.read(_CHUNK), b""):
                written += len(chunk)
                _check_unpacked(path, written)
                reading.feed(chunk)
                sink.write(chunk)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{name} is not gzip or is damaged ({error}); pack or fetch it again.") from None
    reading.finish()
    return RawFile(name, target, packed.hexdigest())


def _check_unpacked(path: Path, size: int) -> None:
    allowed = min(MAX_UNPACKED_BYTES, max(FREE_UNPACKED_BYTES, MAX_UNPACKED_RATIO * path.stat().st_size))
    if size > allowed:
        raise InputError(
            f"{path.name} unpacks to {size / 2**20:,.0f} MiB or more, over the {allowed / 2**20:,.0f} MiB allowed "
            "for an archive of its size; if it is genuine, unpack it yourself and name the folder."
        )


def _without_wildcards(path: Path, workspace: Path) -> Path:
    """DuckDB expands ``*``, ``?`` and ``[`` in paths, so such a file is read under another name."""
    if not any(mark in str(path) for mark in "*?["):
        return path
    target = workspace / f"{len(list(workspace.iterdir()))}-copy{path.suffix}"
    with disk_errors(target):
        shutil.copyfile(path, target)
    return target


@contextmanager
def _reading_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to read `path` into one clear error."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"{path} can't be read ({error.strerror or error}).") from error


class _Reading:
    """Hashes what is fed to it and, for text, checks that it is UTF-8."""

    def __init__(self, name: str, *, is_text: bool) -> None:
        self._name = name
        self._hash = hashlib.sha256()
        self._decoder = codecs.getincrementaldecoder("utf-8")() if is_text else None
        self._bytes = 0
        self._lines = 1

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def feed(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        if self._decoder is not None:
            if self._bytes == 0 and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise InputError(
                    f"{self._name} is UTF-16; expected UTF-8, so convert it: `iconv -f UTF-16 -t UTF-8 FILE > NEW`."
                )
            if b"\0" in chunk:  # valid UTF-8, but no text
                raise InputError(f"{self._name} holds NUL bytes, so it is not text; expected a CSV file in UTF-8.")
            self._decode(chunk, final=False)
            self._lines += chunk.count(b"\n")
        self._bytes += len(chunk)

    def finish(self) -> None:
        if self._bytes == 0:
            raise InputError(f"{self._name} is empty; expected a header line and rows.")
        if self._decoder is not None:
            self._decode(b"", final=True)

    def _decode(self, chunk: bytes, *, final: bool) -> None:
        assert self._decoder is not None
        try:
            self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            line = self._lines + error.object[: error.start].count(b"\n")
            found = error.object[error.start]
            raise InputError(
                f"{self._name}, line {line}: byte 0x{found:02X} is not UTF-8 (the file may be Latin-1); expected "
                "UTF-8, so convert it: `iconv -f LATIN1 -t UTF-8 FILE > NEW`."
            ) from None


def members_of(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """The visible files of a folder with one of the `suffixes`, by name."""
    with _reading_errors(folder):
        yield from sorted(
            member
            for member in folder.iterdir()
            if member.is_file() and not member.name.startswith(".") and member.name.lower().endswith(suffixes)
        )
