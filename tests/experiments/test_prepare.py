"""What the first steps say."""

from datetime import date
from types import SimpleNamespace

import pytest

from experiments.console import Console
from experiments.prepare import LONG_SILENCE_DAYS, transform


@pytest.mark.parametrize("silence", [-5, LONG_SILENCE_DAYS, LONG_SILENCE_DAYS + 1])
def test_a_long_silence_before_the_as_of_day_is_told(silence: int, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    as_of = date(2026, 10, 1)
    report = SimpleNamespace(
        as_of_date=as_of,
        last_purchase_date=date.fromordinal(as_of.toordinal() - silence),
        horizon_days=90,
        snapshot_count=1,
        cutoffs=(as_of,),
        tests=(),
        changes="nothing",
    )
    monkeypatch.setattr("clv.transform.transform", lambda *_, **__: report)
    workspace = SimpleNamespace(console=Console(quiet=True), settings=None)
    assert transform(workspace, as_of_date=as_of, horizon_days=90) is report  # type: ignore[arg-type,comparison-overlap]
    told = " ".join(capsys.readouterr().err.split())
    assert (f"{silence} days after the last purchase" in told) == (silence > LONG_SILENCE_DAYS)
