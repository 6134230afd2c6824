"""Logs as JSON lines."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from pydantic_core import to_json

from clv.errors import masked


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the ``facts`` of the record if it has some."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": masked(record.getMessage()),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["trace"] = masked(self.formatException(record.exc_info))
        return to_json(line, fallback=str).decode()


def log_json(level: int = logging.INFO) -> None:
    """Send this process's log to standard error as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
