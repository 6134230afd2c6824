"""Scoring: every customer with a purchase by the as-of day, from the model in Production."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pyarrow as pa

from clv.errors import InputError, UnavailableError, first_line, masked
from clv.home import disk_errors, remove, replacing
from clv.money import money
from clv.snapshots import Shop, read_snapshots, stream_snapshots
from clv.sources.tables import literal
from clv.unknown import unknown_warnings
from clv.warehouse import DuckDBWarehouse
from experiments import prediction_history, total
from experiments.workspace import Workspace

if TYPE_CHECKING:
    from clv.forecast import Forecast
    from clv.level import Level
    from clv.predictor import Predictor

SUFFIXES = (".csv", ".parquet")

_ANSWERS = pa.schema(
    [
        ("customer_id", pa.string()),
        ("p_return", pa.float64()),
        ("value_if_return", pa.float64()),
        ("expected_value", pa.float64()),
        ("value_if_return_low", pa.float64()),
        ("value_if_return_high", pa.float64()),
        ("percentile", pa.float64()),
        ("as_of_date", pa.date32()),
        ("horizon_days", pa.int64()),
        ("scored_by", pa.string()),
    ]
)
"""What the table holds; all but the last three are in the file."""


@dataclass(frozen=True)
class Scorer:
    """What predicts.

    Attributes
    ----------
    answer
        From a frame of features to the answer's columns.
    vocabulary
        Values that it knows of each category; others count as missing.
    level_date
        The as-of day whose forecast its total was brought to.
    level
        That forecast in plain numbers, see :meth:`clv.level.Level.to_json`; None if it is not known.
    """

    answer: Callable[[pd.DataFrame], pd.DataFrame]
    level_date: date
    vocabulary: Mapping[str, Sequence[str]] = field(default_factory=dict)
    level: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ScoreResult:
    """What was written.

    Attributes
    ----------
    path
        The predictions file, None if there was to be none.
    customers
        Rows in it.
    expected_value
        What they are expected to spend together.
    expected_value_low, expected_value_high
        Its interval; None where none is known.
    interval_level
        Probability with which that interval holds what will come.
    currency, as_of_date, horizon_days
        Of what, and when: in the `horizon_days` after the as-of day.
    scored_by
        ``version N`` or the baseline that stood in.
    warnings
        Categories that the model has never seen, a total that the shop's own history speaks against or of which one
        customer makes up much, a model that is newer than the as-of day.
    """

    path: Path | None
    customers: int
    expected_value: float
    expected_value_low: float | None
    expected_value_high: float | None
    interval_level: float
    currency: str
    as_of_date: date
    horizon_days: int
    scored_by: str
    warnings: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What is expected of all customers together, in a sentence."""
        low, high = self.expected_value_low, self.expected_value_high
        ends = None if low is None or high is None else (low, high)
        return (
            f"Expected spend of these {self.customers:,} customers in the {self.horizon_days} days after "
            f"{self.as_of_date}: {total.amount(self.expected_value, ends, self.currency, self.interval_level)}."
        )


