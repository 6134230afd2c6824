"""What becomes of odd rows: the table of docs/your-data.md line by line, given to `clv load` on both engines."""

import csv
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from clv.settings import Settings
from clv.synth import write_shop
from clv.warehouse import Warehouse, open_warehouse
from clv.warehouse.bigquery import setup_bigquery

HEAD = "customer_id,date,amount,order_id\n"
LOG = HEAD + "a,2018-01-01,10,1\nb,2018-01-02,5,2\n"
ELSEWHERE = {
    "no repeat buyer, one customer, one date, history too short": "test_bad_input.py",
    "a category the model never saw, when scoring": "test_score.py, tests/serving/test_predict.py",
    "not UTF-8, Excel's first line `sep=;`, damaged archives, paths that lead outside a zip": (
        "test_bad_input.py, tests/clv/test_sources_*.py"
    ),
}
"""Lines of the table that are not about rows of a file, and where they are tested."""


@dataclass(frozen=True)
class Case:
    """A line of the table and a file for it.

    Attributes
    ----------
    line
        How the line of the table begins.
    words
        What the answer says; of a refusal the exit code is 2.
    rows
        Customer, amount and day of what is loaded, in order; None means that the file is refused.
    """

    line: str
    content: str
    words: tuple[str, ...] = ()
    rows: list[tuple[str, str, str]] | None = None
    options: tuple[str, ...] = field(default=())


A, B = ("a", "10", "2018-01-01"), ("b", "5", "2018-01-02")
MANY = [(f"c{n:02}", "1", "2018-01-01") for n in range(99)]
COMPLETE = HEAD + "".join(f"{customer},{day},{amount},o{customer}\n" for customer, amount, day in MANY)
CASES = [
    Case(
        "byte order mark, CRLF",
        '\ufeffcustomer_id,date,amount,order_id,remark\r\na,2018-01-01,10,1,"two\r\nlines"\r\nb,2018-01-02,5,2,\r\n',
        rows=[A, B],
    ),
    Case(
        "negative amount",
        LOG + "a,2018-01-01,-4,3\n",
        ("rows with a negative amount, which count as returns: 1.", '"total_amount": "11'),
        [("a", "-4", "2018-01-01"), A, B],
    ),
    Case(
        "amount of zero",
        LOG + "z,2018-02-01,0,3\n",
        (
            "rows with an amount of zero, which are no purchase: 1.",
            '"last_purchase_date": "2018-01-02"',
            '"customers": 3',
        ),
        [A, B, ("z", "0", "2018-02-01")],
    ),
    Case(
        "amount of more than four decimals",
        COMPLETE + "z,2018-01-01,1.23456,x\n",
        ("amounts that were rounded to four decimals: 1.",),
        [*MANY, ("z", "1.2346", "2018-01-01")],
    ),
    Case(
        "amount of more than four decimals",
        LOG + "z,2018-02-01,0.00001,3\n",
        (
            "1 of 3 amounts are not 0 but would be with the four decimals that are kept",
            "line 4, column amount: '0.00001'",
        ),
    ),
    Case(
        "one order id on several rows",
        LOG + "a,2018-01-01,7,1\n",
        ('"orders": 2', '"total_amount": "22'),
        [("a", "7", "2018-01-01"), A, B],
    ),
    Case(
        "one order id with two customers",
        LOG + "b,2018-01-01,7,1\n",
        ("line 4, column order_id: order '1' is of customer 'b', but of 'a' in", "line 2; expected one customer"),
    ),
    Case(
        "rows that are the same in every column",
        LOG + "a,2018-01-01,10,1\n",
        ("rows that repeat another one in customer, time, amount and order, and were kept: 1.",),
        [A, A, B],
    ),
    Case(
        "no customer, time or amount",
        COMPLETE + ",2018-01-01,1,x\n",
        ("rows without customer, time or amount, which were dropped: 1.", '"rows": 100', '"dropped": 1'),
        MANY,
    ),
    Case(
        "no customer, time or amount",
        COMPLETE + ",2018-01-01,1,x\nd,,1,y\n",
        ("2 of 101 rows have no customer, time or amount", "line 101, column customer_id", "CLV_MAX_NULL_SHARE"),
    ),
    Case("`1.234,56` without", LOG + 'a,2018-01-03,"1.234,56",3\n', ("line 4, column amount", "--decimal ,")),
    Case(
        "`1.234,56` without",
        LOG.replace("10", '"1.234,56"'),
        rows=[("a", "1234.56", "2018-01-01"), B],
        options=("--decimal", ","),
    ),
    Case(
        "`$5`, `5 EUR`, `(5.00)`, `NULL` as an amount",
        LOG + "a,2018-01-03,$5,3\n",
        ("line 4, column amount", "take out all but digits, sign and decimal mark"),
    ),
    Case(
        "a few purchases long before",
        COMPLETE + "a,1900-01-01,10,1\n",
        ("purchases up to 1900-01-01, 43,099 days before the next: 1;",),
        [("a", "10", "1900-01-01"), *MANY],
    ),
    Case("a time that can't be read", LOG + "a,31/01/2018,1,3\n", ("line 4, column date", "--time-format")),
    Case(
        "a time that can't be read",
        LOG + "a,2018-01-03T10:00:00Z,1,3\n",
        ("line 4, column date", "mix times with and without an offset from UTC", "--time-zone"),
    ),
    Case("a day later than tomorrow", LOG + "a,2999-01-01,1,3\n", ("line 4, column date: 2999-01-01", "future")),
    Case(
        "several currencies",
        "customer_id,date,amount,currency\na,2018-01-01,1,EUR\nb,2018-01-01,1,USD\n",
        ("line 3, column currency: USD after EUR", "expected one"),
    ),
]


