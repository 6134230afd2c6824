"""The promotion record: who, when, why; stage and alias together; changes made outside are noticed."""

import json
import warnings
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from sqlalchemy.exc import OperationalError

from clv.errors import InputError, UnavailableError
from clv.home import Home
from clv.settings import Settings
from experiments.promote import rollback
from experiments.registry import ALIAS, STAGE, Registry
from experiments.tracking import MODEL, Tracker


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three versions and nothing in Production; a fresh store takes seconds, a copy of it none."""
    folder = tmp_path_factory.mktemp("registry")
    settings = Settings(home=folder / "home")
    Home(settings.home).open()
    client = Tracker(settings).open().client
    client.create_registered_model(MODEL)
    for _ in range(3):
        client.create_model_version(MODEL, source=str(folder))
    return settings.home


@pytest.fixture
def registry(template: Path, copied, tmp_path: Path) -> Registry:
    settings = Settings(home=copied(template, tmp_path / "home"))
    return Registry(Tracker(settings).open(), Home(settings.home))


def move_by_hand(client: MlflowClient, version: str, stage: str = STAGE) -> None:
    """What a click in the UI does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        client.transition_model_version_stage(MODEL, version, stage, archive_existing_versions=stage == STAGE)


def test_promotion_sets_stage_and_alias_and_archives_the_former(registry: Registry) -> None:
    registry.set_production("1", kind="promote", by="ana", reason="first")
    event = registry.set_production("2", kind="promote", by="bo", reason="better", gate=[{"name": "level"}])
    assert (event.number, event.version, event.former, event.by) == (2, "2", "1", "bo")
    production = registry.production()
    assert production is not None
    assert production.number == registry.aliased() == "2"
    assert registry.version("1").stage == "Archived"
    assert [(e.version, e.by, e.reason) for e in registry.history()] == [("1", "ana", "first"), ("2", "bo", "better")]
    assert registry.history()[1].gate == [{"name": "level"}]


def test_rollback_returns_to_the_one_before(registry: Registry) -> None:
    with pytest.raises(InputError, match="no earlier version"):
        registry.former()
    for version in ("1", "2", "3"):
        registry.set_production(version, kind="promote", by="ana", reason="")
    assert registry.former() == "2"
    registry.set_production(registry.former(), kind="rollback", by="ana", reason="")
    assert registry.former() == "3"


def test_a_change_in_the_ui_is_noticed_once_and_recorded(registry: Registry) -> None:
    registry.set_production("1", kind="promote", by="ana", reason="")
    move_by_hand(registry.client, "3")
    seen = registry.history()[-1]
    assert (seen.kind, seen.version, seen.former, seen.by) == ("outside", "3", "1", "unknown")
    assert len(registry.history()) == 2
    move_by_hand(registry.client, "3", "Archived")
    assert registry.history()[-1].version is None


def test_to_read_the_record_begins_none(registry: Registry) -> None:
    """Two processes that each began one would hide the events of the other."""
    assert registry.history() == []
    assert registry._record_run() is None


def test_a_promotion_under_way_is_no_change_from_outside(registry: Registry, monkeypatch) -> None:
    """Somebody asks for the history when the entry is in the record and the stage is not set yet."""
    registry.set_production("1", kind="promote", by="ana", reason="")
    reader = Registry(registry._tracker, Home(registry._home.root))
    set_alias = registry.client.set_registered_model_alias
    seen: list[int] = []
    asks = Thread(target=lambda: seen.append(len(reader.history())))

    def meanwhile(*arguments: str) -> None:
        asks.start()
        asks.join(0.5)  # without the lock it has looked by then
        set_alias(*arguments)

    monkeypatch.setattr(registry.client, "set_registered_model_alias", meanwhile)
    registry.set_production("2", kind="promote", by="ana", reason="")
    asks.join(30)
    assert seen == [2]
    assert [event.kind for event in registry.history()] == ["promote", "promote"]


def test_a_rollback_does_not_undo_a_promotion_made_meanwhile(registry: Registry, monkeypatch) -> None:
    for version in ("1", "2"):
        registry.set_production(version, kind="promote", by="ana", reason="")

    def meanwhile(*_: object) -> None:
        registry.set_production("3", kind="promote", by="bo", reason="")

    monkeypatch.setattr("experiments.promote.load_model", meanwhile)
    with pytest.raises(UnavailableError, match="changed from version 2 to 3 meanwhile"):
        rollback(SimpleNamespace(registry=registry), by="ana")  # type: ignore[arg-type]
    assert registry.aliased() == "3"


def test_a_version_registered_by_hand_has_no_recipe(registry: Registry) -> None:
    with pytest.raises(InputError, match="Version 1 of model clv has no recipe that this clv knows"):
        _ = registry.version("1").recipe
    registry.client.set_model_version_tag(MODEL, "1", "clv.recipe", '{"leaves": 9}')
    with pytest.raises(InputError, match="another version of clv"):
        _ = registry.version("1").recipe


def test_repair_makes_the_alias_follow_the_stage(registry: Registry) -> None:
    with pytest.raises(InputError, match="No version is in stage Production"):
        registry.repair("ana")
    registry.set_production("1", kind="promote", by="ana", reason="")
    assert registry.repair("ana") is None
    registry.client.set_registered_model_alias(MODEL, ALIAS, "2")
    event = registry.repair("ana")
    assert event is not None
    assert (event.kind, event.version) == ("repair", "1")
    assert registry.aliased() == "1"


