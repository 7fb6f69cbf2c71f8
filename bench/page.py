"""Writes docs/benchmarks.md from the results: .venv/bin/python -m bench.page"""

import json
import re
import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path

from bench import figures
from bench.figures import Line, Spread, of, spread
from bench.peers import iceberg, quix, telegraf
from bench.workloads import WORKLOADS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BUSY = 1.0  # load average a core, without what is measured, above which the machine was shared
NAMES = {
    "bridge": "Headrace bridge", "telegraf": "Telegraf", "clean": "Headrace clean", "archive": "Headrace archive",
    "quix-clean": "Quix Streams, checks", "quix-archive": "Quix Streams, Parquet", "iceberg": "Iceberg sink",
}  # fmt: skip


def _wrapped(words: str) -> str:
    return textwrap.fill(words, 120, subsequent_indent="  " if words.startswith("- ") else "", break_on_hyphens=False)


HEAD = """\
# Benchmarks

`make bench` measures and writes this page; `make bench-quick` prints the ratios alone, in some minutes. All run on one
machine, with one Mosquitto and one Kafka, in turn: A B, A B. CPU time is that of a whole process with its children, so
all of its threads count, and so does the kernel's work for it. A side is started, and held (SIGSTOP) while a backlog is
written; then it is let go, and measured until it has passed all on. Neither its start nor the writing counts. Ratios
hold better than figures: what else a machine does disturbs both sides.

Each cell is the median of all rounds, and in brackets the smallest and the largest. On the machine below
what runs on one core slows the other, a pure loop by half: of a start, and of a short command's CPU time, the smallest
counts as its level's figure.
"""
WORDS = f"""\
## What each side does

{_wrapped(f"- **Telegraf, beside the bridge.** {telegraf.WORDS.strip()}")}
{_wrapped(f"- **Quix Streams, beside clean and archive.** {quix.WORDS.strip()}")}
{_wrapped(f"- **Iceberg's sink, beside the archive.** {iceberg.WORDS.strip()}")}

Their settings are in `bench/peers/`, for delivery at least once. The rate of what stores files holds the wait for a
batch to be full or old enough (a second of silence for the archive, 5 seconds for Quix Streams and the Iceberg sink):
compare its CPU time only.
"""

_ALL_ELSE = (
    "IMU readings, all else equal: streams share 500 devices' topics, and the lake gets 1,000,000 readings of them "
    "together. Two processes of a service are started by a third, which counts in their memory."
)
_DECODING = (
    "Telegraf passes bytes on unread. In rounds of one run the ratio was 0.50 to 0.73. Only a compiled kernel for "
    "decoding, checking and encoding could take more away, 28 % of the bridge's time at the very most, and why none "
    "was built is in [the log](performance.md)."
)
WHY = {
    "bridge_cpu_by_telegraf": _DECODING,
    "bridge_rate_by_telegraf": _DECODING,
    "bridge_arrays_us_a_reading": (
        "each reading is a record of its own, and Kafka's client alone takes 3.3 to 3.8 us for one, as the limits "
        "below tell: what is left of 5 us is less than decoding and hashing a reading take."
    ),
    "bridge_waveform_us": (
        "JSON of 3,600 numbers takes 165 us, the event id, a hash of 24 kB, 48, the floats 30: 243 without Kafka and "
        "MQTT. See [the log](performance.md)."
    ),
    "clean_and_archive_cpu_by_quix": (
        "the level was set where Quix Streams took 165 us for both steps; here it takes about 60. What Kafka's client "
        "alone takes, consuming and producing as clean and consuming as the archive do, is all of 0.12 of that, within "
        "a tenth of a microsecond: see the limits below."
    ),
    "largest_process_mb": (
        "clean of 50 streams, in one round of three: it looks back on 150 partitions, each with a table of its own, "
        "and with a batch of each. The others stay under it, and 10,000,000 readings take what 1,000,000 do."
    ),
    "clean_and_archive_50_streams_by_1": (
        "a batch costs its file, its entry in the ledger and two commits, whatever is in it, and 150 partitions have "
        "batches of few rows."
    ),
}


def text(lines: Sequence[Line]) -> str:
    """The page."""
    parts = [
        HEAD,
        _machine(lines),
        _levels(lines),
        _runs(lines),
        WORDS,
        _steady(lines),
        _flood(lines),
        _growth(lines),
        _commands(lines),
        _queries(lines),
        _limits(lines),
        _failed(lines),
    ]
    return "\n".join(part for part in parts if part)


def cell(it: Spread, digits: int = 1) -> str:
    """Median, and smallest and largest."""
    least, most = f"{it.least:,.{digits}f}", f"{it.most:,.{digits}f}"
    return f"{it.median:,.{digits}f}" + (f" ({least}-{most})" if it.rounds > 1 else "")


def write(results: Path, page: Path) -> None:
    """Make the page of a file of results."""
    lines = [json.loads(x) for x in results.read_text(encoding="utf-8").splitlines()]
    page.write_text(text(lines), encoding="utf-8")


