import threading
from pathlib import Path
from typing import Any

from headrace.stack import plan
from headrace.stack.plan import Wishes
from headrace.stack.state import State
from headrace.stack.supervisor import Supervisor


def test_what_is_shown_last_says_that_the_stack_is_stopped(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    supervisor = Supervisor(plan.make(state, Wishes(auto_ports=True)), [])
    stop = threading.Event()
    seen: list[dict[str, Any]] = []

    def tick() -> None:
        seen.append(supervisor.snapshot())
        stop.set()

    supervisor.run(stop, tick)
    assert [s["state"] for s in seen] == ["ready", "stopped"]
    assert state.read_json("stack.json")["state"] == "stopped"
