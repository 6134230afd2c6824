"""A store's address may hold a password: nobody is to read it on a screen or in a log."""

from pathlib import Path

import pytest

from clv.errors import UnavailableError
from experiments import cli
from experiments.tracking import store_errors


@pytest.mark.parametrize(
    ("address", "code"),
    [("http://bob:s3cretpw@127.0.0.1:9", 4), ("nope://bob:s3cretpw@host/x", 2)],
    ids=["away", "of no known kind"],
)
def test_a_store_is_named_without_its_password(address: str, code: int, lab, clv) -> None:
    answer = clv(lab.home, "--tracking-uri", address, "history")
    answer.refused(code, f"{address.partition('bob')[0]}***@")
    assert "s3cretpw" not in answer.err


def test_what_the_store_says_is_told_without_passwords() -> None:
    from sqlalchemy.exc import OperationalError

    address = "postgresql://bob:s3cretpw@host/x"
    told = r"^MLflow store postgresql://\*\*\*@host/x can't .*no answer from postgresql://\*\*\*@host/x$"
    with pytest.raises(UnavailableError, match=told), store_errors(address):
        raise OperationalError(None, None, Exception(f"no answer from {address}"))


def test_a_bug_is_told_and_logged_without_passwords(clv, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("http://bob:s3cretpw@host")

    monkeypatch.setattr(cli, "_workspace", broken)
    answer = clv(tmp_path / "home", "history")
    answer.refused(1, "Internal error", "http://***@host")
    (log,) = (tmp_path / "home" / "logs").glob("error-*.log")
    assert "s3cretpw" not in log.read_text()
    assert "RuntimeError: http://***@host" in log.read_text()