def test_of_two_promotions_at_once_one_is_told(registry: Registry) -> None:
    registry.set_production("1", kind="promote", by="ana", reason="")
    registry.set_production("2", kind="promote", by="bo", reason="", expected="1", check_expected=True)
    with pytest.raises(UnavailableError, match="changed from version 1 to 2 meanwhile"):
        registry.set_production("3", kind="promote", by="ana", reason="", expected="1", check_expected=True)
    production = registry.production()
    assert production is not None
    assert production.number == "2"


def test_two_homes_of_one_store_lose_no_event_and_are_told(registry: Registry, monkeypatch, tmp_path: Path) -> None:
    """They share no lock: bo promotes between ana's entry in the record and her stage."""
    other = Registry(registry._tracker, Home(tmp_path / "other").open())
    set_alias = registry.client.set_registered_model_alias

    def meanwhile(*arguments: str) -> None:
        monkeypatch.setattr(registry.client, "set_registered_model_alias", set_alias)
        monkeypatch.setattr(Registry, "_events", lambda _: [])  # bo has looked before ana wrote
        with suppress(UnavailableError):
            other.set_production("3", kind="promote", by="bo", reason="")
        monkeypatch.undo()
        set_alias(*arguments)

    monkeypatch.setattr(registry.client, "set_registered_model_alias", meanwhile)
    with pytest.raises(UnavailableError, match=r"bo promoted version 3 at the same moment .* holds version 2"):
        registry.set_production("2", kind="promote", by="ana", reason="")
    assert sorted((event.number, event.by) for event in registry._events()) == [(1, "ana"), (1, "bo")]
    staged = registry.production()
    assert staged is not None
    assert staged.number == registry.aliased() == "2"


@pytest.mark.parametrize("former", [None, "1"])
def test_a_promotion_that_breaks_off_changes_nothing(registry: Registry, monkeypatch, former: str | None) -> None:
    if former:
        registry.set_production(former, kind="promote", by="ana", reason="")

    def locked(*_: object, **__: object) -> None:
        raise OperationalError("update", {}, Exception("database is locked"))

    with monkeypatch.context() as patch:
        patch.setattr(registry.client, "transition_model_version_stage", locked)
        with pytest.raises(UnavailableError, match="can't be reached or written"):
            registry.set_production("2", kind="promote", by="bo", reason="better")
    staged = registry.production()
    assert (staged.number if staged else None) == registry.aliased() == former
    events = registry.history()
    assert [(event.kind, event.version) for event in events[-2:]] == [("promote", "2"), ("failed", former)]
    registry.set_production("3", kind="promote", by="bo", reason="")
    if former:
        assert registry.former() == former


def test_events_are_files_that_are_never_overwritten(registry: Registry) -> None:
    registry.set_production("1", kind="promote", by="ana", reason="")
    registry.set_production("2", kind="promote", by="ana", reason="")
    files = sorted(registry._home.artifacts.rglob("events/*.json"))
    assert [file.name[:7] for file in files] == ["000001-", "000002-"]
    assert json.loads(files[0].read_text())["version"] == "1"


def test_an_unknown_version_names_those_that_exist(registry: Registry) -> None:
    with pytest.raises(InputError, match="no version '9'; existing versions: 1, 2, 3"):
        registry.version("9")


def test_a_store_that_is_away_is_not_taken_for_a_missing_alias(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert registry.aliased() is None

    def away(*_: object) -> None:
        raise MlflowException("database is locked", error_code=TEMPORARILY_UNAVAILABLE)

    monkeypatch.setattr(registry.client, "get_model_version_by_alias", away)
    with pytest.raises(UnavailableError, match="can't be reached"):
        registry.aliased()


def test_a_rollback_to_another_shops_version_is_refused_unless_forced(copy_of_lab, clv) -> None:
    settings = Settings(home=copy_of_lab.home)
    registry = Registry(Tracker(settings).open(), Home(settings.home))
    second = copy_of_lab.register_again()
    registry.client.set_model_version_tag(MODEL, "1", "clv.shop_id", "elsewhere")
    registry.set_production(second, kind="promote", by="ana", reason="")
    clv(copy_of_lab.home, "rollback").refused(2, "Version 1", "shop elsewhere", "holds shop", "--force --reason")
    assert registry.aliased() == second
    forced = clv(copy_of_lab.home, "promote", "1", "--force", "--reason", "that shop comes back")
    assert forced.code == 0, forced.err
    assert registry.aliased() == "1"
    assert clv(copy_of_lab.home, "rollback").code == 0
    assert registry.aliased() == second


def test_the_name_of_a_run_says_no_longer_in_production_once_its_version_is_replaced(copy_of_lab) -> None:
    settings = Settings(home=copy_of_lab.home)
    registry = Registry(Tracker(settings).open(), Home(settings.home))
    made = registry.client.get_run(registry.version("1").run_id)
    parent = made.data.tags["mlflow.parentRunId"]
    assert registry.client.get_run(parent).info.run_name.endswith("version 1 in Production")
    registry.set_production(copy_of_lab.register_again(), kind="promote", by="ana", reason="")
    assert registry.client.get_run(parent).info.run_name.endswith("version 1, promoted")
