"""The dbt process: ``python -m clv._dbt ARGUMENTS``, started by :mod:`clv.transform` and by nobody else.

One process compiles the serving SQL and builds the marts, because starting dbt costs more than the work itself on a
small shop. It reports on standard output, one JSON object per line; dbt's own log goes to a file.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any


def main() -> int:
    """Compile, build, report; the exit code only says whether dbt ran at all."""
    arguments = json.loads(sys.argv[1])
    threading.Thread(target=_die_with_parent, daemon=True).start()
    from dbt.cli.main import dbtRunner

    common, options = arguments["common"], arguments["options"]
    parsed = dbtRunner().invoke([*common, "--no-write-json", "parse", *options])
    if not parsed.success:
        _say(event="crash", message=_what_went_wrong(parsed))
        return 1
    runner = dbtRunner(manifest=parsed.result, callbacks=[_report_progress])
    compiled = runner.invoke([*common, "--no-write-json", "compile", "--select", "serving_features", *options])
    if not compiled.success:
        _say(event="crash", message=_what_went_wrong(compiled))
        return 1
    built = runner.invoke([*common, "build", *options, *arguments["build"]])
    if built.exception:
        _say(event="crash", message=_what_went_wrong(built))
        return 1
    serving_sql = compiled.result.results[0].node.compiled_code
    _say(event="results", nodes=[_summary(result) for result in built.result.results], serving_sql=serving_sql)
    return 0


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


def _summary(result: Any) -> dict[str, Any]:
    node = result.node
    return {
        "name": node.name,
        "kind": str(node.resource_type),
        "schema": node.schema,
        "materialized": node.config.materialized if str(node.resource_type) == "model" else None,
        "models": [unique_id.split(".")[-1] for unique_id in node.depends_on.nodes if unique_id.startswith("model.")],
        "status": str(result.status),
        "seconds": result.execution_time,
        "failures": result.failures,
        "message": result.message,
        "sql": getattr(node, "compiled_code", None),
    }


if __name__ == "__main__":
    sys.exit(main())
