"""The dbt process: ``python -m clv._dbt ARGUMENTS``, started by :mod:`clv.dbt_runner` and by nobody else.

One process compiles the serving SQL and builds the marts, because starting dbt costs more than the work itself on a
small shop. It reports on standard output, one JSON object per line; dbt's own log goes to a file.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from typing import Any


def main() -> int:
    """Compile the SELECT that a model carries, run the command; the exit code only says whether dbt ran at all."""
    arguments = json.loads(sys.argv[1])
    gc.disable()  # a fifth of dbt's time goes into counting objects that live as long as this process
    threading.Thread(target=_die_with_parent, daemon=True).start()
    from dbt.cli.main import dbtRunner

    def invoke(command: list[str], target: str, variables: str, manifest: Any = None) -> Any:
        # Each target has its own folder, so that what dbt has parsed can be used the next time.
        folder = arguments["target_path"] if target == "duckdb" else f"{arguments['target_path']}/{target}"
        options = [*arguments["options"], "--target", target, "--target-path", folder, "--vars", variables]
        outcome = dbtRunner(manifest=manifest, callbacks=[_report_progress]).invoke(
            [*arguments["common"], *command, *options]
        )
        if outcome.exception or (not outcome.success and command[-1] in ("parse", "serving_features")):
            raise Failure(_what_went_wrong(outcome))
        return outcome.result

    parse = ["--no-write-json", "parse"]
    target, command, variables = arguments["target"], arguments["command"], arguments["variables"]
    try:
        manifest = invoke(parse, target, variables)
        serving_sql = None
        if command[0] == "build":
            # It is DuckDB's whatever the target, and no variable is in it: elsewhere dbt parses with none, only once.
            duckdb = (manifest, variables) if target == "duckdb" else (invoke(parse, "duckdb", "{}"), "{}")
            select = ["--no-write-json", "compile", "--select", "serving_features"]
            serving_sql = invoke(select, "duckdb", duckdb[1], duckdb[0]).results[0].node.compiled_code
        result = invoke(command, target, variables, manifest)
    except Failure as failure:
        _say(event="crash", message=str(failure))
        return 1
    ran = [] if command[0] == "docs" else result.results
    nodes = [summary(found) for found in ran if found.node.resource_type in ("model", "test", "unit_test")]
    _say(event="results", nodes=nodes, serving_sql=serving_sql)
    return 0


class Failure(Exception):
    """What dbt said when it could not go on."""


def _die_with_parent() -> None:
    """End at once when the parent is gone, so that nobody writes to a file that the next call has made anew."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def _say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message, default=str) + "\n")
    sys.stdout.flush()


def _report_progress(event: Any) -> None:
    if event.info.name in ("LogModelResult", "LogTestResult", "LogUnitTestResult"):
        data = event.data
        _say(
            event="node",
            name=data.node_info.node_name,
            index=data.index,
            total=getattr(data, "num_models", None) or data.total,
        )


def _what_went_wrong(outcome: Any) -> str:
    if outcome.exception:
        return str(outcome.exception)
    return "; ".join(str(result.message) for result in outcome.result.results if result.message)


def summary(result: Any) -> dict[str, Any]:
    """What the parent needs to know of a model or test."""
    node = result.node
    kind = str(node.resource_type)
    return {
        "name": node.name,
        "kind": kind,
        "schema": node.schema,
        "materialized": node.config.materialized if kind == "model" else None,
        "relation": getattr(node, "relation_name", None),
        "models": [unique_id.split(".")[-1] for unique_id in node.depends_on.nodes if unique_id.startswith("model.")],
        "status": str(result.status),
        "seconds": result.execution_time,
        "failures": result.failures,
        "message": result.message,
        "sql": getattr(node, "compiled_code", None),
    }


if __name__ == "__main__":
    sys.exit(main())
