"""The arithmetic of the benchmarks: medians, spreads, percentiles, ratios, and levels."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

Line = dict[str, Any]  # a result, as a line of JSON
COMPACTED = "replaced files removed"  # of bench/queries.py: compacted, and the grace is over
SHARES = (1, 10, 50, 90, 99, 99.9, 100)  # of a distribution of delays, in percent
LAKE = ("clean", "archive")
QUIX = ("quix-clean", "quix-archive")
PATH = (
    "bridge",
    "clean",
    "archive",
    "kafka",
    "mosquitto",
    "supervisor",
)  # processes that readings need to reach the lake


class Spread(NamedTuple):
    """The median of a figure, its smallest and its largest, and of how many rounds."""

    median: float
    least: float
    most: float
    rounds: int


class Level(NamedTuple):
    """What a figure should be: at most, or at least. `of` takes it from the results, None if they don't have it."""

    name: str
    level: float
    of: Callable[[Sequence[Line]], float | None]
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether the figure is as it should be."""
        return value >= self.level if self.at_least else value <= self.level


def spread(values: Sequence[float]) -> Spread:
    """Of one or more values."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def of(lines: Iterable[Line], figure: str, **wanted: object) -> list[float]:
    """The values of a figure in the lines that have these values."""
    return [x[figure] for x in lines if figure in x and all(x.get(k) == v for k, v in wanted.items())]


def cost(lines: Sequence[Line], workload: str, sides: Iterable[str], figure: str = "cpu_us") -> float | None:
    """The sum, over some sides, of the medians of a figure; None when one was not measured."""
    found = [of(lines, figure, what="run", workload=workload, side=side) for side in sides]
    return sum(map(statistics.median, found)) if all(found) else None


def ratio(lines: Sequence[Line], workload: str, ours: Iterable[str], peers: Iterable[str], figure: str) -> float | None:
    """Ours by theirs."""
    a, b = cost(lines, workload, ours, figure), cost(lines, workload, peers, figure)
    return None if a is None or not b else a / b


def core(lines: Sequence[Line], rate: int) -> float | None:
    """The share of a core, in percent, of the processes of the path at a rate."""
    found = [of(lines, "core", what="steady", rate=rate, process=name) for name in PATH]
    return sum(map(statistics.median, found)) if all(found) else None


def delay(lines: Sequence[Line], rate: int, topic: str, figure: str) -> float | None:
    """The median over the rounds of a percentile of the time from device to topic."""
    found = of(lines, figure, what="latency", rate=rate, topic=topic)
    return statistics.median(found) if found else None


def along(flood: Line) -> float:
    """What a reading of a flood costs the processes of the path, in microseconds of CPU."""
    return float(sum(flood["processes"].get(name, 0.0) for name in PATH))


def flooded(lines: Sequence[Line]) -> float | None:
    """The median over the rounds of what a reading of a flood costs along the path."""
    found = [along(x) for x in lines if x["what"] == "flood"]
    return statistics.median(found) if found else None


def beyond(lines: Sequence[Line], rate: int) -> float | None:
    """The median over the rounds of how much later than the archive's rotation 99 % of the rows can be queried."""
    ran = [x for x in lines if x["what"] == "latency" and x["topic"] == "lake" and x["rate"] == rate and "p99_ms" in x]
    found = [x["p99_ms"] - x["rotation_ms"] for x in ran]
    return statistics.median(found) if found else None


def largest(lines: Sequence[Line], sides: Iterable[str]) -> float | None:
    """The most memory, in MB, that any of these took in any round."""
    found = [x for side in sides for what in ("run", "growth") for x in of(lines, "rss_mb", what=what, side=side)]
    return max(found) if found else None


def grown(lines: Sequence[Line], kind: str, small: int, large: int, sides: Iterable[str]) -> float | None:
    """What a reading costs where there are many, by what it costs where there are few."""
    costs = []
    for size in (large, small):
        found = [of(lines, "cpu_us", what="growth", kind=kind, size=size, side=side) for side in sides]
        if not all(found):
            return None
        costs.append(sum(map(statistics.median, found)))
    return costs[0] / costs[1]


