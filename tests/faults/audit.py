"""Whether every obligation was met: pure comparison of what was sent with what is there."""

from dataclasses import dataclass, fields

import polars as pl

from tests.faults import readings
from tests.faults.evidence import Evidence
from tests.faults.fleet import letter_ids
from tests.faults.readings import AXES, ROWS

READING = ["device_id", "sequence"]
PLACE = ["partition", "offset"]
SOURCE = ["partition", "src_epoch", "src_offset", "src_item"]


@dataclass(frozen=True)
class Finding:
    """What an audit found. Each list names places; the first few of them."""

    obligations: int  # readings that were acknowledged
    stored: int  # rows of this run
    letters: int  # obligations that were met by a dead letter
    copies: int  # records of `.raw` beyond the first of their reading: redelivered, and dropped later
    lost: list[str]  # acknowledged, and neither a row nor a dead letter
    dropped: list[str]  # those of the lost that `.raw` has: no broker of MQTT is to blame
    untested: list[str]  # in words, why the run proves nothing
    doubled: list[str]  # readings that are several rows, or several dead letters; positions that are several rows
    altered: list[str]  # rows with other values than those sent
    invented: list[str]  # rows that nobody sent, or of a reading that had to be refused
    both: list[str]  # a row and a dead letter
    disordered: list[str]  # devices whose readings lie in `.raw` in another order than that of sending
    unaccounted: list[str]  # positions of `.clean` that are no row, and whose source is no other row
    baseless: list[str]  # rows of positions that `.clean` does not have

    @property
    def counts(self) -> dict[str, int]:
        """Each figure, lists by their length."""
        return {f.name: len(value) if isinstance(value := getattr(self, f.name), list) else value for f in fields(self)}

    @property
    def faults(self) -> list[str]:
        """In words, what is wrong: empty when every obligation was met."""
        wrong = [f.name for f in fields(self) if isinstance(getattr(self, f.name), list)]
        return [f"{len(found)} {name}: {', '.join(found[:5])}" for name in wrong if (found := getattr(self, name))]


def audit(sent: pl.DataFrame, boot: str, evidence: Evidence) -> Finding:
    """Compare what a fleet sent, and was told to be safe, with the evidence."""
    every = evidence.rows
    rows = every.filter(pl.col("boot_id") == boot)
    good = pl.col("kind").is_in([int(k) for k in ROWS])
    must_be_rows = sent.filter(good)
    counted = rows.group_by(READING).len()
    missing = sent.filter(pl.col("acked")).join(rows, on=READING, how="anti")
    missing = missing.with_columns(letter_ids(missing, boot))
    in_letters = missing.join(evidence.letters, on="letter_id", how="semi")
    lost = missing.join(evidence.letters, on="letter_id", how="anti")
    stored_twice = counted.filter(pl.col("len") > 1)
    letters_twice = evidence.letters.group_by("letter_id").len().filter(pl.col("len") > 1)
    places_twice = every.group_by(PLACE).len().filter(pl.col("len") > 1)
    sources_twice = every.group_by(SOURCE).len().filter(pl.col("len") > 1)
    compared = readings.with_values(must_be_rows).join(rows, on=READING, suffix="_stored")
    same = pl.all_horizontal(
        pl.col("_quality").is_null(), *(pl.col(c) == pl.col(f"{c}_stored") for c in ("event_time", *AXES))
    )
    stored = must_be_rows.join(rows, on=READING, how="semi")
    both = stored.with_columns(letter_ids(stored, boot)).join(evidence.letters, on="letter_id", how="semi")
    unstored = evidence.clean.join(every, on=PLACE, how="anti")
    raw = evidence.raw.filter(pl.col("boot_id") == boot).sort(PLACE)
    first = raw.unique(READING, keep="first", maintain_order=True)
    back = first.with_columns(step=pl.col("sequence").diff().over("device_id")).filter(pl.col("step") < 0)
    obligations = int(sent["acked"].sum())
    few = [] if 2 * obligations > len(sent) else [f"only {obligations:,} of {len(sent):,} readings were acknowledged"]
    return Finding(
        obligations=obligations,
        stored=len(rows),
        letters=len(in_letters),
        copies=len(raw) - len(first),
        lost=_named(lost, READING),
        dropped=_named(lost.join(raw, on=READING, how="semi"), READING),
        untested=few,
        doubled=[
            *_named(stored_twice, READING),
            *(f"letter {i.hex()}" for i in letters_twice["letter_id"]),
            *_named(places_twice, PLACE),
            *_named(sources_twice, SOURCE),
        ],
        altered=_named(compared.filter(~same.fill_null(value=False)), READING),
        invented=_named(rows.join(must_be_rows, on=READING, how="anti"), READING),
        both=_named(both, READING),
        disordered=_named(back, READING),
        unaccounted=_named(unstored.join(every, on=SOURCE, how="anti"), PLACE),
        baseless=_named(every.join(evidence.clean, on=PLACE, how="anti"), PLACE),
    )


def _named(frame: pl.DataFrame, columns: list[str]) -> list[str]:
    return ["/".join(map(str, row)) for row in frame.select(columns).sort(columns).iter_rows()]
