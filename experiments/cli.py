"""The command line ``clv``: arguments only; each verb calls the room that does the work.

Exit codes: 0 done, 1 our bug, 2 the user's input, 3 refused by the gate, 4 warehouse, registry or network not
reachable.
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
import shlex
import signal
import sys
import tempfile
import traceback
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from clv import __version__
from clv.errors import ClvError, InputError, UnavailableError, masked
from clv.home import Home, replacing
from clv.settings import Settings
from experiments.column_options import with_columns
from experiments.console import Console
from experiments.workspace import Workspace

app = typer.Typer(
    name="clv",
    help="Customer lifetime value, end to end: raw shop files to a served prediction.\n\n"
    "Start with `clv demo`, or with your own data: `clv run PATH --source transactions`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Source = Literal["olist", "transactions"]

DATA, MODELS, PEOPLE = "Data", "Models", "Looking at it"

_INTERRUPTED = 130

_DISK = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def _day(text: str) -> date | None:
    """A day; empty means not given, as a parameter of an MLproject can't be left out."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day; expected YYYY-MM-DD") from None


def _horizon(text: str) -> int:
    """A number of days, refused before any work if it is none."""
    try:
        days = int(text)
    except ValueError:
        days = 0
    if days < 1:
        raise typer.BadParameter(f"{text} is not a number of days; expected 1 or more")
    return days


def _horizon_if_given(text: str) -> int | None:
    """The same; empty means not given."""
    return _horizon(text) if text else None


def _file(text: str) -> Path | None:
    """A file to write; empty means not given."""
    if text and Path(text).is_dir():
        raise typer.BadParameter(f"{text} is a folder; expected the name of a file")
    return Path(text) if text else None


def _cutoffs(text: str) -> Any:
    """A choice of cutoffs; empty means not given."""
    from experiments.choices import Cutoffs

    try:
        return Cutoffs.parse(text) if text else None
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a number nor days; expected 3 or 2018-01-31,2018-02-28"
        ) from None


def _horizons(text: str) -> tuple[int, ...]:
    """Numbers of days; empty means not given."""
    return tuple(_horizon(days) for days in text.split(",")) if text else ()


def _given(text: str) -> str | None:
    """A text; empty means not given."""
    return text or None


Paths = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH...", help="Olist: Kaggle zip, folder or its CSVs. Transactions: CSVs, Parquet files or a folder."
    ),
]
Source_ = Annotated[Source, typer.Option("--source", help="What kind of raw data PATH holds.")]
Horizon = Annotated[
    int, typer.Option("--horizon-days", parser=_horizon, metavar="DAYS", help="Days ahead to predict, 1 or more.")
]
MartsHorizon = Annotated[
    int | None,
    typer.Option(
        "--horizon-days",
        parser=_horizon_if_given,
        metavar="DAYS",
        help="Days ahead to predict; by default what the marts were built with, at first 90.",
    ),
]
AsOf = Annotated[
    date | None,
    typer.Option("--as-of", parser=_day, metavar="DATE", help="Last day of the history; later rows are not used."),
]
ReplaceShop = Annotated[bool, typer.Option("--replace-shop", help="Replace the shop in this home by another one.")]
Trials = Annotated[int, typer.Option("--trials", min=1, help="Optuna trials; the first two have default parameters.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Trials in parallel.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the last search on the same data.")]
By = Annotated[str | None, typer.Option("--by", help="Who does this; your user name by default.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; recorded.")]
AcceptTooGood = Annotated[
    str,
    typer.Option(
        "--accept-too-good", metavar="REASON", help="Why a result that looks too good to be true is; recorded."
    ),
]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")]
Version = Annotated[
    str | None,
    typer.Option("--version", parser=_given, metavar="VERSION", help="Model version; Production's by default."),
]
FromRun = Annotated[
    str | None, typer.Option("--from-run", parser=_given, metavar="RUN_ID", help="Tuning run whose recipe to take.")
]
RecipeText = Annotated[
    str | None,
    typer.Option("--recipe", parser=_given, metavar="FILE|JSON", help="Recipe as JSON; what it leaves out is untuned."),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Set one hyper-parameter, on top of the recipe."),
]
TestCutoffs = Annotated[
    Any,
    typer.Option("--cutoffs", parser=_cutoffs, metavar="N|DAYS", help="The latest N, or days: 2018-01-31,2018-02-28."),
]
Horizons = Annotated[
    Any,
    typer.Option("--horizons", parser=_horizons, metavar="DAYS,...", help="Days ahead, such as 30,90; the marts'."),
]
Predictions = Annotated[
    Path | None,
    typer.Option("--predictions", parser=_file, metavar="FILE", help="Where to write predictions: .csv or .parquet."),
]


