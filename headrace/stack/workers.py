"""Headrace's own services as processes of the stack."""

import json
import sys
from pathlib import Path

import headrace
from headrace.errors import TransientError
from headrace.stack import http
from headrace.stack.plan import HOST, Plan, Spec

# name: (arguments of python -m, what must serve before it starts)
WORKERS = {
    "bridge": (["bridge"], ("mosquitto", "kafka", "registry", "store")),
    "clean": (["processors", "clean"], ("kafka", "registry")),
    "archive": (["processors", "archive"], ("kafka", "registry", "store")),
}


def specs(plan: Plan) -> list[Spec]:
    """One for each, ready when its /readyz says so."""
    out = []
    for name, (arguments, needs) in WORKERS.items():
        port = plan.ports[f"{name}.http"]
        argv = [sys.executable, "-P", "-m", *arguments, "--config", str(plan.state.config_file)]
        out.append(
            Spec(
                name=name,
                argv=lambda argv=argv: argv,  # type: ignore[misc]
                address=f"http://{HOST}:{port}",
                # -P keeps the working folder off the path; this is where headrace itself was found.
                env={"PYTHONPATH": str(Path(headrace.__file__).parent.parent), "PYTHONUNBUFFERED": "1"},
                probe=lambda port=port: ready(port),  # type: ignore[misc]
                needs=needs,
                health_port=port,
                grace=20.0,
            )
        )
    return out


def ready(port: int) -> None:
    """TransientError, with the checks that fail, while /readyz does not say 200."""
    status, body = http.status_of(f"http://{HOST}:{port}/readyz")
    if status == 200:
        return
    try:
        checks = json.loads(body)["checks"]
        wrong = "; ".join(f"{k}: {v}" for k, v in checks.items() if v != "ok")
    except (ValueError, KeyError, TypeError, AttributeError):
        wrong = f"HTTP {status}"
    raise TransientError(wrong)