def asked(lines: Sequence[Line], lake: str, query: str, figure: str = "seconds") -> float | None:
    """The median of a figure of a question to a lake after compaction; None where it was not asked."""
    return middle(lines, figure, what="query", lake=lake, query=query, state=COMPACTED)


def middle(lines: Sequence[Line], figure: str, **wanted: object) -> float | None:
    """The median of a figure; None where it was not measured."""
    found = of(lines, figure, **wanted)
    return statistics.median(found) if found else None


def least(lines: Sequence[Line], figure: str, **wanted: object) -> float | None:
    """The smallest of a figure, of what takes a second or less: whatever else the machine does only adds to it."""
    return min(of(lines, figure, **wanted), default=None)


LEVELS = (
    Level("bridge_cpu_by_telegraf", 0.6, lambda x: ratio(x, "imu", ["bridge"], ["telegraf"], "cpu_us")),
    Level("bridge_rate_by_telegraf", 1.5, lambda x: ratio(x, "imu", ["bridge"], ["telegraf"], "rate"), at_least=True),
    Level("bridge_arrays_us_a_reading", 5.0, lambda x: cost(x, "arrays", ["bridge"])),
    Level("bridge_waveform_us", 235.0, lambda x: cost(x, "waveforms", ["bridge"])),
    Level("clean_and_archive_cpu_by_quix", 0.12, lambda x: ratio(x, "imu", LAKE, QUIX, "cpu_us")),
    Level("archive_cpu_by_iceberg_sink", 0.33, lambda x: ratio(x, "imu", ["archive"], ["iceberg"], "cpu_us")),
    Level("core_percent_at_1000", 45.0, lambda x: core(x, 1000)),
    Level("core_percent_idle", 6.0, lambda x: core(x, 0)),
    Level("p99_ms_to_clean_at_5000", 250.0, lambda x: delay(x, 5000, "clean", "p99_ms")),
    Level("p99_ms_to_a_row_beyond_rotation_at_5000", 1000.0, lambda x: beyond(x, 5000)),
    Level("flood_us_a_reading", 90.0, flooded),
    Level("bridge_50_streams_by_1", 1.3, lambda x: grown(x, "streams", 1, 50, ["bridge"])),
    Level("clean_and_archive_50_streams_by_1", 1.3, lambda x: grown(x, "streams", 1, 50, LAKE)),
    Level("bridge_10000_devices_by_10", 1.2, lambda x: grown(x, "devices", 10, 10_000, ["bridge"])),
    Level("clean_and_archive_10000_devices_by_10", 1.2, lambda x: grown(x, "devices", 10, 10_000, LAKE)),
    Level("bridge_restart_seconds", 1.5, lambda x: least(x, "seconds", what="start", name="bridge")),
    Level("archive_restart_seconds", 1.5, lambda x: least(x, "seconds", what="start", name="archive")),
    Level("clean_restart_seconds", 2.0, lambda x: least(x, "seconds", what="start", name="clean")),
    Level("150_partitions_seconds", 3.0, lambda x: least(x, "seconds", what="start", name="150 partitions")),
    Level("up_warm_seconds", 10.0, lambda x: least(x, "seconds", what="start", name="headrace up")),
    Level("version_cpu_seconds", 0.1, lambda x: least(x, "cpu", what="command", name="headrace --version")),
    Level("status_cpu_seconds", 0.4, lambda x: least(x, "cpu", what="command", name="headrace status")),
    Level("query_cpu_seconds", 0.5, lambda x: least(x, "cpu", what="command", name="headrace query 'select 1'")),
    *(
        Level(f"{lake}_{name}_seconds", 1.0, lambda x, lake=lake, name=name: asked(x, lake, name))  # type: ignore[misc]
        for lake in ("backlog", "day")
        for name in ("count", "last", "hourly")
    ),
    Level("files_a_day", 60.0, lambda x: middle(x, "after", what="compaction", lake="day")),
    Level("largest_process_mb", 300.0, lambda x: largest(x, ["bridge", *LAKE])),
)


def told(lines: Sequence[Line]) -> list[str]:
    """A line `ratio NAME VALUE level LEVEL` for each level that was measured."""
    found = ((it, it.of(lines)) for it in LEVELS)
    return [f"ratio {it.name} {value:.2f} level {it.level:g}" for it, value in found if value is not None]