@app.callback()
def main_options(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="Folder of all state. [env: CLV_HOME; default: ./.clv]")] = None,
    warehouse: Annotated[
        str | None, typer.Option(help="duckdb:///PATH or bigquery://PROJECT/DATASET. [env: CLV_WAREHOUSE]")
    ] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow store. [env: MLFLOW_TRACKING_URI]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw. [env: CLV_SEED]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no steps.")] = False,
) -> None:
    """Read the settings; nothing is opened yet."""
    settings = Settings.from_environment(
        os.environ, home=home, warehouse=warehouse, tracking_uri=tracking_uri, seed=seed
    )
    os.environ["CLV_HOME"] = str(settings.home)  # children and the log of a bug go by it, also after --home
    console = Console(quiet=quiet, as_json=as_json)
    context.obj = Workspace(settings, console, os.environ.pop("MLFLOW_RUN_ID", None))


@app.command(rich_help_panel=DATA)
def init(context: typer.Context) -> None:
    """Create home, warehouse folder, MLflow store and experiment; every writing verb does it by itself."""
    workspace = _workspace(context)
    workspace.warehouse  # noqa: B018  (told now if its address is none)
    workspace.tracker  # noqa: B018  (opens home and store)
    _done(workspace, {"home": workspace.home.root}, f"Home {workspace.home.root} is ready.")


@app.command(rich_help_panel=DATA)
@with_columns
def load(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH...", help="Raw files; see `clv run --help`.")
    ] = None,
    source: Source_ = "olist",
    download: Annotated[bool, typer.Option("--download", help="Fetch Olist with kagglehub; needs internet.")] = False,
    append: Annotated[bool, typer.Option("--append", help="Add to what is loaded: upsert by order id.")] = False,
    replace_shop: ReplaceShop = False,
    *,
    columns: Any,
) -> None:
    """Check raw files and load them into the warehouse, all or nothing."""
    from experiments import prepare

    workspace = _workspace(context)
    if download:
        if paths or source != "olist":
            raise InputError("--download fetches Olist; give it without PATH and without --source transactions.")
        from clv.sources.download import download_olist

        paths = [download_olist()]
    if not paths:
        raise InputError("Name the raw files (`clv load PATH`), or let `clv load --download` fetch Olist.")
    report = prepare.load(workspace, paths, source=source, columns=columns, append=append, replace_shop=replace_shop)
    _done(workspace, report, f"Loaded; next: clv transform (as-of day {report.as_of_date}).")


@app.command(rich_help_panel=DATA)
def transform(
    context: typer.Context,
    horizon_days: MartsHorizon = None,
    as_of: AsOf = None,
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="Rebuild everything.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="BigQuery: bytes it would scan and their price.")] = False,
) -> None:
    """Build and test the marts with dbt; a failed test leaves the last good marts."""
    from experiments import prepare

    workspace = _workspace(context)
    if dry_run:
        from clv.transform import dry_run as ask

        asked = ask(workspace.settings, as_of_date=as_of, horizon_days=horizon_days, full_refresh=full_refresh)
        _done(
            workspace,
            asked,
            f"About {asked.scanned_bytes:,} bytes, billed {asked.billed_bytes:,}: {asked.price:.4f} USD.",
        )
        return
    report = prepare.transform(workspace, as_of_date=as_of, horizon_days=horizon_days, full_refresh=full_refresh)
    _done(workspace, report, "Next: clv tune, or clv train.")


