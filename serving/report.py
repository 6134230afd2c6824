"""What a reviewer needs of the version in service, read from the registry and kept for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from clv.errors import ClvError
from serving.model import ServedModel
from serving.registry import Record, Registry, Version

STAGE, ALIAS = "Production", "production"


class Reporter:
    """Reads the promotion record, at most once per `seconds` and version.

    Parameters
    ----------
    registry
        Where the record is.
    seconds
        How long an answer of the registry is good for.
    """

    def __init__(self, registry: Registry, seconds: float) -> None:
        self._registry = registry
        self._seconds = seconds
        self._lock = threading.Lock()
        self._known: tuple[Version, float, Record] | None = None

    def report(self, model: ServedModel) -> dict[str, Any]:
        """The report on the model in service; if the registry is away, what was known of it last."""
        trouble = None
        with self._lock:
            try:
                record = self._record(model.version)
            except ClvError as error:
                trouble = str(error)
                same = self._known is not None and self._known[0].uri == model.version.uri
                record = self._known[2] if same and self._known else Record()
        mine = [event["gate"] for event in record.events if event["version"] == model.version.version and event["gate"]]
        return {
            "model": model.header,
            "gate": mine[-1] if mine else [],
            "metrics": record.metrics,
            "ladder": model.about.get("evaluation") or {},
            "history": record.events[::-1],
            "card": _card(model),
            "gate_report": record.gate_report,
            "backtest": record.backtest,
            "warnings": [*alias_warnings(model.version), *([] if trouble else _gaps(model.version, record.events))],
            "trouble": trouble,
        }

    def backtest_figure(self, model: ServedModel) -> bytes | None:
        """The figure of the version's backtest, PNG; None if there is none or the registry can't be asked."""
        with self._lock, suppress(ClvError):
            return self._record(model.version).backtest_figure
        return None

    def _record(self, version: Version) -> Record:
        now = time.monotonic()
        if self._known is None or self._known[0] != version or now - self._known[1] > self._seconds:
            self._known = version, now, self._registry.record(version)
        return self._known[2]


def _card(model: ServedModel) -> str | None:
    """The model card, from the model's own folder."""
    file = model.folder / "model_card.md"
    return file.read_text(encoding="utf-8") if file.exists() else None


def alias_warnings(version: Version) -> list[str]:
    """Says if stage and alias do not agree."""
    if version.stage == STAGE and ALIAS not in version.aliases:
        return [
            f"Version {version.version} is in stage {STAGE} but the alias {ALIAS} is elsewhere; the stage is served, "
            "`clv promote --repair` mends it."
        ]
    return []


def _gaps(version: Version, events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Says if the record does not know how the version came into Production."""
    last = events[-1]["version"] if events else None
    if version.stage == STAGE and last != version.version:
        return [
            f"Version {version.version} came into {STAGE} outside clv; the record's last change is to "
            f"{f'version {last}' if last else 'none'}."
        ]
    return []
