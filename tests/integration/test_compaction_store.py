"""Compaction on a real S3 server: what a query asks of it, and what two compactors at once leave."""

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import headrace
from headrace.config import Config
from headrace.lake import manifest, remote, sql
from headrace.lake.compaction import compact
from headrace.store.base import ObjectStore
from tests.secured import seaweed
from tests.secured.certs import Certs
from tests.unit.lake_world import TOPIC, Lake

pytestmark = pytest.mark.integration
ASK = "select count(*) n, count(distinct ax) u from imu"


@pytest.fixture(scope="module")
def world(certs: Certs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Config, ObjectStore]]:
    with seaweed.running(tmp_path_factory.mktemp("weed"), certs.servers["good"]) as it:
        tls = {"enabled": True, "ca_file": str(certs.ca)}
        cfg = Config.model_validate({
            "store": {**it.settings, "tls": tls}, "streams": {"imu": {}}, "compact": {"grace_seconds": 3600},
        })  # fmt: skip
        yield cfg, seaweed.opened(cfg.store)


def requests(cfg: Config, select: str) -> dict[tuple[str, bool], int]:
    """How many requests a query makes, by method and whether it asks for a listing."""
    with sql.connect(cfg.model_copy(update={"streams": {}}), "") as lake:
        lake.execute("CALL enable_logging('HTTP')")
        files = remote.visible(lake, remote.root(cfg.store), TOPIC).files
        names = ", ".join(f"'{remote.root(cfg.store)}/{f.key}'" for f in files)
        lake.execute(select.format(files=f"read_parquet([{names}], hive_partitioning = true)")).fetchall()
        told = "SELECT request.type, contains(request.url, 'list-type'), count(*) FROM duckdb_logs_parsed('HTTP')"
        found = lake.execute(f"{told} GROUP BY ALL").fetchall()
    return {(str(kind), bool(listing)): n for kind, listing, n in found}


def test_a_query_counts_the_same_while_two_compactors_work(world: tuple[Config, ObjectStore]) -> None:
    cfg, store = world
    lake = Lake(store)
    lake.fill(60, random.Random(1))
    late = {f.key: store.get(f.key) for e in lake.entries[:9] for f in e.files}
    small = requests(cfg, "select count(*) from {files}")
    problems: list[Any] = []

    def work(hours: float) -> None:
        for i in range(3):
            report = compact(cfg, store, now=lambda i=i: time.time() + i * hours * 3600)  # type: ignore[misc]
            problems.extend(report.topics[TOPIC].problems)

    both = [threading.Thread(target=work, args=(0.0,)), threading.Thread(target=work, args=(0.0,))]
    for t in both:
        t.start()
    asked = 0
    while any(t.is_alive() for t in both) or not asked:
        assert headrace.query(ASK, config=cfg).to_dict("records") == [{"n": lake.rows, "u": lake.rows}]
        asked += 1
    assert all("another compactor" in p for p in problems)
    work(3.0)
    for key, data in late.items():
        assert store.put(key, data, if_absent=True), "removed by then"
    assert headrace.query(ASK, config=cfg).to_dict("records") == [{"n": lake.rows, "u": lake.rows}]
    compact(cfg, store, now=lambda: time.time() + 12 * 3600)
    there = {i.key for i in manifest.listing(store, TOPIC)}
    assert there == {f.key for f in manifest.visible(store, TOPIC).files}
    large = requests(cfg, "select count(*) from {files}")
    assert sum(large.values()) < sum(small.values()) / 2, (small, large)
    assert large["GET", True] == 2, "the folder, and the manifests"
