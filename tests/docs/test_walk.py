"""A reader walks through README and docs: what a page says to type is typed, in its order, at a desk of the page's own.

What no test can type, and why, is `NOT_TYPED` in tests/docs/commands.py. The rest is given to a shell as it stands, but
for what `INSTEAD` says and a free port for each server. `make check` walks all pages, `make test` the cheapest.
"""

import csv
import time
from collections.abc import Callable

import pytest

from tests.docs.commands import PAGES, REPOSITORY, SCRIPTS, Command, blocks, commands
from tests.docs.conftest import Desk

pytestmark = pytest.mark.timeout(900)

INSTEAD = {
    "make demo": "clv demo --customers 3000",  # smaller; CI's job `demo` and benchmarks/newcomer.py run it as it stands
    "promote 3": "promote 2",  # the desk has two versions
    "--version 3": "--version 1",
    "2018-03-31,2018-05-31": "2018-06-03,2018-07-01",  # cutoffs of the desk's shop, whose horizon is 30 days
    "PROJECT": "docs-project",  # on the tests' stand-in for BigQuery
}
"""What a page says -> what is typed."""

SHOPS = {"umsatz.csv": "umsatz"}
"""A file of another shop -> the home that it gets (`CLV_HOME`)."""

CODES = {"clv monitor": (0, 3)}
"""Exit codes that the page announces, where 0 is not the only one."""

GIVEN = {
    "docs/model-card.md": """import duckdb
features = duckdb.connect(".clv/warehouse.duckdb").sql("from marts.customer_snapshots limit 5").df()
"""
}
"""What a page's Python takes for granted."""

PYTHON_ELSEWHERE = {"docs/serving.md": "tests/serving/test_docs.py runs it as shown"}

SERVERS = ("clv serve", "clv app", "clv ui")


def after_make_setup(desk: Desk) -> None:
    """A log of the reader's own beside the clone."""
    desk.write("transactions.csv")


def with_exports(desk: Desk) -> None:
    """What the page takes for granted: exports of two shops, one of them in German."""
    desk.write("orders.csv", lambda day: day < "2018-07")
    desk.write("july.csv", lambda day: day >= "2018-07")
    with (desk.folder / "orders.csv").open() as orders, (desk.folder / "umsatz.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["Kundennummer", "Beleg", "Datum", "Betrag"])
        for customer, order, moment, amount in list(csv.reader(orders))[1:]:
            day, month, year = moment[8:10], moment[5:7], moment[:4]
            writer.writerow([customer, order, f"{day}.{month}.{year}", amount.replace(".", ",")])


def with_a_model(desk: Desk) -> None:
    """After `clv run`: version 1 is in Production."""
    desk.has_a_model()
    (desk.folder / "recipe.json").write_text('{"family": "hurdle", "trees": 50}')


def with_a_candidate(desk: Desk) -> None:
    """And version 2 wants to get there."""
    with_a_model(desk)
    desk.do("clv --quiet train")


def with_bigquery(desk: Desk) -> None:
    """Where the page begins, there is a shop on BigQuery already; then it starts from an empty project."""
    desk.write("orders.csv")
    desk.do("clv --quiet setup-bigquery --project docs-project --dataset clv --location EU")
    desk.do("clv --quiet --warehouse bigquery://docs-project/clv load orders.csv --source transactions")


DESKS: dict[str, Callable[[Desk], None]] = {
    "README.md": after_make_setup,
    "docs/your-data.md": with_exports,
    "docs/bigquery.md": with_bigquery,
    "docs/comparing-runs.md": with_a_model,
    "docs/model-card.md": with_a_model,
    "docs/monitoring.md": with_a_model,
    "docs/promoting.md": with_a_candidate,
    "docs/serving.md": with_a_model,
}
"""Page -> what its reader has before the first line."""

REPEATED = {"docs/index.md": "README.md", "README.md": "docs/bigquery.md"}
"""Page -> the page on which a line that both show is typed."""


def to_type(page: str) -> list[Command]:
    """The lines of a page, less what no test can type and what is typed on another page."""
    elsewhere = {one.plain for one in commands() if one.page == REPEATED.get(page)}
    return [one for one in commands() if one.page == page and not one.left_out and one.plain not in elsewhere]


def test_every_page_with_python_says_what_it_takes_for_granted() -> None:
    assert {str(page.relative_to(REPOSITORY)) for page in PAGES if list(blocks(page, "python"))} == {
        *GIVEN,
        *PYTHON_ELSEWHERE,
    }


def test_every_page_with_a_script_says_what_runs_it() -> None:
    assert {str(page.relative_to(REPOSITORY)) for page in PAGES if list(blocks(page, "bash"))} == set(SCRIPTS)


def test_every_page_with_something_to_type_has_a_desk() -> None:
    assert {page for page in {one.page for one in commands()} if to_type(page)} == set(DESKS)


@pytest.mark.full_scale("walked by `make check`")
@pytest.mark.parametrize("page", DESKS)
def test_a_page_works_as_its_reader_would_follow_it(page: str, desk: Desk, request: pytest.FixtureRequest) -> None:
    if DESKS[page] is with_bigquery:
        desk.settings.update(request.getfixturevalue("bigquery_facade").environment)
    DESKS[page](desk)
    for command in to_type(page):
        if command.plain in SERVERS:
            desk.start(command.text)
            continue
        home = next((home for file, home in SHOPS.items() if file in command.text), None)
        before = time.time_ns()
        desk.do(_typed(command.text), *CODES.get(command.plain, ()), **({"CLV_HOME": home} if home else {}))
        if "--predictions" in command.text:
            written = desk.folder / command.words[command.words.index("--predictions") + 1]
            assert written.stat().st_mtime_ns > before
            assert written.read_text().startswith("customer_id,p_return,value_if_return,expected_value")
    for block in blocks(REPOSITORY / page, "python"):
        if page not in PYTHON_ELSEWHERE:
            (desk.folder / "snippet.py").write_text(GIVEN[page] + block)
            desk.do("python snippet.py", MLFLOW_TRACKING_URI="sqlite:///.clv/mlflow.db")


def _typed(text: str) -> str:
    for shown, instead in INSTEAD.items():
        text = text.replace(shown, instead)
    return text


@pytest.mark.parametrize("shown", INSTEAD)
def test_what_is_replaced_still_occurs(shown: str) -> None:
    assert any(shown in one.plain for one in commands())
