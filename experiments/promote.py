"""Promoting and rolling back: the gate, the report on the version, stage and alias together, the record."""

from __future__ import annotations

from clv.errors import InputError, RefusedError
from clv.evaluation import Evaluation
from experiments.gate import GateReport, gate
from experiments.page import html_page
from experiments.registry import Event, Version
from experiments.score import load_model
from experiments.tracking import MODEL, store_errors
from experiments.workspace import Workspace


def promote(
    workspace: Workspace,
    *,
    version: str | None,
    by: str,
    reason: str = "",
    force: bool = False,
    accept_too_good: str = "",
    evaluation: Evaluation | None = None,
) -> tuple[Event, GateReport]:
    """Run the gate on a version (the newest by default) and put it into Production if it passes.

    Raises
    ------
    InputError
        If there is no such version, it is in Production already, or `force` has no reason.
    RefusedError
        If the gate refuses it and `force` is not set.
    """
    if force and not reason:
        raise InputError("--force needs --reason, which is recorded.")
    registry = workspace.registry
    report = check(workspace, version=version, accept_too_good=accept_too_good, evaluation=evaluation)
    if not force:
        refuse(report)
    event = registry.set_production(
        report.candidate,
        kind="promote" if report.passed else "force",
        by=by,
        reason=reason or _why(report, accept_too_good),
        gate=report.to_json(),
        expected=report.former,
        check_expected=True,
    )
    return event, report


def _why(report: GateReport, accept_too_good: str) -> str:
    """Why a version went into Production, where nobody said."""
    if report.alarm:
        return f"accepted as true: {accept_too_good}"
    return "passed the gate" if report.is_judged else "passed the gate; its out-of-time test was not judged"


def check(
    workspace: Workspace,
    *,
    version: str | None,
    accept_too_good: str = "",
    evaluation: Evaluation | None = None,
) -> GateReport:
    """Run the gate on a version (the newest by default) and file its report with the version; promotes nothing.

    Raises
    ------
    InputError
        If there is no such version, or it is in Production already.
    """
    registry = workspace.registry
    candidate = registry.version(version) if version else registry.latest()
    staged = registry.production()
    if staged and staged.number == candidate.number:
        raise InputError(f"Version {candidate.number} is in Production already.")
    report = gate(workspace, candidate.number, evaluation, accept_too_good=accept_too_good)
    _file(workspace, candidate, report)
    return report


def refuse(report: GateReport) -> None:
    """Raise RefusedError if the gate refused the version."""
    if not report.passed:
        raise RefusedError(
            f"The gate refused version {report.candidate}: {report.failures}; see gate/version-{report.candidate}.html "
            "of its run, or use `clv promote --force --reason`."
        )


def _file(workspace: Workspace, candidate: Version, report: GateReport) -> None:
    """Put the report, its page and its figures into the candidate's run, and the verdict on the version."""
    client, name = workspace.registry.client, f"gate/version-{candidate.number}"
    figures = report.figures()
    page, title = report.to_markdown(), f"Gate report: version {candidate.number}"
    with store_errors(workspace.settings.tracking_uri):
        client.log_text(candidate.run_id, page, f"{name}.md")
        client.log_text(candidate.run_id, html_page(page, title, figures), f"{name}.html")
        for caption, figure in figures.items():
            client.log_figure(candidate.run_id, figure, f"{name}-{caption.split()[0].lower()}.png")
        verdict = "passed" if report.passed else "refused"
        client.set_model_version_tag(MODEL, candidate.number, "clv.gate", verdict)
        client.set_tag(candidate.run_id, "clv.gate", verdict)


def rollback(workspace: Workspace, *, by: str, reason: str = "") -> Event:
    """Return to the version that was in Production before.

    Raises
    ------
    InputError
        If there was none.
    UnavailableError
        If its artifacts can't be read, or somebody else changed Production meanwhile.
    """
    registry = workspace.registry
    staged = registry.production()
    version = registry.former()
    load_model(workspace, version)  # a version that lost its files would be no way back
    return registry.set_production(
        version,
        kind="rollback",
        by=by,
        reason=reason or "rolled back",
        expected=staged.number if staged else None,
        check_expected=True,
    )
