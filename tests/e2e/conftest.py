"""The app in a real browser: first as a stranger's public demo that builds its shop, then in front of an API."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[2]
CDNOW = REPOSITORY.parent / "shared" / "data" / "cdnow" / "CDNOW_master.txt"

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 30_000

expect.set_options(timeout=PATIENCE)


def browser_path() -> str:
    """A Chromium that is installed; not to have one is an error, not a skip."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.exit("These tests need a browser: `apt-get install chromium`, or Google Chrome, on the PATH.", 1)
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    # --no-sandbox: it shows our own pages only, and root, who runs CI, can't have the sandbox.
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


def open_page(browser: Browser, **options: object) -> Page:
    page = browser.new_context(locale="en-US", viewport={"width": 1400, "height": 1000}, **options).new_page()
    page.set_default_timeout(PATIENCE)
    return page


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A visitor without history; a page must never show or throw an exception."""
    visitor = open_page(browser)
    thrown: list[str] = []
    visitor.on("pageerror", lambda error: thrown.append(str(error)))
    yield visitor
    assert visitor.get_by_test_id("stException").count() == 0
    visitor.context.close()
    assert not thrown


@dataclass
class Usage:
    """What a process and all below it took.

    Attributes
    ----------
    peak
        Most bytes of resident memory at once.
    builders
        Most processes at once that build the demo shop.
    """

    peak: int = 0
    builders: int = 0


@dataclass
class RunningApp:
    """The app on a port of its own."""

    url: str
    home: Path
    usage: Usage = field(default_factory=Usage)
    seen: list[str] = field(default_factory=list)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**variables: str) -> dict[str, str]:
    """This process' environment with these settings and no others of ours."""
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("CLV_", "MLFLOW_"))}
    return rest | {"CLV_THREADS": "2"} | variables


@contextmanager
def started(command: list[str], log: Path, variables: dict[str, str], health: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server, from when it answers until the end of the block."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=REPOSITORY, env=environment(**variables), stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 120
            while not _answers(health):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(url, timeout=5).status_code == 200
    return False


@contextmanager
def running_app(folder: Path, **variables: str) -> Iterator[RunningApp]:
    """The app as Community Cloud starts it: by its path, from the root of the repository."""
    port = free_port()
    url, home = f"http://127.0.0.1:{port}", folder / "home"
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app/app.py"]
    command += ["--server.port", str(port), "--server.headless", "true", "--server.fileWatcherType", "none"]
    with started(command, folder / "app.log", {"CLV_HOME": str(home), **variables}, f"{url}/_stcore/health") as process:
        app, done = RunningApp(url, home), threading.Event()
        watch = threading.Thread(target=_watch, args=(process.pid, app.usage, done), daemon=True)
        watch.start()
        try:
            yield app
        finally:
            done.set()
            watch.join()


def _watch(pid: int, usage: Usage, done: threading.Event) -> None:
    root = psutil.Process(pid)
    while not done.wait(0.1):
        resident = builders = 0
        commands: dict[int, list[str]] = {}
        with suppress(psutil.Error):
            for process in [root, *root.children(recursive=True)]:
                with suppress(psutil.Error):  # it has ended since it was listed
                    commands[process.pid] = process.cmdline()
                    is_new = time.time() - process.create_time() < 0.5
                    if is_new and commands.get(process.ppid()) == commands[process.pid]:
                        continue  # about to become another program; until then it has its parent's memory
                    resident += process.memory_info().rss
                    builders += "experiments.demo_shop" in commands[process.pid]
        usage.peak, usage.builders = max(usage.peak, resident), max(usage.builders, builders)


@contextmanager
def running_api(home: Path, folder: Path, port: int) -> Iterator[str]:
    """The prediction service of a home, in a process of its own."""
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "serving", "--port", str(port)]
    with started(command, folder / "api.log", {"CLV_HOME": str(home)}, f"{url}/ready"):
        yield url


@pytest.fixture(scope="session")
def public_app(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """The public demo on a machine that has nothing yet, after its first two visitors, who came at the same time."""
    with running_app(tmp_path_factory.mktemp("public")) as app:
        visitors = [open_page(browser), open_page(browser)]
        for visitor in visitors:
            visitor.goto(app.url)
        for visitor in visitors:
            expect(visitor.get_by_text("Building a made-up demo shop")).to_be_visible()
            app.seen.append(visitor.get_by_test_id("stMain").inner_text())
        for visitor in visitors:
            expect(visitor.get_by_test_id("stMetric").first).to_be_visible(timeout=240_000)
            app.seen.append(visitor.get_by_test_id("stMain").inner_text())
            visitor.context.close()
        yield app


@pytest.fixture(scope="session")
def demo_home(public_app: RunningApp) -> Path:
    """The home that the public demo has built."""
    return public_app.home / "demo-shop" / "home"


@pytest.fixture(scope="session")
def api(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The same model behind an API of its own, to compare with."""
    with (
        running_api(demo_home, tmp_path_factory.mktemp("api"), free_port()) as url,
        httpx.Client(base_url=url, timeout=120) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def log_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transaction log: CDNOW's where it is there, else a made-up one."""
    path = tmp_path_factory.mktemp("log") / "log.csv"
    if CDNOW.exists():
        lines = [",".join(line.split()) for line in CDNOW.read_text().splitlines() if line.strip()]
        path.write_text("customer_id,date,cds,amount\n" + "\n".join(lines[1:]) + "\n")
        return path
    from clv.synth import write_shop

    return write_shop(path.parent / "synth", customers=3_000, repeat_rate=0.4, shape="transactions", seed=1).data


@pytest.fixture(scope="session")
def servers() -> ModuleType:
    """This very module, for tests that start servers of their own."""
    return sys.modules[__name__]
