"""What clean and archive cost a reading: consume, judge, produce, commit; and consume, decode, Parquet, store.

    .venv/bin/python -m headrace --state DIR up --detach --auto-ports
    .venv/bin/python -m bench.processors DIR --readings 300000

Writes readings into imu.raw, as the bridge does but faster than clean reads them, so that both processors work on full
batches. Measured: CPU time of each process from the first reading until the last row is in the lake, divided by the
number of readings. The librdkafka threads and the idle seconds before the archive's last batch are in it. Linux only.
"""

import argparse
import io
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fastavro

from bench.load import Record, fill
from bench.measure import servers, services, wait
from headrace.config.connect import Registry
from headrace.protocol.wire import Provenance, frame
from headrace.runtime import http

STREAM = "imu"
DEVICES, VARIANTS = 64, 20_000


class Costs(NamedTuple):
    """CPU microseconds a reading."""

    clean: float
    archive: float


def datums(registry: Registry, stream: str = STREAM, devices: int = DEVICES) -> list[bytes]:
    """Framed readings, each with values of its own, of the contract that the registry has for the raw topic."""
    assert registry.username is not None
    assert registry.password is not None
    login = http.basic(registry.username, registry.password.get_secret_value())
    where = f"{registry.url}/subjects/{stream}.raw-value/versions/latest"
    found = json.loads(http.get(where, 10.0, login))
    schema: Any = fastavro.parse_schema(json.loads(found["schema"]))
    rnd, now = random.Random(1), time.time_ns() // 1000 - 60_000_000  # noqa: S311 - values for a benchmark
    nothing = {f["name"]: None for f in schema["fields"]}
    out = []
    for i in range(VARIANTS):
        values = {k: round(rnd.gauss(0, 3), 4) for k in ("ax", "ay", "az", "gx", "gy", "gz")}
        own = {"device_id": f"bench-{i % devices}", "event_time": now + i * 1000, "temperature": 25.0}
        datum = io.BytesIO()
        fastavro.schemaless_writer(datum, schema, {**nothing, **values, **own, "sequence": i})
        out.append(frame(found["id"], datum.getvalue()))
    return out


def records(count: int, values: list[bytes], devices: int = DEVICES) -> Iterator[Record]:
    """`count` readings as the bridge writes them."""
    now = time.time_ns() // 1000
    for i in range(count):
        headers = [Provenance(os.urandom(16), now, b"sensors/bench-%d/imu" % (i % devices), 1).header()]
        yield b"bench-%d" % (i % devices), values[i % VARIANTS], headers


def measure(state: Path, count: int) -> Costs:
    """The costs of `count` readings through the stack whose state is in this folder."""
    cfg, running = servers(state), services(state)
    clean, archive = running["clean"], running["archive"]
    values = datums(cfg.registry)

    def stored() -> float:
        return archive.total("headrace_archive_rows_total", stream=STREAM)

    def idle() -> bool:
        return clean.total("headrace_lag_records") == archive.total("headrace_lag_records") == 0

    wait("what came before in the lake", idle)
    rows, before = stored(), (clean.cpu_seconds(), archive.cpu_seconds())
    fill(cfg.kafka, f"{STREAM}.raw", records(count, values))
    wait("readings in the lake", lambda: stored() - rows >= count)
    after = (clean.cpu_seconds(), archive.cpu_seconds())
    return Costs(*((b - a) / count * 1e6 for a, b in zip(before, after, strict=True)))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=Path, help="folder of a running stack")
    parser.add_argument("--readings", type=int, default=300_000)
    args = parser.parse_args()
    found = measure(args.state, args.readings)
    print(f"clean, raw topic to clean topic: {found.clean:.2f} us of CPU a reading")
    print(f"archive, clean topic to lake: {found.archive:.2f} us of CPU a reading")


if __name__ == "__main__":
    main()
