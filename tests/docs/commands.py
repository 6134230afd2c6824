"""What README and docs tell their readers to type: one collector, and the list of what no test here can type."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/**/*.md"))]

ACCOUNT = "needs a Google Cloud account"
DOCKER = "needs a Docker engine; tests/serving/test_docker.py starts the same commands without one"
THIS = "is what runs this very test"

NOT_TYPED = {
    "gcloud": ACCOUNT,
    "CLV_TEST_BIGQUERY=bigquery://PROJECT/clv_test make test": ACCOUNT,
    "cd dbt && CLV_BIGQUERY_PROJECT=PROJECT": ACCOUNT,
    "clv --warehouse bigquery://PROJECT/clv run": "tests/experiments/test_bigquery.py runs its steps on the stand-in",
    'curl -H "X-API-Key: $KEY" https://': "needs a service on Cloud Run",
    "docker": DOCKER,
    "CLV_API_KEY=… docker compose": DOCKER,
    "make setup": THIS,
    "make test": THIS,
    "make check": THIS,
    "uvx pre-commit install": "changes the clone; tests/docs/test_workflows.py compares its hooks with `make lint`",
    "curl -s http://127.0.0.1:8000": "tests/serving/test_docs.py runs it as shown",
    "awk": "tests/clv/test_sources_transactions.py runs it as shown",
    "clv run cdnow.csv": "tests/experiments/test_real_data.py runs the same chain where the data are",
    "clv --home olist run brazilian-ecommerce.zip": "tests/experiments/test_real_data.py runs it where the data are",
}
"""Commands, by their beginning, that the walk through the pages leaves out, and why."""


SCRIPTS = {"docs/monitoring.md": "tests/experiments/test_weekly.py runs weekly.sh"}
"""Pages with a whole script (```bash), and what runs it."""


class Command(NamedTuple):
    """One command of one page, as typed, less its comment."""

    page: str
    text: str

    @property
    def plain(self) -> str:
        """The same on every page: `clv` instead of `.venv/bin/clv`."""
        return self.text.replace(".venv/bin/clv", "clv")

    @property
    def left_out(self) -> str:
        """Why no test types it; empty if one does."""
        return next((why for start, why in NOT_TYPED.items() if self.plain.startswith(start)), "")

    @property
    def words(self) -> list[str]:
        """Program and arguments, without assignments before them."""
        words = shlex.split(self.plain)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        return words

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """Fenced blocks of a page in these languages, without their indentation."""
    fence = rf"^( *)```(?:{'|'.join(languages)})\n(.*?)^\1```"
    for block in re.finditer(fence, page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
        yield re.sub(rf"^{block[1]}", "", block[2], flags=re.MULTILINE)


def commands() -> list[Command]:
    """Every command of every page, in the order of reading."""
    found = []
    for page in PAGES:
        for block in blocks(page, "sh", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                text = re.sub(r"\s+#\s.*$", "", line).strip()
                if text and not text.startswith("#"):
                    found.append(Command(str(page.relative_to(REPOSITORY)), re.sub(r"\s{2,}", " ", text)))
    return found


def in_passing() -> list[Command]:
    """Commands in the midst of a sentence: `clv ...`, `make ...` and `mlflow run ...`."""
    found = []
    for page in PAGES:
        text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for code in re.findall(r"(?<!`)`((?:[A-Z_]+=\S+ )?(?:clv|make|mlflow run|\.venv/bin/clv) [^`]+)`(?!`)", text):
            found.append(Command(str(page.relative_to(REPOSITORY)), " ".join(code.split())))
    return found