@app.command("setup-bigquery", rich_help_panel=DATA)
def setup_bigquery(
    context: typer.Context,
    project: Annotated[str, typer.Option("--project", help="Google Cloud project.")],
    dataset: Annotated[str, typer.Option("--dataset", help="Name the datasets begin with.")] = "clv",
    location: Annotated[str, typer.Option("--location", help="Where the data are kept, such as US or EU.")] = "US",
) -> None:
    """Create the BigQuery datasets, then use them with --warehouse bigquery://PROJECT/DATASET."""
    from clv.warehouse.bigquery import setup_bigquery as create

    workspace = _workspace(context)
    address = f"bigquery://{project}/{dataset}"
    settings = workspace.settings.model_copy(update={"warehouse": address, "bigquery_location": location})
    datasets = create(settings)
    _done(workspace, {"datasets": datasets}, f"Ready: {', '.join(datasets)}; next: clv --warehouse {address} load PATH")


@app.command(rich_help_panel=DATA)
def forget(
    context: typer.Context,
    customer_id: Annotated[str, typer.Argument(metavar="CUSTOMER_ID", help="Who is to be forgotten.")],
    prediction_log: Annotated[
        list[Path] | None,
        typer.Option("--prediction-log", metavar="FOLDER", help="Folder in which a service logs its answers."),
    ] = None,
) -> None:
    """Remove a person from raw data, marts, predictions and logs."""
    from clv.forget import forget as erase

    workspace = _workspace(context)
    folders = [folder for folder in prediction_log or [] if str(folder) != "warehouse"]  # that one is found anyway
    report = erase(workspace.settings, customer_id, prediction_logs=folders)
    _done(workspace, report, f"Removed {sum(report.rows.values()):,} rows and {len(report.files)} files' traces.")


@app.command(rich_help_panel=PEOPLE)
def docs(context: typer.Context) -> None:
    """Write the documentation of models, columns, tests and lineage as one page, and open it."""
    from clv.transform import docs as write

    workspace = _workspace(context)
    page = write(workspace.settings)
    if sys.stdout.isatty():
        typer.launch(page.as_uri())
    _done(workspace, {"page": page}, f"Documentation: {page}")


@app.command(rich_help_panel=DATA)
def synth(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to write it: a new folder, or a former shop's.")
    ],
    customers: Annotated[int, typer.Option(min=100, help="Number of customers.")] = 20_000,
    repeat_rate: Annotated[float, typer.Option(help="Share of customers who buy on two days or more.")] = 0.2,
    shape: Annotated[
        Literal["olist", "transactions"], typer.Option(help="Olist's tables, or one transaction log.")
    ] = "olist",
    horizon_days: Horizon = 90,
) -> None:
    """Write a synthetic shop, and beside it the true expected value of every customer."""
    from clv.synth import write_shop

    workspace = _workspace(context)
    with workspace.console.step("synth") as step:
        summary = write_shop(
            folder,
            customers=customers,
            repeat_rate=repeat_rate,
            shape=shape,
            seed=workspace.settings.seed,
            horizon_days=horizon_days,
            progress=lambda done, total: step.update("", done, total),
        )
        step.note = f"{summary.customers:,} customers, {summary.orders:,} orders -> {folder}"
    _done(
        workspace,
        summary,
        f"Synthetic shop in {summary.data}; its truth is in {summary.truth}.\n"
        f"Next: clv run {shlex.quote(str(summary.data))} --source {shape}",
    )