@dataclass(frozen=True)
class Place:
    """A warehouse of its own, and how to load into it."""

    warehouse: Warehouse
    load: Callable[..., Any]


@pytest.fixture(params=["duckdb", "bigquery"])
def place(request: pytest.FixtureRequest, clv, tmp_path: Path) -> Place:
    home, options, variables = tmp_path / "home", (), {}
    settings = Settings(home=home)
    if request.param == "bigquery":
        variables = request.getfixturevalue("bigquery_facade").environment
        address = f"bigquery://input-{tmp_path.name.replace('_', '-')}/shop"
        settings = Settings.from_environment(variables, home=home, warehouse=address)
        options = ("--warehouse", address)
        setup_bigquery(settings)
    return Place(
        open_warehouse(settings), lambda *arguments: clv(home, *options, "--json", "load", *arguments, **variables)
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.line} {'refused' if case.rows is None else 'taken'}")
def test_rows_of_a_log(case: Case, place: Place, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes(case.content.encode())
    done = place.load(log, "--source", "transactions", *case.options)
    if case.rows is None:
        done.refused(2, "log.csv" if "line" in case.words[0] else "", *case.words)
        assert not place.warehouse.has_table("raw", "transactions")
        return
    assert done.code == 0, done.err
    for words in case.words:
        assert words in done.out
    found = place.warehouse.query("select customer_id, amount, cast(purchased_at as date) as day from raw.transactions")
    rows = [(row["customer_id"], row["amount"], str(row["day"])) for row in found.to_pylist()]
    assert sorted(rows) == [(customer, Decimal(amount), day) for customer, amount, day in case.rows]


@pytest.fixture(scope="module")
def olist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("olist")
    write_shop(folder, customers=100, shape="olist", seed=3)
    return folder / "shop"


def edit(path: Path, change: Callable[[list[dict[str, str]]], object]) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0])
    change(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


OLIST = [
    (
        "duplicate keys, orphans",
        "orders",
        lambda rows: rows.append(rows[0]),
        ("olist_orders_dataset.csv", "order_id = ", "occurs more than once"),
    ),
    (
        "duplicate keys, orphans",
        "order_items",
        lambda rows: rows[0].update(product_id="nobody's"),
        ("olist_order_items_dataset.csv", "product_id", "nobody's"),
    ),
    ("orders without payment or items", "order_payments", lambda rows: rows.pop(), None),
    ("orders without payment or items", "order_payments", lambda rows: rows.__delitem__(slice(60)), ("payment",)),
]


@pytest.mark.parametrize(("line", "table", "change", "words"), OLIST, ids=["key", "orphan", "few", "many"])
def test_olists_tables(line: str, table: str, change: Any, words: Any, place: Place, olist: Path, tmp_path) -> None:
    shop = Path(shutil.copytree(olist, tmp_path / "shop"))
    edit(shop / f"olist_{table}_dataset.csv", change)
    done = place.load(shop)
    if words is None:
        assert done.code == 0, done.err
        assert "orders without a payment: 1" in done.out
    else:
        done.refused(2, *words)
    assert place.warehouse.has_table("raw", "olist_orders") == (words is None)


def test_every_line_of_the_table_is_tested(repository: Path) -> None:
    page = (repository / "docs" / "your-data.md").read_text()
    table = page.partition("## What becomes of odd rows")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (.+?) \| .+ \|$", table, flags=re.MULTILINE)[1:]
    tested = [case.line for case in CASES] + [f"Olist: {line}" for line, *_ in OLIST]
    assert len(lines) > 10
    for line in lines:
        assert line in ELSEWHERE or any(line.startswith(start) for start in tested), line
    assert set(ELSEWHERE) <= set(lines)