def check_predictions_path(path: Path) -> Path:
    """Return the absolute path.

    Raises
    ------
    InputError
        If its suffix is neither .csv nor .parquet, or it is a folder.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"Predictions file {path} has suffix {path.suffix!r}; expected .csv or .parquet.")
    if path.is_dir():
        raise InputError(f"Predictions file {path} is a folder; name a file.")
    return path.absolute()


def score(workspace: Workspace, *, predictions: Path | None = None, only_table: bool = False) -> ScoreResult:
    """Score with the model in stage Production.

    Parameters
    ----------
    predictions
        The file to write, ``predictions/predictions.csv`` in the home by default.
    only_table
        Write ``marts.customer_predictions`` and no file, unless one is named.

    Raises
    ------
    InputError
        If nothing is in Production, or its model is of another shop, horizon or contract.
    """
    target = check_predictions_path(predictions) if predictions else None
    shop = workspace.shop()
    version = workspace.registry.production()
    if version is None:
        raise InputError(_nothing_to_score_with(workspace, shop))
    predictor = load_predictor(workspace, version.number)
    check_same(predictor, workspace, shop, f"Version {version.number} in Production")
    if target is None and not only_table:
        target = default_path(workspace)
    return write(workspace, shop, scorer(predictor), f"version {version.number}", target)


def _nothing_to_score_with(workspace: Workspace, shop: Shop) -> str:
    """Why, and what to do about it: the newest version of this shop may wait for a person."""
    waiting = [version for version in workspace.registry.versions() if version.is_of(shop)]
    if not waiting:
        return "No model is in stage Production; train and promote one first with `clv train`, `clv promote`."
    number, is_refused = waiting[-1].number, waiting[-1].tags.get("clv.gate") == "refused"
    found = (
        f"the gate refused version {number}, and gate/version-{number}.html of its run says why; put it there all the "
        f"same with `clv promote {number} --force --reason WHY`, or train another one with `clv run`"
        if is_refused
        else f"version {number} is registered but not there; put it there with `clv promote {number}`"
    )
    return f"No model is in stage Production: {found}."


def default_path(workspace: Workspace) -> Path:
    """Where predictions go if nobody says otherwise."""
    return workspace.home.predictions / "predictions.csv"


def scorer(predictor: Predictor) -> Scorer:
    """The predictor as a scorer."""
    made = date.fromisoformat(predictor.about["as_of_date"])
    return Scorer(
        lambda frame: predictor.table(predictor.predict_parts(frame)),
        made,
        predictor.encoder.vocabulary,
        predictor.about.get("level"),
    )


def baseline_scorer(workspace: Workspace, shop: Shop, name: str) -> Scorer:
    """A baseline as a scorer, its total brought to the shop's forecast: of a single customer it knows no interval."""
    import numpy as np

    from clv.evaluation import fit_baseline
    from clv.level import INTERVAL_LEVEL
    from clv.predictor import at_level, percentile

    today = read_snapshots(workspace.warehouse, workspace.contract, [shop.as_of_date]).frame
    baseline = fit_baseline(name, workspace.snapshots(shop.cutoffs), today, shop.horizon_days)
    bare = baseline.predict_parts(today)
    level = _level(workspace, shop)
    factor = level.forecast.factor(bare)
    expected = at_level(bare, factor).expected_value
    # customers who are all alike are not ranked
    ranks = np.percentile(expected, np.arange(101)) if np.ptp(bare.expected_value) else np.empty(0)

    def answer(frame: pd.DataFrame) -> pd.DataFrame:
        parts = at_level(baseline.predict_parts(frame), factor)
        return pd.DataFrame(
            {
                "p_return": parts.p_return,
                "value_if_return": parts.value_if_return,
                "expected_value": parts.expected_value,
                "value_if_return_low": float("nan"),
                "value_if_return_high": float("nan"),
                "percentile": percentile(parts.expected_value, ranks),
            }
        )

    return Scorer(answer, shop.as_of_date, level=level.to_json(INTERVAL_LEVEL, factor))


def _level(workspace: Workspace, shop: Shop) -> Level:
    """What the shop as a whole will spend, by its own history."""
    from clv.level import fit_level

    return fit_level(workspace.ledger(shop), shop.as_of_date, shop.horizon_days)


def check_same(predictor: Predictor, workspace: Workspace, shop: Shop, what: str) -> None:
    """Refuse a model of another shop, horizon or contract.

    Raises
    ------
    InputError
        Saying which differs.
    """
    expected = {
        "shop_id": ("shop", shop.shop_id),
        "horizon_days": ("horizon", shop.horizon_days),
        "contract_fingerprint": ("feature contract", workspace.contract.fingerprint),
    }
    for key, (name, value) in expected.items():
        had = predictor.about[key]
        if had != value:
            is_horizon = key == "horizon_days"
            back = f", or return to the model's with `clv transform --horizon-days {had}`" if is_horizon else ""
            raise InputError(
                f"{what} was trained for {name} {had}, but the warehouse holds {name} {value}; train a model for it "
                f"with `clv train`{back}."
            )


