"""Commands of README and docs are known to the command line; test_walk.py types those in shell blocks."""

import re
from typing import Any

import pytest
import typer.main

from experiments.cli import app
from tests.docs.commands import NOT_TYPED, REPOSITORY, Command, commands, in_passing

COMMANDS = commands()


def test_readme_shows_the_two_commands_that_do_all_the_set_up() -> None:
    assert [command.text for command in COMMANDS if command.page == "README.md"][:2] == ["make demo", "make test"]


@pytest.mark.parametrize("start", NOT_TYPED)
def test_what_is_left_out_still_occurs(start: str) -> None:
    assert any(command.plain.startswith(start) for command in COMMANDS), "no page shows it: take it off the list"


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_is_known(command: Command) -> None:
    """Also where no test types it: an option that does not exist would be seen."""
    words = command.words
    if words[0] == "clv":
        _parse(words[1:])
    elif words[0] == "make":
        assert set(_targets(words)) <= _makefile()
    else:
        assert command.left_out, f"{command}: no test types {words[0]!r}, and NOT_TYPED gives no reason"


@pytest.mark.parametrize("command", in_passing(), ids=str)
def test_a_command_in_passing_is_known(command: Command) -> None:
    if command.words[0] == "make":
        assert set(_targets(command.words)) <= _makefile()
        return
    if command.words[0] == "mlflow":  # tests/experiments/test_mlproject.py runs entry points
        entry = command.words[command.words.index("-e") + 1]
        assert f"\n  {entry}:\n" in (REPOSITORY / "MLproject").read_text()
        return
    group: Any = typer.main.get_command(app)
    words = command.words[1:]
    verb = next((word for word in words if word in group.commands), "")
    known = {
        option
        for one in [group, *([group.commands[verb]] if verb else [])]
        for param in one.params
        for option in param.opts
    }
    assert verb or all(word.startswith("-") for word in words), "no such verb"
    assert {word for word in words if word.startswith("--")} <= known | {"--help"}


def _targets(words: list[str]) -> list[str]:
    return [word for word in words[1:] if "=" not in word and word != "..."]


def _makefile() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))


def _parse(words: list[str]) -> None:
    """Let the command line read the words, without running anything; usage errors surface."""
    group: Any = typer.main.get_command(app)
    with group.make_context("clv", list(words)) as context:
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, verb, arguments = group.resolve_command(context, rest)
        assert verb is not None
        with verb.make_context(name, arguments, parent=context):
            pass
