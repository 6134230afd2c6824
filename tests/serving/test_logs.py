"""The log: JSON, and nothing in it that nobody is to know."""

import json
import logging

from serving.logs import JsonFormatter


def test_no_password_in_the_log() -> None:
    try:
        raise OSError("http://user:s3cret@host is away")
    except OSError as error:
        trace = (type(error), error, error.__traceback__)
        record = logging.LogRecord("serving", logging.ERROR, "", 0, "failed: %s", (error,), trace)
    line = JsonFormatter().format(record)
    assert "s3cret" not in line
    assert json.loads(line)["message"] == "failed: http://***@host is away"
    assert "raise OSError" in json.loads(line)["trace"]
