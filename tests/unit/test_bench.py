"""The arithmetic of the benchmarks, and the page that is written from their results. Nothing here is timed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import figures, machine, page, workloads
from bench.figures import Line
from bench.measure import Servers, family, servers, services, usage
from bridge.decoders.base import Source
from headrace.contracts import files
from tests.unit import payload_formats as pf


def run(side: str, cpu: float, rate: float = 1000.0, workload: str = "imu", rss: float = 80.0) -> Line:
    more = {"cpu_us": cpu, "rate": rate, "rss_mb": rss, "count": 5000, "round": 1, "load": 2.0}
    return {"what": "run", "workload": workload, "side": side, **more}


RUNS = [
    run("bridge", 20.0, 3000), run("bridge", 30.0, 2000), run("bridge", 22.0, 2500), run("telegraf", 40.0, 2000),
    run("telegraf", 44.0, 1000), run("clean", 10.0, rss=200), run("archive", 5.0, rss=310), run("quix-clean", 100.0),
    run("quix-archive", 50.0),
]  # fmt: skip
ABOUT: Line = {
    "what": "machine", "date": "2026-11-27 22:00 UTC", "commit": "abc", "cpu": "a processor", "cores": 2,
    "memory_gb": 24.0, "system": "Linux", "load": 9.0, "python": "3.11, built without PGO, without LTO",
    "mosquitto": "2.0.11", "kafka": "4.4.0", "telegraf": "1", "quix": "3", "iceberg": "1", "packages": {"mqtt5": "0.8"},
}  # fmt: skip
STEADY: list[Line] = [
    *({"what": "steady", "rate": 1000, "process": name, "core": core, "sent": 30_000, "seconds": 30.0, "round": 1}
      for name, core in (("bridge", 20.0), ("clean", 10.0), ("archive", 2.0), ("kafka", 30.0), ("mosquitto", 5.0),
                         ("supervisor", 1.0), ("hub", 7.0))),
    {"what": "latency", "rate": 5000, "topic": "clean", "p50_ms": 90.0, "p99_ms": 260.0, "readings": 5, "round": 1},
    *({"what": "growth", "kind": "streams", "size": size, "side": side, "cpu_us": cpu, "rss_mb": 100.0, "rate": 9.0,
       "round": 1} for size, side, cpu in ((1, "clean", 10.0), (1, "archive", 10.0), (50, "clean", 20.0),
                                           (50, "archive", 30.0), (50, "bridge", 30.0))),
    {"what": "start", "name": "clean", "seconds": 2.5, "round": 1},
    {"what": "flood", "count": 1000, "rate": 9000.0, "cpu_us": 105.0,
     "processes": {"kafka": 60.0, "bridge": 35.0, "hub": 10.0}},
    {"what": "latency", "rate": 5000, "topic": "lake", "readings": 9, "p50_ms": 5e3, "p99_ms": 1.08e4,
     "rotation_ms": 1e4},
    {"what": "command", "name": "headrace status", "cpu": 0.3, "round": 1, "load": 2.0},
    *({"what": "query", "lake": "day", "state": state, "query": "last", "seconds": s, "cpu": 0.4, "store_cpu": 0.1}
      for state, s in (("as stored", 90.0), ("compacted", 3.0), ("replaced files removed", 0.5))),
    {"what": "requests", "lake": "day", "state": "replaced files removed", "query": "last", "count": 38},
    {"what": "compaction", "lake": "day", "state": "compacted", "before": 25920, "after": 9, "seconds": 90.0,
     "cpu": 60.0, "store_cpu": 5.0, "rss_mb": 250.0},
    {"what": "limit", "name": "Parquet written", "us": 0.37},
    {"what": "failed", "side": "iceberg", "workload": "imu", "round": 1,
     "why": "iceberg did not start. Its output: /a/b\n\nat /c/d.jar: no"},
]  # fmt: skip


def test_a_spread_is_median_least_and_most() -> None:
    assert figures.spread([3.0, 1.0, 10.0]) == (3.0, 1.0, 10.0, 3)
    assert figures.spread([4.0, 2.0]).median == 3.0


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1), (0.991, 100)])
def test_a_percentile_is_a_value_that_was_seen(share: float, value: int) -> None:
    assert figures.percentile([float(n) for n in range(100, 0, -1)], share) == value


def test_a_ratio_is_of_medians_and_steps_are_added() -> None:
    assert figures.ratio(RUNS, "imu", ["bridge"], ["telegraf"], "cpu_us") == pytest.approx(22 / 42)
    assert figures.ratio(RUNS, "imu", figures.LAKE, figures.QUIX, "cpu_us") == pytest.approx(15 / 150)


def test_what_was_not_measured_has_no_ratio() -> None:
    assert figures.ratio(RUNS, "imu", ["archive"], ["iceberg"], "cpu_us") is None
    assert figures.ratio(RUNS[:1], "imu", figures.LAKE, figures.QUIX, "cpu_us") is None
    assert figures.core(STEADY, 0) is None


def test_of_the_whole_stack_six_processes_count() -> None:
    assert figures.core(STEADY, 1000) == 68.0  # without hub


def test_ratios_are_told_one_a_line_with_their_levels() -> None:
    told = figures.told([*RUNS, *STEADY])
    assert "ratio bridge_cpu_by_telegraf 0.52 level 0.6" in told
    assert "ratio bridge_rate_by_telegraf 1.67 level 1.5" in told
    assert "ratio clean_and_archive_cpu_by_quix 0.10 level 0.12" in told
    assert "ratio largest_process_mb 310.00 level 300" in told
    assert "ratio clean_and_archive_50_streams_by_1 2.50 level 1.3" in told
    assert "ratio clean_restart_seconds 2.50 level 2" in told
    assert "ratio day_last_seconds 0.50 level 1" in told
    assert "ratio files_a_day 9.00 level 60" in told
    assert "ratio flood_us_a_reading 95.00 level 90" in told
    assert "ratio p99_ms_to_a_row_beyond_rotation_at_5000 800.00 level 1000" in told
    assert "ratio status_cpu_seconds 0.30 level 0.4" in told
    assert not any("iceberg" in x or "idle" in x or "bridge_50" in x for x in told)


def test_a_level_is_met_from_its_side() -> None:
    by_name = {it.name: it for it in figures.LEVELS}
    assert by_name["bridge_rate_by_telegraf"].met(1.6)
    assert not by_name["bridge_rate_by_telegraf"].met(1.4)
    assert by_name["bridge_cpu_by_telegraf"].met(0.6)
    assert not by_name["bridge_cpu_by_telegraf"].met(0.61)


def test_the_page_holds_every_result(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    results.write_text("".join(json.dumps(x) + "\n" for x in [ABOUT, *RUNS, *STEADY]))
    page.write(results, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "| Headrace bridge | 2,500 (2,000-3,000) | 22.0 (20.0-30.0) | 80 (80-80) | 3 of 5,000 |" in text
    assert "| bridge cpu by telegraf | at most 0.6 | 0.52 | met |" in text
    assert "| largest process mb | at most 300 | 310.00 | **not met** |" in text
    assert "| archive cpu by iceberg sink | at most 0.33 | not measured |  |" in text
    assert "| Headrace clean | 1,000 | 10.0 | 200 | 1 of 5,000 |" in text  # a single round has no spread
    assert "| 5,000/s, .clean |  |  | 90 |  | 260 |  |  |" in text
    assert "| Parquet written | 0.37 |" in text
    assert "| streams | 50 | Headrace archive | 30.0 | 100 | 9 |" in text
    assert "| clean | 2.50 |" in text
    assert "| day | replaced files removed | last | 0.50 | 0.40 | 0.10 | 38 |  |" in text
    assert "| day | compacted | compaction, 25,920 files to 9 | 90.00 | 60.00 | 5.00 |  | 250 |" in text
    assert "9,000 readings/s, 95.0 us of CPU a reading" in text.replace("\n", " ")
    assert "| kafka | 60.0 |" in text
    assert "- iceberg, imu, round 1: iceberg did not start: at ...: no\n" in text
    assert "commit abc" in text
    assert "without PGO" in text
    assert "shared with other work" in text


def test_a_calm_machine_is_not_called_shared_and_a_sender_that_kept_up_not_slow() -> None:
    text = page.text([{**ABOUT, "load": 0.4}, *STEADY])
    assert "shared" not in text
    assert "did not keep up" not in text
    late = [{**x, "sent": 20_000} if x["what"] == "steady" else x for x in STEADY]
    assert "did not keep up" in page.text([{**ABOUT, "load": 0.4}, *late])


def test_the_build_of_python_is_told() -> None:
    assert machine.build("'--enable-optimizations' '--with-lto'") == "configured with PGO, with LTO"
    assert machine.build("'--prefix=/usr'") == "configured without PGO, without LTO"
    assert 1 < machine.pace(1000) < 100_000


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("imu", 140, 165), ("arrays", 11_000, 16_000), ("environment", 950, 1_200), ("waveforms", 22_000, 26_000)],
)
def test_payloads_are_as_large_as_they_are_said_to_be(name: str, least: int, most: int) -> None:
    payload = workloads.WORKLOADS[name].make(1234, 1_790_000_000_000_000)
    json.loads(payload)
    assert least <= len(payload) <= most


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_the_bridge_takes_each_workload_as_it_is_sent(name: str) -> None:
    work = workloads.WORKLOADS[name]
    contract = files.find(work.contract)
    source = Source({"device_id": "bench-00001"}, unknown_fields="ignore")
    found = pf.decoder(contract, **work.route).decode(work.make(1234, pf.NOW), source, pf.NOW)
    assert len(pf.rows(contract, found)) == work.readings  # it raises for one that is refused


def test_one_payload_of_a_hundred_is_poisoned() -> None:
    make = workloads.WORKLOADS["poison"].make
    bad = 0
    for i in range(1000):
        try:
            json.loads(make(i, 1_790_000_000_000_000))
        except ValueError:
            bad += 1
    assert bad == 10


def test_a_process_is_measured_with_its_children() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as it:
        while len(family(it.pid)) < 2:
            assert it.poll() is None
        both, alone = usage(it.pid).rss, usage(it.pid, children=False).rss
        assert os.getpid() not in family(it.pid)
        it.communicate(b"\n", 30)
    assert both > alone > 0


def test_the_stack_of_another_checkout_is_read(tmp_path: Path) -> None:
    """Its configuration has keys that this checkout does not know, and its `status` is not asked."""
    (tmp_path / "headrace.yaml").write_text(
        "mqtt: {port: 1234, new_key: 1}\nkafka: {bootstrap: 'h:9'}\nregistry: {url: 'http://r:1'}\nnew: {a: b}\n"
    )
    (tmp_path / "stack.json").write_text(
        '{"state": "starting", "services": {"bridge": {"pid": 7, "address": "http://b:2"}}}'
    )
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "secrets.json").write_text('{"metrics": "word"}')
    found: Servers = servers(tmp_path)
    assert (found.mqtt.port, found.kafka.bootstrap, found.registry.url) == (1234, "h:9", "http://r:1")
    assert services(tmp_path) == {"bridge": (7, "http://b:2", "word")}