@app.command(rich_help_panel=MODELS)
def tune(
    context: typer.Context,
    trials: Trials = 20,
    budget: Annotated[float | None, typer.Option(min=1, help="Start no further trial after these seconds.")] = None,
    jobs: Jobs = 1,
    resume: Resume = False,
) -> None:
    """Search hyper-parameters by rolling-origin cross-validation; every trial is a run."""
    from experiments.tune import tune as search

    workspace = _workspace(context)
    result = search(workspace, trials=trials, budget_seconds=budget, jobs=jobs, resume=resume)
    hint = f"clv train --from-run {result.run_id}" if result.run_id else "clv train"
    _done(workspace, result, f"{result.note + ' ' if result.note else ''}Next: {hint}")


@app.command(rich_help_panel=MODELS)
def train(
    context: typer.Context,
    from_run: FromRun = None,
    recipe: RecipeText = None,
    parameter: Parameters = None,
) -> None:
    """Test a recipe out of time, refit it on every closed label, and register the model."""
    from experiments import report
    from experiments.choices import chosen_recipe
    from experiments.protocol import untuned_recipe
    from experiments.train import train as fit

    workspace = _workspace(context)
    named = from_run or recipe or parameter
    chosen = (
        chosen_recipe(workspace, from_run=from_run, recipe=recipe, parameters=parameter or [])
        if named
        else untuned_recipe(workspace)
    )
    result = fit(workspace, recipe=chosen)
    report.show(workspace.console, result.facts)
    facts = {"version": result.version, "run_id": result.run_id, "evaluation": result.facts}
    _done(workspace, facts, f"Registered version {result.version}; next: clv promote {result.version}")


@app.command(rich_help_panel=MODELS)
def evaluate(
    context: typer.Context,
    version: Version = None,
    from_run: FromRun = None,
    recipe: RecipeText = None,
    parameter: Parameters = None,
    cutoffs: TestCutoffs = None,
) -> None:
    """Test a recipe (a version's, a tuning run's or your own) out of time, without registering anything."""
    from experiments import report
    from experiments.choices import chosen_recipe
    from experiments.evaluate import evaluate as test

    workspace = _workspace(context)
    chosen = chosen_recipe(workspace, version=version, from_run=from_run, recipe=recipe, parameters=parameter or [])
    run_id, facts = test(workspace, chosen, cutoffs)
    report.show(workspace.console, facts)
    _done(workspace, {"run_id": run_id, "evaluation": facts}, f"Logged as run {run_id}.")


@app.command(rich_help_panel=MODELS)
def backtest(
    context: typer.Context,
    version: Version = None,
    from_run: FromRun = None,
    recipe: RecipeText = None,
    parameter: Parameters = None,
    cutoffs: TestCutoffs = None,
    horizons: Horizons = None,
) -> None:
    """Test a recipe over the whole history: how steady it is, and after how long to train again."""
    from experiments import backtest as testing
    from experiments.choices import chosen_recipe

    workspace = _workspace(context)
    chosen = chosen_recipe(workspace, version=version, from_run=from_run, recipe=recipe, parameters=parameter or [])
    result = testing.backtest(workspace, chosen, cutoffs=cutoffs, horizons=horizons or ())
    testing.show(workspace.console, result)
    line = f"Logged as run {result.run_id}" + (f", and with version {result.version}." if result.version else ".")
    _done(workspace, {"run_id": result.run_id, "version": result.version, **result.facts}, line)