def load_predictor(workspace: Workspace, version: str) -> Predictor:
    """The native model of a version; raises what :func:`load_model` raises."""
    predictor: Predictor = load_model(workspace, version).unwrap_python_model().predictor
    return predictor


def load_model(workspace: Workspace, version: str) -> Any:
    """A version as a service loads it: MLflow's model, with the native one inside.

    Raises
    ------
    UnavailableError
        If its artifacts can't be read.
    """
    import mlflow

    from experiments.tracking import MODEL

    workspace.tracker  # noqa: B018  (sets the store's address)
    try:
        with tempfile.TemporaryDirectory() as folder:  # MLflow's own copy of a remote model would stay on the disk
            # Without warnings about other versions of packages: to find them it would look at every package there is.
            model = mlflow.pyfunc.load_model(f"models:/{MODEL}/{version}", suppress_warnings=True, dst_path=folder)
            model.unwrap_python_model()
    except Exception as error:
        raise UnavailableError(
            f"Version {version} of model {MODEL} can't be loaded ({_cause(error)}); its artifacts must be reachable "
            f"and whole, and {tempfile.gettempdir()} must have space for a copy of them."
        ) from error
    return model


def _cause(error: Exception) -> str:
    """What went wrong in one line: MLflow's list of failed downloads has headings before it."""
    lines = str(error).strip().splitlines()
    headings = ("The following failures occurred while downloading", "##### File ")
    return masked(next((line for line in lines if not line.startswith(headings)), first_line(error)))


def write(workspace: Workspace, shop: Shop, scorer: Scorer, scored_by: str, path: Path | None) -> ScoreResult:
    """Score the as-of snapshot in batches; write ``marts.customer_predictions`` and, if it has a path, a file.

    The file is sorted by expected value, highest first, then by customer.
    """
    from clv.level import INTERVAL_LEVEL

    with (
        workspace.console.step("score") as step,
        workspace.home.writing("score"),
        disk_errors(path or workspace.home.root),
        _scratch(workspace) as (collected, connection),
    ):
        done, expected, largest = 0, 0.0, 0.0
        unknown: dict[str, set[str]] = {}
        with pa.ipc.new_stream(str(collected), _ANSWERS) as answers:
            for batch in _answers(workspace, shop, scorer, scored_by, unknown):
                answers.write_table(batch)
                done += batch.num_rows
                values = batch["expected_value"].to_numpy()
                expected, largest = expected + float(values.sum()), max(largest, float(values.max(initial=0.0)))
                step.update("", done, shop.customers)
        past = prediction_history.path_of(workspace.home, shop.as_of_date, shop.horizon_days, scored_by)
        has_seen_it = scorer.level_date > shop.as_of_date
        with (
            nullcontext() if path is None else replacing(path) as temporary,
            nullcontext() if has_seen_it else replacing(past) as kept,
        ):
            if path is not None and temporary is not None:
                connection.register("answers", _read(collected))
                _export(connection, temporary, path.suffix)
            if kept is not None:
                connection.register("answers", _read(collected))
                prediction_history.export(connection, "answers", shop.shop_id, kept)
            workspace.warehouse.write_table("marts", "customer_predictions", _read(collected), _ANSWERS)
        step.note = f"{done:,} customers by {scored_by} -> {path or 'marts.customer_predictions'}"
    warnings = unknown_warnings({name: sorted(values) for name, values in unknown.items() if values})
    if has_seen_it:
        warnings.append(
            f"The model's as-of day {scorer.level_date} is later than the shop's, {shop.as_of_date}: it has seen days "
            "that it predicts here, so these predictions are not kept for `clv monitor` and don't show how good it is."
        )
    if risk := total.dependence(largest, expected):
        warnings.append(risk)
    if scorer.level_date != shop.as_of_date:
        warnings += _old_level(_level(workspace, shop).forecast, expected, scorer.level_date, shop.currency)
    for warning in warnings:
        workspace.console.warn(warning)
    low, high = total.interval(scorer.level, expected) or (None, None)
    return ScoreResult(
        path=path,
        customers=done,
        expected_value=expected,
        expected_value_low=low,
        expected_value_high=high,
        interval_level=INTERVAL_LEVEL,
        currency=shop.currency,
        as_of_date=shop.as_of_date,
        horizon_days=shop.horizon_days,
        scored_by=scored_by,
        warnings=tuple(warnings),
    )


