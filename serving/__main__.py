"""``python -m serving``: the service alone, set by its environment; what the image runs."""

from __future__ import annotations

import argparse
import os
import sys

from clv.errors import ClvError
from serving.server import listen, serve
from serving.settings import ServingSettings


def main() -> int:
    """Serve until interrupted; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve the model in Production over HTTP.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on")
    arguments = parser.parse_args()
    try:
        serve(ServingSettings.from_environment(os.environ), listen(arguments.host, arguments.port))
    except ClvError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
