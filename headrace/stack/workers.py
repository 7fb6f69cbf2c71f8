"""Headrace's own services as processes of the stack."""

import json
import sys

from headrace.errors import TransientError
from headrace.operate import brokerfiles
from headrace.runtime import http
from headrace.runtime.service import IMPORT_PATH
from headrace.stack.plan import HOST, Spec, StackPlan

# name: (arguments of python -m, what must serve before it starts). The registry takes the longest to start: meanwhile
# Python imports what they need. They wait for it by themselves.
WORKERS = {
    "bridge": (["bridge"], ("mosquitto", "kafka", "store")),
    "clean": (["processors", "clean"], ("kafka",)),
    "derive": (["processors", "derive"], ("kafka", "store")),
    "archive": (["processors", "archive"], ("kafka", "store")),
    "compact": (["processors", "compact"], ("store",)),
    "hub": (["hub"], ()),  # it answers while Kafka is away, and tells it later what has happened
    "ingest": (["bridge", "ingest"], ("kafka", "store", "hub")),
    "agent": (["headrace.operate.brokeragent"], ("mosquitto", "hub")),
}


def specs(plan: StackPlan) -> list[Spec]:
    """A Spec for each. Ready when its /readyz says so."""
    out = []
    for name, (arguments, needs) in WORKERS.items():
        port = plan.ports[f"{name}.http"]
        argv = [sys.executable, "-P", "-m", *arguments, "--config", str(plan.state.config_file)]
        env = {"PYTHONPATH": IMPORT_PATH, "PYTHONUNBUFFERED": "1"}
        if name in {"agent", "ingest"}:
            env["HEADRACE_HUB__TOKEN"] = plan.secrets["hub_broker"]
        if name == "agent":
            argv += ["--folder", str(plan.state.conf), "--port", str(port)]
            argv += ["--pid-file", str(plan.state.tmp / brokerfiles.PID)]
            argv += ["--certificates", f"{HOST}:{plan.ports['mqtt.certificates']}"]
            argv += ["--devices-ca", str(plan.devices_ca)]
        out.append(
            Spec(
                name=name,
                argv=lambda argv=argv: argv,  # type: ignore[misc]
                address=f"http://{HOST}:{plan.ports.get(name, port)}",
                env=env,
                probe=lambda port=port: ready(port, plan.secrets["metrics"]),  # type: ignore[misc]
                needs=needs,
                health_port=port,
                grace=20.0,
            )
        )
    return out


def ready(port: int, token: str) -> None:
    """TransientError, with the checks that fail, while /readyz does not answer 200."""
    status, body = http.status_of(f"http://{HOST}:{port}/readyz", authorization=http.bearer(token))
    if status == 200:
        return
    try:
        checks = json.loads(body)["checks"]
        wrong = "; ".join(f"{k}: {v}" for k, v in checks.items() if v != "ok")
    except (ValueError, KeyError, TypeError, AttributeError):
        wrong = f"HTTP {status}"
    raise TransientError(wrong)
