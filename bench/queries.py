"""SQL over 10,000,000 readings, before and after compaction; and what compaction and `verify` take there.

A process of its own asks: it has imported all when the first question comes, as in a notebook. Seconds by the clock,
CPU of that process and of the store, and how many requests it sent.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bench import lakes
from bench.figures import COMPACTED, Line
from bench.lakes import Kind
from bench.measure import MB, services, usage
from bench.sides import Bench

QUESTIONS = {
    "count": "select count(*) n from {stream}",
    "last": "select device_id, max(event_time) t, arg_max(ax, event_time) ax from {stream} group by device_id",
    "hourly": "select bucket(event_time, interval '1 hour') h, avg(ax) ax from {stream} group by h order by h",
    "hourly of each device": (
        "select device_id, bucket(event_time, interval '1 hour') h, avg(ax) ax from {stream} group by device_id, h"
    ),
}
STORED, MERGED = "as stored", "compacted"
TIMES = 3


def measured(bench: Bench, kinds: tuple[Kind, ...] = (lakes.BACKLOG, lakes.DAY)) -> Iterator[Line]:
    """All lines, of each lake: questions, verify, compaction, and both again."""
    store = services(bench.state)["store"].pid
    for kind in kinds:
        begun = time.monotonic()
        path = lakes.make(bench, kind)
        made = {"rows": kind.rows, "files": kind.files, "seconds": time.monotonic() - begun}
        yield {"what": "lake", "lake": kind.name, **made}
        for state in (STORED, MERGED, COMPACTED):
            if state != STORED:
                yield {"what": "compaction", "lake": kind.name, "state": state, **_compacted(path, store)}
            if state == MERGED:  # from now on without the hour's grace
                data = yaml.safe_load(path.read_text())
                path.write_text(yaml.safe_dump({**data, "compact": {"grace_seconds": 0}}))
            times = 1 if state == STORED else TIMES
            yield from ({**line, "lake": kind.name, "state": state} for line in _asked(path, kind, store, times))
            yield {"what": "verify", "lake": kind.name, "state": state, **_run(path, store, "verify")[0]}


def _compacted(path: Path, store: int) -> Line:
    line, said = _run(path, store, "lake", "compact", "--json")
    (topic,) = json.loads(said)["topics"].values()
    return {**line, **{name: topic[name] for name in ("before", "after", "merges", "rows", "bytes", "removed")}}


def _run(path: Path, store: int, *args: str) -> tuple[Line, str]:
    """A command of ours on a lake: what it took, and what it said."""
    command = [sys.executable, "-m", "headrace", "--config", str(path), *args]
    before, begun = usage(store).cpu, time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.read().decode()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"headrace {' '.join(args)} ended with exit code {process.returncode}: {said[-500:]}")
    took = {"seconds": time.monotonic() - begun, "cpu": used.ru_utime + used.ru_stime}
    return {**took, "store_cpu": usage(store).cpu - before, "rss_mb": used.ru_maxrss * 1024 / MB}, said


def _asked(path: Path, kind: Kind, store: int, times: int) -> list[Line]:
    command = [sys.executable, "-m", "bench.queries", str(path), kind.stream, str(kind.rows), str(store), str(times)]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()
    return [json.loads(line) for line in said.splitlines()]


def main(path: str, stream: str, rows: int, store: int, times: int) -> None:
    """Ask each question so often, and tell what it took."""
    import headrace
    from headrace.config import load

    cfg = load(Path(path), {})
    headrace.query("select bucket(now(), interval '1 hour')", config=cfg)
    for name, text in QUESTIONS.items():
        sql = text.format(stream=stream)
        for _ in range(times):
            stores, begun, cpu = usage(store).cpu, time.monotonic(), time.process_time()
            answer = headrace.query(sql, config=cfg)
            line = {"seconds": time.monotonic() - begun, "cpu": time.process_time() - cpu}
            line["store_cpu"] = usage(store).cpu - stores
            print(json.dumps({"what": "query", "query": name, **line}))
            if name == "count" and answer.n[0] != rows:
                raise RuntimeError(f"{answer.n[0]:,} rows where {rows:,} were stored")
        if line["seconds"] < 30:  # else once is enough
            print(json.dumps({"what": "requests", "query": name, "count": requests(cfg, sql)}))


def requests(cfg: Any, sql: str) -> int:
    """How many requests a question sends to the store, those to find the files included."""
    from headrace.lake import sql as asking
    from headrace.lake import views

    with asking.connect(cfg.model_copy(update={"streams": {}}), "") as lake:
        lake.execute("CALL enable_logging('HTTP')")
        views.create(lake, cfg, sql, lambda _: None)
        asking.frame(lake.execute(sql))
        ((count,),) = lake.execute("SELECT count(*) FROM duckdb_logs_parsed('HTTP')").fetchall()
    return int(count)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]))