def _machine(lines: Sequence[Line]) -> str:
    it, *later = [x for x in lines if x["what"] == "machine"]
    loads = [x["load"] for x in lines if "load" in x]
    where = (
        f"{it['date']}, commit {it['commit']}. {it['cpu']}, {it['cores']} cores, {it['memory_gb']} GB, {it['system']}. "
        f"Python {it['python']}. Mosquitto {it['mosquitto']}, Kafka {it['kafka']}; Telegraf {it['telegraf']}, "
        f"Quix Streams {it['quix']}, Iceberg's sink {it['iceberg']}. "
        + ", ".join(f"{name} {version}" for name, version in it["packages"].items())
        + "."
    )
    if more := {x["commit"]: x["date"] for x in later if x["commit"] != it["commit"]}:
        where += " Some parts later: " + "; ".join(f"{date}, commit {commit}" for commit, date in more.items()) + "."
    said = f"The load average was {min(loads):.1f} to {max(loads):.1f}."
    if it["load"] > BUSY * it["cores"]:
        said += " **The machine was shared with other work:** read the ratios; a calm one gives other figures."
    return "\n".join(["## Where", "", _wrapped(where), "", _wrapped(said), ""])


def _levels(lines: Sequence[Line]) -> str:
    out = ["## Levels", "", "| figure | level | measured | |", "|---|---|---|---|"]
    missed: list[str] = []
    for it in figures.LEVELS:
        value = it.of(lines)
        sign, name = "at least" if it.at_least else "at most", it.name.replace("_", " ")
        said = "not measured" if value is None else f"{value:.2f}"
        met = "" if value is None else "met" if it.met(value) else "**not met**"
        missed += [it.name] if value is not None and not it.met(value) else []
        out.append(f"| {name} | {sign} {it.level:g} | {said} | {met} |")
    why = [_wrapped(f"- {n.replace('_', ' ')}: {WHY[n]}") for n in missed if n in WHY]
    return "\n".join([*out, "", *(["Why not, as far as it is known:", "", *why, ""] if why else [])])


