"""What the devices' own numbers say about the rows in the lake: which are missing, and which are stored twice.

A run is what one device numbered without a restart: the readings of one boot id. Readings without a boot id are split
where, in Kafka's order, the number falls while the event time rises; a number that falls together with the time came
late and belongs to the run before. docs/guarantees.md says what these numbers can show and what they can't.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headrace.contracts.model import Contract
from headrace.lake.rows import Numbering, Source

LISTED = 100  # runs that are listed when not all are asked for
RANGES = 5  # of missing numbers, the first of a run

# A series: what a device numbered in one boot; without a boot id, in one partition of one incarnation of the topic.
_SERIES = """
CREATE OR REPLACE TEMP TABLE series AS
SELECT device, boot, l, part, row_number() OVER () AS n FROM (SELECT DISTINCT device, boot, l, part FROM {numbers})
"""
_NUMBERS = """(
    SELECT device, boot, CASE WHEN boot IS NULL THEN log END AS l, CASE WHEN boot IS NULL THEN p END AS part,
        log, p, o, seq, t
    FROM found WHERE seq IS NOT NULL
)"""
_OF_SERIES = "{numbers} AS x JOIN series AS s ON (" + " AND ".join(
    f"x.{c} IS NOT DISTINCT FROM s.{c}" for c in ("device", "boot", "l", "part")
) + ")"  # fmt: skip
# Nearly all series only rise: then each row is the next number of one run. To see that takes a tenth of what it takes
# to split a series where its numbers fall, and to find its copies.
_RISING = """
CREATE OR REPLACE TEMP TABLE rising AS
SELECT n, min(seq) AS first, max(seq) AS last, count(*) AS numbers, coalesce(sum(hole), 0) AS missing,
    min_by([seq - hole, seq::HUGEINT - 1], seq, {ranges}) FILTER (hole > 0) AS ranges, bool_and(rises) AS rises
FROM (
    SELECT n, seq, seq::HUGEINT - before - 1 AS hole, coalesce(seq > before, true) AS rises
    FROM (
        SELECT n, seq, lag(seq) OVER (PARTITION BY n ORDER BY x.log, x.p, o) AS before FROM {of_series}
    )
) GROUP BY n
"""
# With a boot id a number stands for one reading, whatever else differs. Without one, a copy must have the same event
# time too, and the order is that of one partition of one incarnation of the topic: `place`.
_RUNS = """
CREATE OR REPLACE TEMP TABLE runs AS
WITH others AS (
    SELECT x.* FROM {of_series} SEMI JOIN (FROM rising WHERE NOT rises) AS r ON (s.n = r.n)
),
booted AS (
    SELECT device, boot, NULL::BIGINT AS place, 0::HUGEINT AS run, seq, count(*) - 1 AS again
    FROM others WHERE boot IS NOT NULL GROUP BY device, boot, seq
),
readings AS (
    SELECT device, log::BIGINT << 32 | p AS place, seq, t, min(o) AS o, count(*) - 1 AS again
    FROM others WHERE boot IS NULL GROUP BY device, log, p, seq, t
),
falls AS (
    SELECT *, (seq < lag(seq) OVER kafka AND t > lag(t) OVER kafka)::INT AS fell
    FROM readings WINDOW kafka AS (PARTITION BY device, place ORDER BY o)
),
split AS (
    SELECT *, coalesce(sum(fell) OVER (PARTITION BY device, place ORDER BY o ROWS UNBOUNDED PRECEDING), 0) AS run
    FROM falls
),
unbooted AS (
    SELECT device, NULL::VARCHAR AS boot, place, run, seq, sum(again) AS again FROM split
    GROUP BY device, place, run, seq
),
steps AS (
    SELECT *, lead(seq) OVER (PARTITION BY device, boot, place, run ORDER BY seq)::HUGEINT - seq - 1 AS hole
    FROM (FROM booted UNION ALL BY NAME FROM unbooted)
)
SELECT device, boot, min(seq) AS first, max(seq) AS last, count(*) AS numbers, coalesce(sum(hole), 0) AS missing,
    min_by([seq::HUGEINT + 1, seq + hole], seq, {ranges}) FILTER (hole > 0) AS ranges, sum(again) AS again
