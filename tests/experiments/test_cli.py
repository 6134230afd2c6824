"""What the command line prints, as a person would use it."""

import shlex
from pathlib import Path

import pytest


@pytest.mark.parametrize("shape", ["olist", "transactions"])
def test_what_is_printed_after_a_synthetic_shop_loads_it(shape: str, tmp_path: Path, clv) -> None:
    made = clv(tmp_path / "home", "synth", str(tmp_path / "a shop"), "--customers", "150", "--shape", shape)
    [following] = [line for line in made.out.splitlines() if line.startswith("Next: ")]
    command, verb, *arguments = shlex.split(following.removeprefix("Next: "))
    assert (command, verb) == ("clv", "run")
    loaded = clv(tmp_path / "home", "load", *arguments)
    assert loaded.code == 0, loaded.err


def test_the_version_is_json_where_json_is_asked_for(tmp_path: Path, clv) -> None:
    said = clv(tmp_path / "home", "version").out.strip()
    assert clv(tmp_path / "home", "--json", "version").json == {"version": said}