@app.command(rich_help_panel=MODELS)
def promote(
    context: typer.Context,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="The newest by default.")] = None,
    by: By = None,
    reason: Reason = "",
    force: Annotated[bool, typer.Option("--force", help="Promote although the gate refuses; needs --reason.")] = False,
    accept_too_good: AcceptTooGood = "",
    repair: Annotated[bool, typer.Option("--repair", help="Make the alias follow the stage.")] = False,
    check_only: Annotated[bool, typer.Option("--check", help="Run the gate only: nothing is promoted.")] = False,
    page: Annotated[
        Path | None,
        typer.Option("--report", parser=_file, metavar="FILE", help="With --check: its report in Markdown."),
    ] = None,
) -> None:
    """Run the gate on a version and put it into Production if it passes; exit code 3 if it does not."""
    from experiments import promote as promoting

    workspace = _workspace(context)
    if repair and (version or check_only or force):
        raise InputError(
            "--repair only makes the alias follow the stage; give it without VERSION, --check and --force."
        )
    if page and not check_only:
        raise InputError("--report needs --check: it is the report of the gate alone.")
    if repair:
        event = workspace.registry.repair(_who(by))
        _done(workspace, event, "Repaired." if event else "Stage and alias agree; nothing to repair.")
        return
    if check_only:
        judged = promoting.check(workspace, version=version, accept_too_good=accept_too_good)
        if page:
            with replacing(page) as written:
                written.write_text(judged.to_markdown(), encoding="utf-8")
        promoting.refuse(judged)
        _done(workspace, judged.to_json(), f"Version {judged.candidate} passes the gate; nothing was promoted.")
        return
    event, report = promoting.promote(
        workspace, version=version, by=_who(by), reason=reason, force=force, accept_too_good=accept_too_good
    )
    for check in report.checks:
        workspace.console.check(check.passed, f"{check.name}: {check.detail}")
    _done(workspace, event, f"Version {event.version} is in Production (before: {event.former or 'none'}).")


@app.command(rich_help_panel=MODELS)
def rollback(context: typer.Context, by: By = None, reason: Reason = "") -> None:
    """Return to the version that was in Production before."""
    from experiments.promote import rollback as back

    workspace = _workspace(context)
    event = back(workspace, by=_who(by), reason=reason)
    _done(workspace, event, f"Version {event.version} is in Production again (before: {event.former}).")


@app.command(rich_help_panel=MODELS)
def history(context: typer.Context) -> None:
    """Who put which version into Production, when and why."""
    workspace = _workspace(context)
    events = workspace.registry.history()
    staged = workspace.registry.production()
    rows = [[e.at, e.kind, e.former or "-", e.version or "-", e.by, e.reason] for e in events]
    if events:
        workspace.console.table("Production", ["when (UTC)", "what", "from", "to", "who", "why"], rows)
    aliased = workspace.registry.aliased()
    if staged and aliased != staged.number:
        workspace.console.warn(
            f"Stage Production holds version {staged.number}, alias production {aliased or 'none'}; the stage "
            "is served. `clv promote --repair` mends it."
        )
    _done(workspace, [asdict(e) for e in events], "" if events else "Nothing has been promoted yet.")


@app.command(rich_help_panel=MODELS)
def score(
    context: typer.Context,
    predictions: Predictions = None,
    table: Annotated[bool, typer.Option("--table", help="Only the table, and no file unless one is named.")] = False,
) -> None:
    """Predict every customer with the model in Production; writes a file and the table marts.customer_predictions."""
    from experiments.score import score as predict

    workspace = _workspace(context)
    result = predict(workspace, predictions=predictions, only_table=table)
    where = f"{result.customers:,} predictions in {result.path or 'marts.customer_predictions'}"
    _done(workspace, result, f"{result.summary}\n{where}")


@app.command(rich_help_panel=MODELS)
def monitor(
    context: typer.Context,
    prediction_log: Annotated[
        list[str] | None,
        typer.Option("--prediction-log", metavar="FOLDER|warehouse", help="Where a service logs its answers."),
    ] = None,
) -> None:
    """Did it come true? Exit code 3 if predictions, inputs or the model's age are out of bounds."""
    from experiments import monitor_page
    from experiments.monitor import monitor as watch
    from experiments.monitor import refuse

    workspace = _workspace(context)
    report = watch(workspace, prediction_logs=[log for log in prediction_log or [] if log])
    monitor_page.show(workspace.console, report)
    line = f"Logged as run {report.run_id}."
    _done(workspace, monitor_page.facts(report), line if report.failures else f"{report.verdict} {line}")
    refuse(report)