def _old_level(today: Forecast, expected: float, level_date: date, currency: str) -> list[str]:
    """A warning if predictions at the level of another day sum to what today's forecast holds for unlikely."""
    from clv.level import INTERVAL_LEVEL

    low, high = today.interval(INTERVAL_LEVEL)
    if low <= expected <= high:
        return []
    return [
        f"Season and drift are the model's, of {level_date}: predictions sum to {money(expected, 0)} {currency}, where "
        f"the shop's history says {money(today.total, 0)} ({money(low, 0)} to {money(high, 0)}); train a new model "
        "with `clv run`."
    ]


@contextmanager
def _scratch(workspace: Workspace) -> Iterator[tuple[Path, duckdb.DuckDBPyConnection]]:
    """Files of our own: one that collects the answers, for file and table are written when there are all; one to sort.

    Nothing is kept in DuckDB, for what it inserts it compresses and logs.
    """
    collected, sorter = (workspace.home.root / name for name in (".score.arrow", ".score.duckdb"))
    settings = workspace.settings
    remove(sorter)
    try:
        with DuckDBWarehouse(sorter, settings.threads, settings.memory_limit).connect(read_only=False) as connection:
            yield collected, connection
    finally:
        remove(sorter)
        remove(collected)


def _read(collected: Path) -> pa.RecordBatchReader:
    """The answers in batches; they are read once, so whoever wants them again opens them again."""
    return pa.ipc.open_stream(pa.OSFile(str(collected)))


def _answers(
    workspace: Workspace, shop: Shop, scorer: Scorer, scored_by: str, unknown: dict[str, set[str]]
) -> Iterator[pa.Table]:
    """Answers in batches; while one is predicted the next is read and the former written.

    Categories that the scorer doesn't know are added to `unknown`.
    """

    def work(frame: pd.DataFrame) -> pa.Table:
        columns = scorer.answer(frame)
        facts = {"as_of_date": shop.as_of_date, "horizon_days": shop.horizon_days, "scored_by": scored_by}
        return pa.table(
            {"customer_id": frame["customer_id"]}
            | {name: pa.array(column.to_numpy(), from_pandas=True) for name, column in columns.items()}  # NaN is null
            | {name: pa.repeat(value, len(frame)) for name, value in facts.items()},
            _ANSWERS,
        )

    threads = workspace.settings.threads
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[pa.Table]] = deque()
        for frame in stream_snapshots(workspace.warehouse, workspace.contract, shop.as_of_date):
            for name, known in scorer.vocabulary.items():
                unknown.setdefault(name, set()).update(set(frame[name].cat.categories) - set(known))
            waiting.append(pool.submit(work, frame))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _export(connection: duckdb.DuckDBPyConnection, path: Path, suffix: str) -> None:
    kind = "format csv, header" if suffix == ".csv" else "format parquet"
    connection.execute(
        "copy (select customer_id, p_return, value_if_return, expected_value, value_if_return_low, "
        "value_if_return_high, percentile from answers "
        f"order by expected_value desc, customer_id) to {literal(str(path))} ({kind})"
    )
