"""A newcomer's path: `git clone`, the packages, `make demo` up to the prediction asked over HTTP, each timed.

    .venv/bin/python -m benchmarks.newcomer            (some minutes; on two cores with `taskset -c 0,1`)

It clones the last commit into a new folder and has nothing there that a newcomer has not: no packages, no caches of pip
and uv, no settings. What the packages take is mostly the network's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import OUTPUT_HELP, save
from benchmarks.shops import REPOSITORY

PREDICTED = "Asked over HTTP"


def main() -> None:
    """Walk it once and print what each part took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=OUTPUT_HELP)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clv-newcomer-") as temporary:
        folder = Path(temporary)
        clone = folder / "clv"
        python = Path(sys.base_prefix) / "bin" / "python3"
        parts = {
            "clone": ["git", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(clone)],
            "packages": ["make", "--directory", str(clone), f"PYTHON={python}", "setup"],
            "demo": ["make", "--directory", str(clone), f"PYTHON={python}", "demo"],
        }
        found: dict[str, int] = {}
        for part, command in parts.items():
            started = time.perf_counter()
            output = run(command, folder)
            found[part] = round(time.perf_counter() - started)
            print(f"{part:<10} {found[part]:>5} s", flush=True)
    if PREDICTED not in output:
        sys.exit(f"`make demo` ended without a prediction:\n{output[-2000:]}")
    found["total"] = sum(found.values())
    print(f"{'all':<10} {found['total']:>5} s, from nothing to the first prediction")
    save(arguments.output, "newcomer", table=(), **found)


def run(command: list[str], folder: Path) -> str:
    """Run a command as somebody who has set nothing and cached nothing; its output."""
    settings = ("CLV_", "MLFLOW_", "VIRTUAL_ENV", "PYTHON", "MAKE")
    rest = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    caches = {"UV_CACHE_DIR": str(folder / "uv"), "PIP_CACHE_DIR": str(folder / "pip")}
    done = subprocess.run(
        command, cwd=folder, env=rest | caches, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
