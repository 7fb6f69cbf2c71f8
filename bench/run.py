"""`make bench` and `make bench-quick`: ours and the peers on one Mosquitto and one Kafka, in turn.

    .venv/bin/python -m bench.run --quick
    .venv/bin/python -m bench.run --rounds 5 --only bridge --workload imu

A stack is started, in a folder of its own and on free ports. In each round each side is started, waited for, and held
(stopped with SIGSTOP) while a backlog is written; then it is let go, and measured until it has passed all on. So
neither its start nor the writing counts. Order: A B, A B. Results are lines of JSON in bench/results.jsonl, and
docs/benchmarks.md is written of them; with --quick only lines `ratio NAME VALUE level LEVEL` are printed. Linux only.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench import commands, figures, growth, limits, machine, page, processors, queries, sides, starts, whole
from bench.chain import chain
from bench.figures import Line
from bench.load import Message, Record, fill, flood
from bench.measure import append
from bench.peers import iceberg, quix, telegraf
from bench.sides import Bench
from bench.workloads import LAKE, WORKLOADS, Workload
from headrace.errors import HeadraceError

RESULTS = Path(__file__).with_name("results.jsonl")
PARTS = ("bridge", "lake", "iceberg", "steady", "rows", "flood", "growth", "starts", "commands", "queries", "limits")


class Counts:
    """How much is sent, for a workload of so many readings over MQTT, so many in Kafka, so many seconds."""

    def __init__(self, messages: int, readings: int, seconds: float, most: int = 1_000_000) -> None:
        self.messages, self.readings, self.seconds = messages, readings, seconds
        self.most = most  # in Kafka, to see whether memory stays flat

    def of(self, name: str) -> int:
        """Messages of a workload over MQTT: fewer where they are large."""
        share = {"arrays": 0.05, "packed": 0.1, "environment": 0.5, "waveforms": 0.05}.get(name, 1.0)
        return max(200, int(self.messages * share))


def over_mqtt(bench: Bench, name: str, side: str, messages: int) -> list[Line]:
    """The bridge or Telegraf on a backlog in the broker."""
    work, token, refused = WORKLOADS[name], f"{name}-{time.monotonic_ns()}", 0

    def message(i: int) -> Message:
        return f"bench/{token}/{work.device(i)}/{work.contract}", work.make(i, time.time_ns() // 1000)

    if side == "bridge":
        it, count = sides.bridge(bench, bench.own(work, token), [work.stream]), messages * work.readings
        refused = bench.ends(sides.LETTERS) + (-(-messages // work.poison_every) if work.poison_every else 0)
    else:
        it, count = telegraf.telegraf(bench, token), messages
    lines = chain(bench, [it], lambda: asyncio.run(flood(bench.servers.mqtt, message, messages)), count)
    if side == "bridge" and (found := bench.ends(sides.LETTERS)) != refused:
        raise RuntimeError(f"{name}: {found - refused:,} more dead letters than there should be. See the bridge's log")
    # Telegraf passes an array on as one message: its figures are told for readings, as the bridge's are.
    share = messages * work.readings / count
    return [{**x, "cpu_us": x["cpu_us"] / share, "rate": x["rate"] * share, "count": count * share} for x in lines]


def over_kafka(bench: Bench, side: str, count: int) -> list[Line]:
    """Clean and archive, or a peer's, on a backlog in Kafka."""
    kafka, work = bench.servers.kafka, LAKE
    if side == "ours":
        path = bench.own(work, f"lake-{time.monotonic_ns()}")
        them = [sides.clean(bench, path, [work.stream]), sides.archive(bench, path, [work.stream])]
        values = processors.datums(bench.servers.registry, work.stream)
        return chain(bench, them, lambda: fill(kafka, f"{work.stream}.raw", processors.records(count, values)), count)
    if side == "quix":
        them, topic = [quix.clean(bench), quix.archive(bench)], quix.RAW
    else:
        them, topic = [iceberg.sink(bench)], iceberg.TOPIC
    return chain(bench, them, lambda: fill(kafka, topic, _rows(work, count)), count)


def _rows(work: Workload, count: int) -> Iterator[Record]:
    """The readings as JSON, as Telegraf or an application would have put them there."""
    now = time.time_ns() // 1000 - 60_000_000
    for i in range(count):
        device = work.device(i)
        yield device.encode(), b'{"device_id":"%s",%s' % (device.encode(), work.make(i, now + i)[1:]), []


