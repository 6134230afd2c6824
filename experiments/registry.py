"""The model registry: versions, the stage Production with its alias, and the append-only promotion record.

MLflow keeps no transition log and no user. Each event (who, when, why, from, to, gate report) is therefore written as
one artifact file of one run, named by its number, never overwritten. The home's lock lets one writer in at a time; who
shares an MLflow server has a home of their own, so that two of them who promote at the same moment are told afterwards.
"""

from __future__ import annotations

import json
import tempfile
import uuid
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from clv.errors import InputError, UnavailableError
from clv.home import Home
from clv.models.recipe import Recipe
from experiments.tracking import EXPERIMENT, MODEL, Tracker, store_errors

if TYPE_CHECKING:
    from clv.snapshots import Shop

STAGE = "Production"
ALIAS = "production"

_RECORD_TAG = "clv.record"
_RECORD = "promotions"

_STATE = " in Production"
"""How the name of a `clv run` ends that promoted its version."""


@dataclass(frozen=True)
class Version:
    """A model version; its number is text, whatever the store makes of it."""

    number: str
    stage: str
    run_id: str
    tags: Mapping[str, str]

    @property
    def recipe(self) -> Recipe:
        """The recipe it was made with.

        Raises
        ------
        InputError
            If this clv did not make it: registered by hand, or by a later version.
        """
        try:
            return Recipe.model_validate_json(self.tags["clv.recipe"])
        except (KeyError, ValidationError):
            raise InputError(
                f"Version {self.number} of model {MODEL} has no recipe that this clv knows: it was registered by hand "
                "or by another version of clv; name one that `clv train` made."
            ) from None

    def is_of(self, shop: Shop) -> bool:
        """Whether it was made for this shop and horizon."""
        made_for = self.tags.get("clv.shop_id"), self.tags.get("clv.horizon_days")
        return made_for == (shop.shop_id, str(shop.horizon_days))


@dataclass(frozen=True)
class Event:
    """One change of what is in Production.

    Attributes
    ----------
    number
        1, 2, 3, ...
    kind
        ``promote``, ``force``, ``rollback``, ``repair``, ``outside`` for a change seen but not made by clv, or
        ``failed`` for one that broke off.
    at
        UTC, ISO 8601.
    by, reason
        Who and why.
    version, former
        Version now in Production and the one before; None where there is none.
    gate
        The gate's checks, where it ran.
    """

    number: int
    kind: str
    at: str
    by: str
    reason: str
    version: str | None
    former: str | None
    gate: list[dict[str, Any]]


