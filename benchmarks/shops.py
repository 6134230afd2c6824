"""The shops that benchmarks run on, and `clv` as a person would start it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Container
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("CLV_DATA", REPOSITORY.parent / "shared" / "data"))
CDNOW = DATA / "cdnow" / "CDNOW_master.txt"
OLIST = DATA / "olist" / "brazilian-ecommerce.zip"


def cdnow(folder: Path) -> Path:
    """CDNOW's log, whose columns stand apart by blanks, as a CSV file in `folder`."""
    rows = [",".join(line.split()) for line in CDNOW.read_text().split("\n") if line.strip()]
    path = folder / "cdnow.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def clv(home: Path, *words: object, codes: Container[int] = (0,)) -> str:
    """Run one verb and return what it printed; ends the benchmark if the exit code is none of `codes`."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli", "--home", str(home), *map(str, words)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in codes:
        sys.exit(f"`clv {' '.join(map(str, words))}` ended with {done.returncode}:\n{done.stderr}")
    return done.stdout