@app.command(rich_help_panel=DATA)
@with_columns
def run(
    context: typer.Context,
    paths: Paths,
    source: Source_ = "olist",
    horizon_days: Horizon = 90,
    as_of: AsOf = None,
    predictions: Predictions = None,
    replace_shop: ReplaceShop = False,
    trials: Trials = 12,
    jobs: Jobs = 1,
    resume: Resume = False,
    by: By = None,
    accept_too_good: AcceptTooGood = "",
    *,
    columns: Any,
) -> None:
    """Do it all: load, transform, tune, train, gate, promote, score."""
    from experiments import report
    from experiments.run import run as chain

    workspace = _workspace(context)
    result = chain(
        workspace,
        paths,
        source=source,
        columns=columns,
        horizon_days=horizon_days,
        as_of_date=as_of,
        predictions=predictions,
        replace_shop=replace_shop,
        trials=trials,
        jobs=jobs,
        resume=resume,
        by=_who(by),
        accept_too_good=accept_too_good,
    )
    report.show(workspace.console, result.trained.facts)
    if result.refused:
        bare = "" if result.scored.scored_by.startswith("version") else ", which knows no interval of a single customer"
        workspace.console.warn(f"{result.refused} Predictions are by {result.scored.scored_by}{bare}.")
    facts = {
        "version": result.trained.version,
        "run_id": result.trained.run_id,
        "predictions": result.scored.path,
        "customers": result.scored.customers,
        "expected_value": result.scored.expected_value,
        "expected_value_low": result.scored.expected_value_low,
        "expected_value_high": result.scored.expected_value_high,
        "interval_level": result.scored.interval_level,
        "currency": result.scored.currency,
        "scored_by": result.scored.scored_by,
        "refused": result.refused,
        "evaluation": result.trained.facts,
    }
    _done(
        workspace,
        facts,
        f"{result.scored.summary}\n"
        f"{result.scored.customers:,} predictions by {result.scored.scored_by} in {result.scored.path}\n"
        "Look at it: clv ui (MLflow), clv serve (API), clv app (Streamlit)",
    )


@app.command(rich_help_panel=MODELS)
def export(
    context: typer.Context,
    version: Version = None,
    kind: Annotated[
        Literal["pkl", "ubj"], typer.Option("--format", help="pkl: one pickle; ubj: zip of the model folder.")
    ] = "pkl",
    path: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Where to write it.")] = None,
) -> None:
    """Write a model version to one file that works without clv. A pickle runs code when loaded: trust its maker."""
    from experiments.export import export as write

    workspace = _workspace(context)
    target = write(workspace, version=version, kind=kind, path=path)
    _done(workspace, {"path": target}, f"Wrote {target}")


@app.command(rich_help_panel=PEOPLE)
def demo(
    context: typer.Context,
    customers: Annotated[int, typer.Option(min=1000, help="Customers of the synthetic shop.")] = 20_000,
) -> None:
    """Show everything on a synthetic shop: files to a prediction asked over HTTP, in a few minutes."""
    from experiments.demo import demo as show

    workspace = _workspace(context)
    _done(workspace, show(workspace, customers=customers), "")


@app.command(rich_help_panel=PEOPLE)
def serve(
    context: typer.Context,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8000,
) -> None:
    """Serve the model in Production over HTTP; its documentation is at /docs."""
    from experiments.servers import serve as start

    start(_workspace(context), host, port)


@app.command("app", rich_help_panel=PEOPLE)
def open_app(context: typer.Context, host: Host = "127.0.0.1", port: Port = 8501) -> None:
    """Start the Streamlit app; it talks to CLV_API_URL, or to an API it starts itself."""
    from experiments.servers import open_app as start

    start(_workspace(context), host, port)


@app.command(rich_help_panel=PEOPLE)
def ui(context: typer.Context, port: Port = 5000) -> None:
    """Start the MLflow UI on this home's runs and models."""
    from experiments.servers import open_ui as start

    start(_workspace(context), port)


