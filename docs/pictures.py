"""Takes the pictures of the app and of MLflow in docs/images; ``make docs-pictures`` runs it.

    python docs/pictures.py            (some minutes: `clv demo` in a folder of its own, then a second version)
    python docs/pictures.py --home DIR (of a former run, kept: only the pictures)

It needs Chromium, as `make browser` installs it.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from mlflow import MlflowClient
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from serving.server import listen

IMAGES = Path(__file__).resolve().parent / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60_000

STORY = (
    ("demo",),
    ("train", "--parameter", "covariate_weight=0", "--parameter", "history_weight=0.25"),
    ("promote", "2", "--check"),
    ("evaluate", "--recipe", '{"family": "btyd"}'),
)
"""What happens before: version 1 goes to Production, version 2 is refused, a recipe is tested beside them."""

REFUSED = 3
"""Exit code of the gate."""


def tell(home: Path) -> None:
    """Run the story in a home."""
    for arguments in STORY:
        print("clv", *arguments, flush=True)
        code = subprocess.run(command(*arguments), env=environment(home), stdout=subprocess.DEVNULL).returncode
        if code != (REFUSED if "--check" in arguments else 0):
            sys.exit(f"clv {' '.join(arguments)} ended with {code}; run it with CLV_HOME={home} to see why.")


def command(*arguments: str) -> list[str]:
    """A call of `clv`, of this environment."""
    return [str(Path(sys.executable).with_name("clv")), *arguments]


def environment(home: Path) -> dict[str, str]:
    """The environment for that home and a user with a name."""
    return {**os.environ, "CLV_HOME": str(home), "USER": "ana", "LOGNAME": "ana"}


@contextmanager
def server(home: Path, verb: str, health: str) -> Iterator[str]:
    """`clv app` or `clv ui`, from when it answers to the end of the block."""
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command(verb, "--port", str(port)), env=environment(home), stdout=quiet, stderr=quiet
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not answers(url + health):
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"`clv {verb}` does not answer.")
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()


def answers(url: str) -> bool:
    """Whether somebody is there."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def visit(browser: Browser, width: int, height: int) -> Page:
    """An empty page of that size."""
    page = browser.new_context(locale="en-US", viewport={"width": width, "height": height}).new_page()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    return page


def take(page: Page, name: str, width: int | None = None) -> None:
    """Write what is seen, scaled to a width, as a PNG of few colours, once nothing moves any more."""
    before = b""
    for _ in range(30):
        page.wait_for_timeout(1500)
        now = page.screenshot()
        if now == before:
            break
        before = now
    path = IMAGES / f"{name}.png"
    image = Image.open(io.BytesIO(before)).convert("RGB")
    if width is not None:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1024} kB", flush=True)


def of_app(browser: Browser, url: str, home: Path) -> None:
    """Its four pages, that of a customer with the best one."""
    with (home / "predictions" / "predictions.csv").open(encoding="utf-8") as file:
        best = [next(file) for _ in range(2)][1].partition(",")[0]
    addresses = {"portfolio": "", "customer": f"customer?customer={best}", "budget": "budget", "model": "model"}
    for name, address in addresses.items():
        page = visit(browser, 1400, 1530)
        page.goto(f"{url}/{address}")
        expect(page.get_by_test_id("stMetric").first).to_be_visible()
        take(page, f"app-{name}", width=1000)


def of_mlflow(browser: Browser, url: str, home: Path) -> None:
    """The list of models, a run, its artifacts, two runs side by side, the registry and a gate report."""
    store = f"sqlite:///{home / 'mlflow.db'}"
    client = MlflowClient(store, store)
    runs = [str(client.get_model_version("clv", number).run_id) for number in ("1", "2")]
    experiment = f"{url}/#/experiments/1"
    pages = {
        "models": (620, f"{experiment}/runs?viewStateShareKey=clv-models"),
        "run": (760, f"{experiment}/runs/{runs[0]}"),
        "artifacts": (760, f"{experiment}/runs/{runs[0]}/artifacts/model_card.html"),
        "registry": (700, f"{url}/#/models/clv"),
        "gate": (860, f"{experiment}/runs/{runs[1]}/artifacts/gate/version-2.html"),
        "compare": (760, f'{url}/#/compare-runs?runs=["{runs[1]}","{runs[0]}"]&experiments=["1"]'),
    }
    page = visit(browser, 1500, 800)
    page.goto(pages["registry"][1])
    for button in ("Close", "Toggle sidebar"):  # of the assistant; of the menu
        page.get_by_role("button", name=button, exact=True).click()
    for name, (height, address) in pages.items():
        page.set_viewport_size({"width": 1500, "height": height})
        page.goto(address)
        if "/artifacts/" in address:  # where the file lies on this machine says nothing to a reader
            page.get_by_text("Path: file").first.evaluate("element => element.style.visibility = 'hidden'")
        if name == "compare":
            page.get_by_role("button", name="Visualizations").click()
            page.get_by_role("switch").first.click()
        take(page, f"mlflow/{name}")


def main() -> None:
    """Tell the story if it is not told yet, and take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--home", type=Path, help="a home in which the story was told before")
    kept = parser.parse_args().home
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        sys.exit("The pictures need Chromium: `make browser`, or `apt-get install chromium`.")
    with tempfile.TemporaryDirectory(prefix="clv-pictures-") as temporary, sync_playwright() as playwright:
        home = kept or Path(temporary) / "home"
        if kept is None:
            tell(home)
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        with server(home, "app", "/_stcore/health") as url:
            of_app(browser, url, home)
        with server(home, "ui", "/health") as url:
            of_mlflow(browser, url, home)


if __name__ == "__main__":
    main()
