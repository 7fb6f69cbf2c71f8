"""The service compact in the local stack: it is there, cheap while nothing happens, and makes few files of many."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from headrace.lake import layout, ledger, manifest
from headrace.protocol.names import clean_topic
from headrace.runtime import http
from headrace.store.open import open_store
from tests.stack import Stack
from tests.waiting import until

pytestmark = pytest.mark.integration
STREAM, PARTS, READINGS = "environment", 3, 3 * 5 * 240
TOPIC = clean_topic(STREAM)
IDLE_SECONDS = 10


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack in which files and rounds come fast."""
    folder = tmp_path_factory.mktemp("compact")
    it = Stack(folder / "state")
    settings = {
        "streams": {STREAM: {"routes": [f"sensors/{{device_id}}/{STREAM}"]}},
        "archive": {"max_age_seconds": 1, "idle_seconds": 1},
        "compact": {"every_seconds": 2, "files": 3, "grace_seconds": 4},
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(settings))
    it.run("up", "--detach", "--auto-ports", "--config", str(folder / "my.yaml"), timeout=600)
    try:
        yield it
    finally:
        it.down()


def counted(stack: Stack) -> tuple[int, int]:
    """Rows, and positions, as a query finds them."""
    sql = f"select count(*) as n, count(distinct (_partition, _offset)) as places from {STREAM}"
    (row,) = stack.json("query", "-f", "json", sql)
    return row["n"], row["places"]


def test_many_files_become_few_and_every_row_is_there_once(own: Stack) -> None:
    assert own.services()["compact"]["state"] == "ready"
    answers = []
    fleet = ("--devices", "5", "--environment-interval", "0.05", "--duration", "12")
    for part in range(PARTS):
        own.run("simulate", *fleet, "--seed", str(part + 1), timeout=300)
        answers.append(counted(own))
    until(lambda: counted(own)[0] >= READINGS, 60, lambda: counted(own))
    config = own.config()
    store = open_store(config.store)

    def left() -> tuple[int, int, int]:
        named = {f.key for e in ledger.read(store, layout.ledger_prefix(TOPIC)) for f in e.files}
        there = {i.key for i in manifest.listing(store, TOPIC)}
        return len(named), len(manifest.visible(store, TOPIC).files), len(named - there)

    until(lambda: left()[1] < left()[0] / 2 and left()[2] > 0, 90, left)
    answers.append(counted(own))
    assert all(rows == places for rows, places in answers)
    assert answers == sorted(answers)
    assert answers[-1] == (READINGS, READINGS)
    own.run("verify", "--wait", "60", timeout=180)


def test_it_says_what_it_did(own: Stack) -> None:
    place = own.config().compact.http
    token = place.token.get_secret_value() if place.token else ""
    status, body = http.status_of(f"http://127.0.0.1:{place.port}/metrics", authorization=http.bearer(token))
    assert status == 200
    figures = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if line.startswith("headrace_compact_"))
    assert float(figures[f'headrace_compact_rows_total{{stream="{STREAM}"}}']) > 0
    assert float(figures[f'headrace_compact_removed_files_total{{stream="{STREAM}"}}']) > 0
    assert float(figures["headrace_compact_rounds_total"]) > 0


def test_killed_it_comes_back_and_told_to_end_it_ends_at_once(own: Stack) -> None:
    own.strike("compact", signal.SIGKILL)
    began = time.monotonic()
    own.strike("compact", signal.SIGTERM)
    assert time.monotonic() - began < 30
    assert own.services()["compact"]["state"] == "ready"


def test_while_nothing_happens_it_costs_next_to_nothing(own: Stack) -> None:
    """Its round's process is not begun either: with one every two seconds no ten seconds would be quiet."""
    pid = own.services()["compact"]["pid"]

    def used() -> float:
        before = cpu(pid)
        time.sleep(IDLE_SECONDS)
        return (cpu(pid) - before) / IDLE_SECONDS

    until(lambda: used() < 0.02, 120, lambda: f"{used():.2%} of a core, with a look every two seconds")


def cpu(pid: int) -> float:
    """CPU seconds of a process, and of those that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