@contextmanager
def stack() -> Iterator[Bench]:
    """A stack in a folder of its own, stopped at the end whatever happened."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        state = Path(folder) / "state"
        command = [sys.executable, "-m", "headrace", "--state", str(state)]
        try:
            subprocess.run(
                [*command, "up", "--detach", "--auto-ports"], stdout=subprocess.DEVNULL, timeout=600, check=True
            )
            yield Bench(state, Path(folder))
        finally:
            subprocess.run([*command, "down"], stdout=subprocess.DEVNULL, timeout=300, check=False)


def runs(
    bench: Bench, parts: Sequence[str], names: Sequence[str], rounds: Sequence[int], counts: Counts
) -> Iterator[Line]:
    """All lines, as they are measured. A side that fails is told of, and the others go on."""
    pairs: list[tuple[str, str, Callable[[], list[Line]]]] = []
    if "bridge" in parts:
        for name in names:
            pairs += [(name, s, partial(over_mqtt, bench, name, s, counts.of(name))) for s in ("bridge", "telegraf")]
    lakes = [*(["ours", "quix"] if "lake" in parts else []), *(["iceberg"] if "iceberg" in parts else [])]
    pairs += [("imu", side, partial(over_kafka, bench, side, counts.readings)) for side in lakes]
    if "growth" in parts:
        pairs += [("imu", it.side, it.run) for it in growth.sizes(bench, counts.messages, counts.readings, counts.most)]
    each: dict[str, Callable[[], Iterable[Line]]] = {
        "starts": lambda: starts.measured(bench),
        "flood": lambda: [whole.flooded(bench, counts.messages)],
        "steady": lambda: [x for rate in (0, 1000, 5000) for x in whole.at_rate(bench, rate, counts.seconds)],
        "rows": lambda: [whole.until_rows(bench, 5000, counts.seconds)],
        "commands": commands.measured,
    }
    for number in rounds:
        for name, side, run in pairs:
            began = {"workload": name, "round": number, "load": os.getloadavg()[0]}
            try:
                yield from ({"what": "run", **began, **line} for line in run())
            except (HeadraceError, RuntimeError, TimeoutError, OSError, subprocess.SubprocessError) as e:
                yield {"what": "failed", **began, "side": side, "why": f"{type(e).__name__}: {e}"}
        for part, measure in each.items():
            if part in parts:
                yield from ({"round": number, "load": os.getloadavg()[0], **line} for line in measure())
    if "queries" in parts:
        began = {"load": os.getloadavg()[0]}
        try:
            yield from ({**began, **line} for line in queries.measured(bench))
        except (HeadraceError, RuntimeError, OSError, subprocess.SubprocessError) as e:
            yield {"what": "failed", **began, "side": "queries", "workload": "", "round": 1, "why": str(e)}
    if "limits" in parts:
        yield from limits.measured(bench, counts.readings)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small rounds; prints ratios, writes no page")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=150_000, help="over MQTT, in each round")
    parser.add_argument("--readings", type=int, default=300_000, help="in Kafka, in each round")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a steady rate, and idle")
    parser.add_argument(
        "--most", type=int, default=1_000_000, help="in Kafka, to see how it grows; 10,000,000 take long"
    )
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be repeated")
    parser.add_argument("--workload", choices=[*WORKLOADS], action="append", help="over MQTT; may be repeated")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--append", action="store_true", help="further rounds, beside the results that are there")
    parser.add_argument("--page", type=Path, default=page.PAGE)
    args = parser.parse_args()
    counts = Counts(args.messages, args.readings, args.seconds, args.most)
    if args.quick:
        args.rounds, counts = 2, Counts(60_000, 100_000, 10.0)
    parts = args.only or (["bridge", "lake", "steady", "flood"] if args.quick else PARTS)
    names = args.workload or (["imu", "arrays"] if args.quick else [*WORKLOADS])
    lines: list[Line] = []
    results = Path(os.devnull) if args.quick else args.results
    done = 0
    if args.append:
        lines = [json.loads(x) for x in results.read_text(encoding="utf-8").splitlines()]
        done = max((x.get("round", 0) for x in lines), default=0)
    elif not args.quick:
        results.write_text("")
    about = machine.about()  # before the stack: what it takes as it starts would count as the machine's
    with stack() as bench:
        append(results, about)
        lines.append(about)
        for line in runs(bench, parts, names, range(done + 1, done + 1 + args.rounds), counts):
            append(results, line)
            lines.append(line)
            print(json.dumps(line), file=sys.stderr, flush=True)
    if not args.quick:
        page.write(results, args.page)
    print("\n".join(figures.told(lines)))


if __name__ == "__main__":
    main()