@app.command(rich_help_panel=PEOPLE)
def version(context: typer.Context) -> None:
    """Print the version of clv."""
    _done(_workspace(context), {"version": __version__}, __version__)


def main() -> None:
    """Entry point: run the verb, turn errors into one sentence and an exit code."""
    quieten()
    gc.set_threshold(50_000)  # imports make a million objects, none of them garbage: half a second sooner
    try:
        code = app(standalone_mode=False)  # verbs return nothing: it is what typer made of an Exit, or of Ctrl-C
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            sys.exit(code)
    except typer.Exit as leaving:
        sys.exit(leaving.exit_code)
    except (typer.Abort, KeyboardInterrupt) as stop:
        if isinstance(stop.__cause__, EOFError):  # click takes it for the end of input, which we never read
            _report_bug(stop.__cause__)
        _complain(
            "Interrupted; what was finished is kept, and the same command can be given again (`clv run` and `clv tune` "
            "with --resume, to go on with their search)."
        )
        sys.exit(_INTERRUPTED)
    except ClvError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's usage errors
            if error.format_message():  # none where the help is shown instead
                _complain(_usage(error))
            sys.exit(error.exit_code)
        if isinstance(error, OSError) and error.errno in _DISK:
            where = error.filename or f"A file in {os.environ.get('CLV_HOME', '.clv')} or in {tempfile.gettempdir()}"
            _complain(
                f"{where} can't be written ({error.strerror}); see to space and permissions, then give the command "
                "again."
            )
            sys.exit(UnavailableError.exit_code)
        _report_bug(error)
    finally:
        atexit.register(gc.disable)  # no last look for garbage: all memory is given back anyway
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # all is said; a late Ctrl-C changes nothing


def _workspace(context: typer.Context) -> Workspace:
    return context.ensure_object(Workspace)


def _who(by: str | None) -> str:
    from experiments.tracking import user

    return by or user()


def _done(workspace: Workspace, result: Any, line: str) -> None:
    workspace.console.result(asdict(result) if is_dataclass(result) and not isinstance(result, type) else result)
    if line:
        workspace.console.say(line)


def _complain(sentence: str) -> None:
    """One line without passwords, whatever a library's message looks like."""
    typer.secho(f"Error: {masked(' '.join(sentence.split()))}", err=True, fg=typer.colors.RED)


def _usage(error: Any) -> str:
    """What is wrong with the arguments, and where they are described."""
    said, context = error.format_message().rstrip("."), getattr(error, "ctx", None)
    if context is None:
        return f"{said}; see `clv --help`."
    name = getattr(error, "option_name", None)  # of an option that the verb doesn't have
    for option in context.find_root().command.params:
        if name in option.opts:
            value = "" if option.is_flag else " ..."
            return f"Give {name} before the verb: `clv {name}{value} {context.info_name} ...`."
    return f"{said}; see `{context.command_path} --help`."


def _report_bug(error: BaseException) -> NoReturn:
    _complain(f"Internal error, please report it: {type(error).__name__}: {error} (details in {_log_bug()})")
    sys.exit(1)


def _log_bug() -> Path:
    """Write the traceback where a report can quote it: into the home, or where that can't be written, elsewhere."""
    name = f"error-{datetime.now():%Y%m%d-%H%M%S}.log"
    home = Path(os.environ.get("CLV_HOME", ".clv"))
    for folder in (Home(home).logs, Path(tempfile.gettempdir())):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(masked(traceback.format_exc()), encoding="utf-8")
            return folder / name
    return Path("nowhere: no log could be written")


def quieten() -> None:
    """MLflow shall neither show its own bars and news nor wait for minutes for a server that is down."""
    # XGBoost's threads would spin while they wait for each other: on a busy machine that is ten times slower. It is
    # read when the library is loaded, hence here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")


if __name__ == "__main__":
    main()