FROM steps GROUP BY device, boot, place, run
UNION ALL
SELECT device, boot, first, last, numbers, missing, ranges, 0 FROM rising JOIN series USING (n) WHERE rises
"""
_TOTALS = """
SELECT count(DISTINCT device), count(*), coalesce(sum(numbers), 0), coalesce(sum(missing), 0), coalesce(sum(again), 0),
    count(*) FILTER (missing > 0 OR again > 0)
FROM runs
"""
_LIST = """
SELECT device, boot, first, last, numbers, missing, ranges, again FROM runs
"""
_WRONG = "WHERE missing > 0 OR again > 0 ORDER BY missing DESC, again DESC, device, first LIMIT {n}"
_ALL = "ORDER BY device, first, last, boot"


@dataclass(frozen=True)
class Run:
    """A device's readings from one start to the next. `ranges`: the first missing numbers, ends included."""

    device: str
    boot: str | None
    first: int
    last: int
    numbers: int  # stored, without copies
    missing: int  # between first and last
    ranges: tuple[tuple[int, int], ...]
    again: int  # rows beyond the first of their number

    def words(self) -> str:
        """What is wrong with the run; `whole` when nothing is."""
        who = self.device + (f" (boot {self.boot})" if self.boot is not None else "")
        out = []
        if self.missing:
            some = [f"{a:,}" if a == b else f"{a:,}-{b:,}" for a, b in self.ranges]
            more = ", ..." if sum(b - a + 1 for a, b in self.ranges) < self.missing else ""
            out.append(f"missing {self.missing:,} of the numbers {self.first:,}-{self.last:,}: {', '.join(some)}{more}")
        if self.again:
            out.append(f"stored again: {self.again:,}")
        return f"{who}: {'; '.join(out) or 'whole'}"

    def to_json(self) -> dict[str, Any]:
        """As `headrace verify --json` prints it."""
        return {
            "device": self.device, "boot": self.boot, "first": self.first, "last": self.last, "numbers": self.numbers,
            "missing": self.missing, "missing_ranges": [list(r) for r in self.ranges], "stored_again": self.again,
        }  # fmt: skip


@dataclass(frozen=True)
class Devices:
    """The answer for a stream whose contract has a field of the role sequence. Counts are of all its runs."""

    devices: int
    runs: int
    numbers: int
    missing: int
    again: int
    wrong: int  # runs with something wrong
    listed: tuple[Run, ...]  # the worst LISTED of those; or all runs

    def to_json(self) -> dict[str, Any]:
        """As `headrace verify --json` prints it."""
        return {
            "devices": self.devices, "runs": self.runs, "numbers": self.numbers, "missing": self.missing,
            "stored_again": self.again, "wrong": self.wrong, "listed": [run.to_json() for run in self.listed],
        }  # fmt: skip


def numbering(contract: Contract | None) -> Numbering | None:
    """The fields of the roles sequence and boot; None where the contract has no field of the role sequence."""
    roles = {f.role: f.name for f in contract.fields if f.role} if contract is not None else {}
    return Numbering(roles["sequence"], roles.get("boot")) if "sequence" in roles else None


def read(source: Source, *, every: bool = False) -> Devices | None:
    """What the rows say that `source` has loaded with their numbers; None where no row has a number.

    Lists the runs with something wrong, or with `every` all of them.
    """
    of_series = _OF_SERIES.format(numbers=_NUMBERS)
    source.all(_SERIES.format(numbers=_NUMBERS))
    source.all(_RISING.format(of_series=of_series, ranges=RANGES))
    source.all(_RUNS.format(of_series=of_series, ranges=RANGES))
    devices, runs, numbers, missing, again, wrong = map(int, source.all(_TOTALS)[0])
    listed = source.all(_LIST + (_ALL if every else _WRONG.format(n=LISTED)))
    return Devices(devices, runs, numbers, missing, again, wrong, tuple(_runs(listed))) if runs else None


def _runs(rows: Iterable[tuple[Any, ...]]) -> Iterable[Run]:
    for device, boot, first, last, numbers, missing, ranges, again in rows:
        holes = tuple((int(a), int(b)) for a, b in ranges or ())
        yield Run(device, boot, first, last, numbers, int(missing), holes, int(again))
