"""The app in a real browser: when its first page can be used, when its numbers are there, and how long an upload takes.

Needs Chromium or Google Chrome, and a home that ``clv run`` or ``clv demo`` has filled. On two cores, browser included:
``taskset -c 0,1 .venv/bin/python -m benchmarks.app --home .clv``. Every start is a fresh process with an API of its
own. "Usable" means that a button was pressed and what it opens was there. ``--public-demo`` also measures what a
stranger's first visit costs where there is no home at all.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.pipeline import MEBIBYTE, resident
from benchmarks.record import OUTPUT_HELP, save
from benchmarks.shops import CDNOW, REPOSITORY, cdnow
from clv.machine import usable_cores
from serving.server import listen

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PEAK = "app and service in one process, peak"
BARS = {
    "first page usable": 3.0,
    "upload answered": 15.0,
    "public demo ready": 90.0,
    "public demo, peak of all its processes": 954.0,
}
"""What was asked for, in seconds and MiB (954 MiB are 1 GB)."""
PATIENCE_SECONDS = 240


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._started


@dataclass
class App:
    """A process of the app: its address, the time since its start, the most memory of it and all it started."""

    url: str
    since_start: Clock
    peak: int = 0

    def watch(self, pid: int, done: threading.Event) -> None:
        """Note the resident memory, 20 times a second."""
        root = psutil.Process(pid)
        while not done.wait(0.05):
            with suppress(psutil.Error):
                self.peak = max(self.peak, sum(map(resident, [root, *root.children(recursive=True)])))


@contextmanager
def app(home: Path) -> Iterator[App]:
    """A fresh process of the app, from when it answers."""
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("CLV_", "MLFLOW_"))}
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app/app.py", "--server.port", str(port)]
    command += ["--server.headless", "true", "--server.fileWatcherType", "none"]
    started = App(url, Clock())
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=rest | {"CLV_HOME": str(home.absolute()), "CLV_THREADS": str(usable_cores())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        done = threading.Event()
        threading.Thread(target=started.watch, args=(process.pid, done), daemon=True).start()
        try:
            while not answers(f"{url}/_stcore/health"):
                if process.poll() is not None:
                    sys.exit("The app ended before it answered; see `clv app`.")
                time.sleep(0.02)
            yield started
        finally:
            done.set()
            process.terminate()
            process.wait()


def answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    return False


@contextmanager
def visitor(browser: Browser) -> Iterator[Page]:
    """Somebody who was never there before."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, locale="en-US")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_SECONDS * 1000)
    yield page
    context.close()


def press(page: Page, option: str) -> None:
    page.get_by_role("radio", name=option).click()


def numbers(page: Page) -> None:
    """Wait for the figures of the page."""
    page.get_by_test_id("stMetricValue").first.wait_for()


def visit(browser: Browser, home: Path, log: Path) -> dict[str, float]:
    """Start the app, look at it, upload a log."""
    with app(home) as running:
        found = {"server answers, since start": running.since_start.seconds}
        with visitor(browser) as page:
            clock = Clock()
            page.goto(running.url)
            press(page, "Your own file")
            page.locator("input[type=file]").wait_for(state="attached")
            found["first page usable"] = clock.seconds
            found["first page usable, since start"] = running.since_start.seconds
            press(page, "The scored shop")
            numbers(page)
            found["numbers of the scored shop"] = clock.seconds
            press(page, "Your own file")
            clock = Clock()
            page.locator("input[type=file]").set_input_files(log)
            page.get_by_role("button", name="Predict").click()
            pressed = clock.seconds
            numbers(page)
            found["upload read, columns matched"] = pressed
            found["upload answered"] = clock.seconds
        with visitor(browser) as page:
            clock = Clock()
            page.goto(running.url)
            numbers(page)
            found["numbers for the next visitor"] = clock.seconds
        found[PEAK] = running.peak / MEBIBYTE
    return found


def transactions(folder: Path, rows: int) -> tuple[Path, str]:
    """A log to upload: CDNOW's, which has 69,659 rows, where it is there; else one of random rows."""
    if CDNOW.exists():
        path = cdnow(folder)
        return path, f"the CDNOW log, {len(path.read_text().splitlines()) - 1:,} rows"
    draw = np.random.default_rng(1)
    days = pd.Timestamp("2018-01-01") + pd.to_timedelta(draw.integers(0, 540, rows), unit="D")
    log = pd.DataFrame(
        {
            "customer_id": [f"c{number:05d}" for number in draw.integers(0, rows // 3, rows)],
            "date": days.strftime("%Y-%m-%d"),
            "amount": draw.gamma(2.0, 30.0, rows).round(2) + 1,
        }
    )
    path = folder / "log.csv"
    log.to_csv(path, index=False)
    return path, f"{rows:,} random rows"


def public_demo(browser: Browser, folder: Path) -> Iterator[list[str]]:
    """A stranger's first visit where nothing is there yet."""
    with app(folder / "home") as running, visitor(browser) as page:
        clock = Clock()
        page.goto(running.url)
        page.get_by_text("Building a made-up demo shop").wait_for()
        yield line("building is shown", [clock.seconds])
        numbers(page)
        yield line("public demo ready", [clock.seconds])
    yield line("public demo, peak of all its processes", [running.peak / MEBIBYTE])


def line(what: str, found: list[float]) -> list[str]:
    """Print the median beside the bar and the single starts; returns the row that the docs show."""
    unit = "MiB" if "peak" in what else "s"
    median = f"{statistics.median(found):.{1 if unit == 's' else 0}f} {unit}"
    bar = f"{BARS[what]:.0f} {unit}" if what in BARS else ""
    each = "  ".join(f"{one:.2f}" for one in found)
    print(f"{what:<40} {median:>9}  {f'bar {bar}' if bar else '':<12} {each if len(found) > 1 else ''}", flush=True)
    return [what, median, bar]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".clv"), help="home that `clv run` has filled")
    parser.add_argument("--starts", type=int, default=3, help="fresh starts of the app; the median is shown")
    parser.add_argument("--rows", type=int, default=70_000, help="of the upload where the CDNOW log is absent")
    parser.add_argument("--public-demo", action="store_true", help="also build the public demo")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=OUTPUT_HELP)
    arguments = parser.parse_args()
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        sys.exit("A browser is needed: `apt-get install chromium`, or Google Chrome, on the PATH.")
    if not (arguments.home / "mlflow.db").exists():
        sys.exit(
            f"There is no registry in {arguments.home}; fill one with `clv run` or `clv demo`, or name another --home."
        )
    with tempfile.TemporaryDirectory(prefix="clv-bench-") as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        log, name = transactions(folder, arguments.rows)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        print(
            f"{usable_cores()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}; upload: {name}", flush=True
        )
        visits = [visit(browser, arguments.home, log) for _ in range(arguments.starts)]
        rows = [line(what, [found[what] for found in visits]) for what in visits[0]]
        if arguments.public_demo:
            rows += public_demo(browser, folder)
        browser.close()
    save(arguments.output, "app", table=[["", "", "bar"], *rows], log=name)


if __name__ == "__main__":
    main()