def _runs(lines: Sequence[Line]) -> str:
    out = [
        "## On a backlog", "",
        "| workload | side | readings/s | CPU us a reading | peak memory, MB | rounds of readings |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    ran = [x for x in lines if x["what"] == "run"]
    for workload, side in dict.fromkeys((x["workload"], x["side"]) for x in ran):
        rate, cpu, rss = (
            spread(of(ran, figure, workload=workload, side=side)) for figure in ("rate", "cpu_us", "rss_mb")
        )
        count = int(of(ran, "count", workload=workload, side=side)[-1])
        words = WORKLOADS[workload].words if side in {"bridge", "telegraf"} else "IMU readings, in Kafka"
        cells = (words, NAMES[side], cell(rate, 0), cell(cpu), cell(rss, 0), f"{rate.rounds} of {count:,}")
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join([*out, ""]) if ran else ""


def _steady(lines: Sequence[Line]) -> str:
    ran = [x for x in lines if x["what"] == "steady"]
    if not ran:
        return ""
    rates = sorted({x["rate"] for x in ran})
    out = [
        "## The whole stack at a steady rate", "", "Percent of a core, by process.", "",
        f"| process | {' | '.join(f'{rate:,}/s' if rate else 'idle' for rate in rates)} |",
        f"|---|{'---|' * len(rates)}",
    ]  # fmt: skip
    for name in dict.fromkeys(x["process"] for x in ran):
        cells = [cell(spread(of(ran, "core", rate=rate, process=name))) for rate in rates]
        out.append(f"| {name} | {' | '.join(cells)} |")
    out += [
        "",
        _wrapped(
            "Milliseconds from a device's clock to Kafka's log, and to a file of the lake that queries see: how many "
            "percent of the readings took no longer."
        ),
        "",
        f"| | {' | '.join(f'{share:g} %' for share in figures.SHARES)} |",
        f"|---|{'---|' * len(figures.SHARES)}",
    ]
    late = [x for x in lines if x["what"] == "latency" and "p50_ms" in x]
    for rate, topic in dict.fromkeys((x["rate"], x["topic"]) for x in late):
        found = [of(late, f"p{share:g}_ms", rate=rate, topic=topic) for share in figures.SHARES]
        cells = [cell(spread(values), 0) if values else "" for values in found]
        out.append(f"| {rate:,}/s, {'lake' if topic == 'lake' else f'.{topic}'} | {' | '.join(cells)} |")
    short = [x for x in ran if x["sent"] < 0.98 * x["rate"] * _seconds(lines)]
    return "\n".join([*out, *(["", "The sender did not keep up in some of these."] if short else []), ""])


def _seconds(lines: Sequence[Line]) -> float:
    return float(statistics.median(of(lines, "seconds", what="steady")) if of(lines, "seconds", what="steady") else 0)


def _flood(lines: Sequence[Line]) -> str:
    ran = [x for x in lines if x["what"] == "flood"]
    if not ran:
        return ""
    rate, all_of_it = (spread(of(ran, figure)) for figure in ("rate", "cpu_us"))
    path = spread([figures.along(x) for x in ran])
    words = (
        f"{ran[-1]['count']:,} readings as fast as the broker took them, until the last was in the lake: "
        f"{cell(rate, 0)} readings/s, {cell(path)} us of CPU a reading over the path ({', '.join(figures.PATH)}), "
        f"{cell(all_of_it)} over all processes:"
    )
    rows = [f"| {name} | {cell(spread([x['processes'][name] for x in ran]))} |" for name in ran[0]["processes"]]
    head = ["| process | CPU us a reading |", "|---|---|"]
    return "\n".join(["## A flood through the whole stack", "", _wrapped(words), "", *head, *rows, ""])


def _growth(lines: Sequence[Line]) -> str:
    ran = [x for x in lines if x["what"] == "growth"]
    started = [x for x in lines if x["what"] == "start"]
    out = []
    if ran:
        out += [
            "## How it grows", "", _wrapped(_ALL_ELSE), "",
            "| of what | how many | side | CPU us a reading | peak memory of a process, MB | readings/s |",
            "|---|---|---|---|---|---|",
        ]  # fmt: skip
        for kind, size, side in sorted(dict.fromkeys((x["kind"], x["size"], x["side"]) for x in ran)):
            cpu, rss, rate = (spread(of(ran, f, kind=kind, size=size, side=side)) for f in ("cpu_us", "rss_mb", "rate"))
            out.append(f"| {kind} | {size:,} | {NAMES[side]} | {cell(cpu)} | {cell(rss, 0)} | {cell(rate, 0)} |")
        out.append("")
    if started:
        out += [
            "## From a start to the first reading", "",
            "Clean looks back on 600,000 readings. `headrace up` is warm, and until all is ready.", "",
            "| service | seconds |", "|---|---|",
        ]  # fmt: skip
        for name in dict.fromkeys(x["name"] for x in started):
            out.append(f"| {name} | {cell(spread(of(started, 'seconds', name=name)), 2)} |")
        out.append("")
    return "\n".join(out)


def _commands(lines: Sequence[Line]) -> str:
    ran = [x for x in lines if x["what"] == "command"]
    if not ran:
        return ""
    out = ["## The command line", "", "| command | CPU seconds |", "|---|---|"]
    out += [
        f"| `{name}` | {cell(spread(of(ran, 'cpu', name=name)), 2)} |" for name in dict.fromkeys(x["name"] for x in ran)
    ]
    return "\n".join([*out, ""])


def _queries(lines: Sequence[Line]) -> str:
    ran = [x for x in lines if x["what"] in {"query", "verify", "compaction"}]
    if not ran:
        return ""
    words = (
        "Written by the archive's functions into the local stack's store: a backlog of 10,000,000 readings, and what a "
        "stack at 150 readings/s stores in a day; then compacted. A process that has imported all asks with "
        "`headrace.query()`; `verify` and `compact` are whole commands."
    )
    out = [
        "## Queries", "", _wrapped(words), "",
        "| lake | state | what | seconds | CPU, s | CPU of the store, s | requests | peak memory, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for lake, state, what, query in dict.fromkeys((x["lake"], x["state"], x["what"], x.get("query", "")) for x in ran):
        same = [x for x in ran if (x["lake"], x["state"], x["what"], x.get("query", "")) == (lake, state, what, query)]
        took = [cell(spread(of(same, figure)), 2) for figure in ("seconds", "cpu", "store_cpu")]
        sent, rss = of(lines, "count", what="requests", lake=lake, state=state, query=query), of(same, "rss_mb")
        files = f", {same[0]['before']:,} files to {same[0]['after']:,}" if what == "compaction" else ""
        more = f"{int(sent[0]):,}" if sent else "", cell(spread(rss), 0) if rss else ""
        out.append(f"| {' | '.join((lake, state, (query or what) + files, *took, *more))} |")
    return "\n".join([*out, ""])


def _limits(lines: Sequence[Line]) -> str:
    found = [x for x in lines if x["what"] == "limit"]
    rows = [f"| {x['name']} | {x['us']:.2f} |" for x in found]
    return "\n".join(["## The limits", "", "| part | CPU us a reading |", "|---|---|", *rows, ""]) if found else ""


def _failed(lines: Sequence[Line]) -> str:
    lost = [x for x in lines if x["what"] == "failed"]
    rows = [f"- {x['side']}, {x['workload']}, round {x['round']}: {_short(x['why'])}" for x in lost]
    return "\n".join(["## What did not run", "", *rows, ""]) if rows else ""


def _short(why: str) -> str:
    """Where it began, and the last line of what was said, without the folders of this machine."""
    said = [x for x in why.splitlines() if x.strip()]
    first, last = (re.sub(r"(?:/[^\s:,]+)+", "...", x)[:160] for x in (said[0], said[-1]))
    return first if len(said) == 1 else f"{first.split('. ', 1)[0]}: {last}"


if __name__ == "__main__":
    write(Path(__file__).with_name("results.jsonl"), PAGE)
