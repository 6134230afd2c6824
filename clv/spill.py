"""Where DuckDB puts what does not fit into memory: left to itself, into the folder one happens to be in."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path


def spill_folder() -> str:
    """A new path among the temporary files, for one connection; DuckDB makes the folder when needed and removes it."""
    return str(Path(tempfile.gettempdir()) / f"clv-spill-{uuid.uuid4().hex[:12]}")