class Registry:
    """Versions of the model ``clv``."""

    def __init__(self, tracker: Tracker, home: Home) -> None:
        self.client: MlflowClient = tracker.client
        self._tracker = tracker
        self._home = home

    def version(self, number: str) -> Version:
        """One version.

        Raises
        ------
        InputError
            If there is no such version.
        """
        try:
            with store_errors(self._tracker.settings.tracking_uri):
                return _version(self.client.get_model_version(MODEL, number))
        except MlflowException:
            raise InputError(
                f"Model {MODEL} has no version {number!r}; existing versions: {self._existing() or 'none'}."
            ) from None

    def _existing(self) -> str:
        return ", ".join(version.number for version in self.versions())

    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        with store_errors(self._tracker.settings.tracking_uri):
            found = self.client.search_model_versions(f"name = '{MODEL}'", max_results=10_000)
        return sorted((_version(version) for version in found), key=lambda version: int(version.number))

    def latest(self) -> Version:
        """The newest version.

        Raises
        ------
        InputError
            If there is none.
        """
        versions = self.versions()
        if not versions:
            raise InputError(f"Model {MODEL} has no version yet; train one first with `clv train`.")
        return versions[-1]

    def production(self) -> Version | None:
        """The version in stage Production, or None."""
        staged = [version for version in self.versions() if version.stage == STAGE]
        return staged[-1] if staged else None

    def aliased(self) -> str | None:
        """The version behind the alias, or None."""
        try:
            with store_errors(self._tracker.settings.tracking_uri):
                return str(self.client.get_model_version_by_alias(MODEL, ALIAS).version)
        except MlflowException:
            return None

    def set_production(
        self,
        version: str,
        *,
        kind: str,
        by: str,
        reason: str,
        gate: list[dict[str, Any]] | None = None,
        expected: str | None = None,
        check_expected: bool = False,
    ) -> Event:
        """Put a version into Production: record, alias, stage, then a check that they agree.

        Parameters
        ----------
        expected
            The version that was in Production when the decision was made.
        check_expected
            Refuse if another one is there by now: of two promotions at once, one wins and the other is told.

        Raises
        ------
        UnavailableError
            If somebody else was faster, or stage and alias do not agree afterwards.
        """
        with self._home.writing(kind), store_errors(self._tracker.settings.tracking_uri):
            current = self._in_production()
            if check_expected and current != expected:
                raise UnavailableError(
                    f"Production changed from version {expected or 'none'} to {current or 'none'} meanwhile; look at "
                    "`clv history` and promote again."
                )
            event = self._record(kind=kind, by=by, reason=reason, version=version, former=current, gate=gate or [])
            try:
                self.client.set_registered_model_alias(MODEL, ALIAS, version)
                with warnings.catch_warnings():
                    # Stages are deprecated but live through MLflow 3; models:/clv/Production is this project's address.
                    warnings.simplefilter("ignore", FutureWarning)
                    self.client.transition_model_version_stage(MODEL, version, STAGE, archive_existing_versions=True)
            except BaseException:
                self._take_back(version, current, by)
                raise
            now = self.production()
            rivals = [one for one in self._events() if one.number == event.number and one != event]
            if rivals:
                raise UnavailableError(
                    f"{rivals[0].by} promoted version {rivals[0].version} at the same moment from another home; "
                    f"Production holds version {now.number if now else 'none'}, so look at `clv history`."
                )
            if now is None or now.number != version or self.aliased() != version:
                raise UnavailableError(
                    f"Stage {STAGE} and alias {ALIAS} do not agree after promoting version {version}; run "
                    "`clv promote --repair`."
                )
            self._rename_former(current, version)
        return event

    def _rename_former(self, former: str | None, version: str) -> None:
        """The `clv run` that put a version into Production says so in its name: no longer, once that is replaced."""
        if former is None or former == version:
            return
        with suppress(Exception):  # a name is not worth failing for: the promotion is done and recorded
            made = self.client.get_run(self.version(former).run_id).data.tags
            parent = self.client.get_run(made["mlflow.parentRunId"])
            if parent.info.run_name.endswith(_STATE):
                name = parent.info.run_name.removesuffix(_STATE) + ", promoted"
                self.client.set_tag(parent.info.run_id, "mlflow.runName", name)

    def _take_back(self, version: str, former: str | None, by: str) -> None:
        """After a promotion that broke off: the alias where it was, and a line in the record, as far as can be."""
        with suppress(Exception):
            if former is None:
                self.client.delete_registered_model_alias(MODEL, ALIAS)
            else:
                self.client.set_registered_model_alias(MODEL, ALIAS, former)
        with suppress(Exception):
            self._record(
                kind="failed",
                by=by,
                reason="the registry could not be written",
                version=former,
                former=version,
                gate=[],
            )

    def repair(self, by: str) -> Event | None:
        """Make the alias follow the stage; None if they agree already."""
        staged = self.production()
        if staged is None:
            raise InputError(f"No version is in stage {STAGE}; promote one with `clv promote`.")
        if self.aliased() == staged.number:
            return None
        return self.set_production(staged.number, kind="repair", by=by, reason="the alias follows the stage")

    def history(self) -> list[Event]:
        """All events, oldest first; a change made outside clv is noticed here and recorded."""
        events = self._events()
        if self._is_recorded(events):
            return events
        # A promotion may be between its entry and its stage: whoever holds the lock is waited for, then looked again.
        with self._home.writing("history"), store_errors(self._tracker.settings.tracking_uri):
            events = self._events()
            if not self._is_recorded(events):
                events.append(
                    self._record(
                        kind="outside",
                        by="unknown",
                        reason="outside clv, seen at this time",
                        version=self._in_production(),
                        former=events[-1].version if events else None,
                        gate=[],
                    )
                )
        return events

    def _is_recorded(self, events: list[Event]) -> bool:
        """Whether what is in Production is what the record says."""
        return self._in_production() == (events[-1].version if events else None)

    def _in_production(self) -> str | None:
        staged = self.production()
        return staged.number if staged else None

    def former(self) -> str:
        """The version that was in Production before the present one, to return to.

        Raises
        ------
        InputError
            If there was none, or it was made for another shop or horizon than is loaded: it could not score this one.
        """
        current = self._in_production()
        for event in reversed(self.history()):
            if event.kind != "failed" and event.version == current and event.former not in (None, current):
                self._check_shop(str(event.former))
                return str(event.former)
        raise InputError("There is no earlier version in Production to return to; see `clv history`.")

    def _check_shop(self, number: str) -> None:
        """Refuse a version of another shop or horizon; one registered by hand says nothing of either."""
        version, shop = self.version(number), self._shop()
        if shop is None or "clv.shop_id" not in version.tags or version.is_of(shop):
            return
        had = version.tags["clv.shop_id"], version.tags.get("clv.horizon_days")
        raise InputError(
            f"Version {number}, to which a rollback would return, was made for shop {had[0][:12]} and {had[1]} days, "
            f"but the warehouse holds shop {shop.shop_id[:12]} and {shop.horizon_days} days; load that shop again, "
            f"promote another version, or put it there all the same with `clv promote {number} --force --reason WHY`."
        )

    def _shop(self) -> Shop | None:
        """The shop that is loaded; None where none is, as beside a registry on a server."""
        from clv.snapshots import read_shop
        from clv.warehouse import open_warehouse

        try:
            return read_shop(open_warehouse(self._tracker.settings))
        except InputError:
            return None

    def _record_run(self) -> str | None:
        found = self.client.search_runs(
            [self._tracker.experiment_id], f"tags.`{_RECORD_TAG}` = '{_RECORD}'", max_results=1
        )
        return str(found[0].info.run_id) if found else None

    def _new_record_run(self) -> str:
        run = self.client.create_run(
            self._tracker.experiment_id,
            tags={
                _RECORD_TAG: _RECORD,
                "mlflow.runName": "promotion record",
                "mlflow.note.content": "Who put which version into Production, when and why: one file an event.",
            },
        )
        self.client.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    def _events(self) -> list[Event]:
        with store_errors(self._tracker.settings.tracking_uri):
            if self.client.get_experiment_by_name(EXPERIMENT) is None:
                return []
            run_id = self._record_run()
            if run_id is None:
                return []
            paths = sorted(item.path for item in self.client.list_artifacts(run_id, "events"))
            with tempfile.TemporaryDirectory() as folder:
                files = [Path(self.client.download_artifacts(run_id, path, folder)) for path in paths]
                return [Event(**json.loads(file.read_text(encoding="utf-8"))) for file in files]

    def _record(self, **facts: Any) -> Event:
        number = len(self._events()) + 1
        event = Event(number=number, at=datetime.now(UTC).isoformat(timespec="seconds"), **facts)
        name = f"{number:06d}-{uuid.uuid4().hex[:8]}.json"  # another home may be writing the same number
        self.client.log_dict(self._record_run() or self._new_record_run(), asdict(event), f"events/{name}")
        return event


def _version(version: Any) -> Version:
    return Version(str(version.version), version.current_stage, version.run_id, dict(version.tags))
