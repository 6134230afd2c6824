"""What errors say, on one line and without what nobody is to know."""

import json
import logging

import pytest

from serving.logs import JsonFormatter
from serving.messages import first_line


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("to http://user:s3cret@host:5000/api failed", "to http://***@host:5000/api failed"),
        ("(postgresql://user:s3/cr@et@host/x)", "(postgresql://***@host/x)"),
        ("'https://s3cret@host' is away", "'https://***@host' is away"),
        (
            "no alias at http://host:5000 for models:/clv@production",
            "no alias at http://host:5000 for models:/clv@production",
        ),
        ("\n  first\nsecond", "first"),
        ("", "ValueError"),
    ],
)
def test_one_line_without_passwords(said: str, told: str) -> None:
    assert first_line(ValueError(said)) == told


def test_no_password_in_the_log_either() -> None:
    try:
        raise OSError("http://user:s3cret@host is away")
    except OSError as error:
        trace = (type(error), error, error.__traceback__)
        record = logging.LogRecord("serving", logging.ERROR, "", 0, "failed: %s", (error,), trace)
    line = JsonFormatter().format(record)
    assert "s3cret" not in line
    assert json.loads(line)["message"] == "failed: http://***@host is away"
    assert "raise OSError" in json.loads(line)["trace"]
