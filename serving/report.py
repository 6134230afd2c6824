"""What a reviewer needs of the version in service, read from the registry and kept for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clv.errors import ClvError
from serving.model import ServedModel
from serving.registry import Record, Registry, Version

STAGE, ALIAS = "Production", "production"


@dataclass(frozen=True)
class _Known:
    """What the registry last said of a version, and when it was asked; `trouble` if it could not be asked then."""

    version: Version
    at: float
    record: Record
    trouble: str | None


class Reporter:
    """Reads the promotion record; the registry is asked at most once per `seconds` and version, be it away or not.

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
        self._known: _Known | None = None

    def report(self, model: ServedModel) -> dict[str, Any]:
        """The report on the model in service; if the registry is away, what was known of it last."""
        known = self._ask(model.version)
        record, trouble = known.record, known.trouble
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
        """The figure of the version's backtest, PNG; None if none is known."""
        return self._ask(model.version).record.backtest_figure

    def _ask(self, version: Version) -> _Known:
        """What is known of a version, asked anew if that was long ago."""
        with self._lock:
            before = self._known
            if before is not None and before.version == version and time.monotonic() - before.at < self._seconds:
                return before
            try:
                record, trouble = self._registry.record(version), None
            except ClvError as error:
                is_same = before is not None and before.version.uri == version.uri
                record, trouble = before.record if before and is_same else Record(), str(error)
            # The time after asking: a registry that is away may take longer than `seconds` to be found so.
            self._known = _Known(version, time.monotonic(), record, trouble)
            return self._known


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
