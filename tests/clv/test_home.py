import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clv.errors import InputError, UnavailableError
from clv.home import FORMAT, Home, replacing
from tests.processes import files_up_to


def test_open_is_idempotent_and_stamps_the_format(tmp_path: Path) -> None:
    first = Home(tmp_path / "home").open()
    stamp = first.stamp.read_bytes()
    Home(tmp_path / "home").open()
    assert first.stamp.read_bytes() == stamp
    assert json.loads(stamp)["format"] == FORMAT


def test_a_home_of_a_newer_version_is_refused_and_untouched(tmp_path: Path) -> None:
    home = Home(tmp_path).open()
    home.stamp.write_text(json.dumps({"format": FORMAT + 1, "clv": "9.9"}))
    with pytest.raises(InputError, match=r"format 2, written by clv 9\.9.*upgrade clv"):
        Home(tmp_path).open()
    assert json.loads(home.stamp.read_text())["format"] == FORMAT + 1


def test_a_damaged_stamp_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path).open()
    home.stamp.write_text("{}")
    with pytest.raises(InputError, match=r"home\.json is not a home's stamp"):
        Home(tmp_path).open()


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; expected a folder"):
        Home(tmp_path / "file").open()


def test_replacing_leaves_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_below_a_file_is_one_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(UnavailableError, match="choose a writable place"), replacing(file / "b.txt"):
        pass
    assert file.read_text() == "old"


def _hold(root: str, seconds: float) -> None:
    with Home(Path(root)).writing("load"):
        time.sleep(seconds)


def test_a_second_writer_waits_then_says_who_holds_the_lock(tmp_path: Path) -> None:
    home = Home(tmp_path, lock_wait_seconds=0.2).open()
    other = multiprocessing.get_context("spawn").Process(target=_hold, args=(str(tmp_path), 60))
    other.start()
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / ".lock-holder").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        with (
            pytest.raises(UnavailableError, match=rf"written by `clv load` \(process {other.pid}"),
            home.writing("run"),
        ):
            pass
    finally:
        other.kill()
        other.join()
    with home.writing("run"):  # a killed holder does not hold
        pass


def test_a_holder_that_lets_go_while_it_is_asked_for_is_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, holder = Home(tmp_path, lock_wait_seconds=0.1), tmp_path / ".lock-holder"
    read_text = Path.read_text

    def gone_before(path: Path) -> str:
        if path == holder:
            holder.unlink()
        return read_text(path)

    with Home(tmp_path).open().writing("load"):
        monkeypatch.setattr(Path, "read_text", gone_before)
        with pytest.raises(UnavailableError, match="written by another process;"), waiting.writing("run"):
            pass


def test_writing_is_reentrant(tmp_path: Path) -> None:
    home = Home(tmp_path).open()
    with home.writing("run"), home.writing("load"):
        assert "clv run" in (tmp_path / ".lock-holder").read_text()
    assert not (tmp_path / ".lock-holder").exists()


def test_a_full_disk_is_one_clear_error_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_text("old")
    script = (
        "import sys\nfrom pathlib import Path\nfrom clv.errors import UnavailableError\n"
        "from clv.home import replacing\n"
        "try:\n    with replacing(Path(sys.argv[1])) as t:\n        t.write_bytes(b'x' * 2_000_000)\n"
        "except UnavailableError as error:\n    print(error)\n    sys.exit(error.exit_code)\n"
    )
    done = subprocess.run(
        [*files_up_to(1_000_000), sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    assert "No space left to write" in done.stdout
    assert path.read_text() == "old"
