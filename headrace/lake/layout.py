"""Object keys of the lake, made from topic, incarnation, partition, start offset, schema id and date only.

    <folder>/date=YYYY-MM-DD/<topic>-<topic id>-p<partition>-o<start>-s<schema id>.parquet     rows
    _ledger/<topic>/<topic id>/p<partition>/<start>.json                                      an account of each offset

The start offset has 20 digits, so that a listing is in order. The folder is the stream's name for its `.clean`
topic, and the whole topic name for any other.
"""

import re
from typing import NamedTuple

from headrace.protocol.names import key_part, lake_folder

LEDGER = "_ledger"
_DATA = re.compile(
    r"(?P<folder>[^/]+)/date=(?P<date>[^/]+)/(?P<name>[^/]+)-p(?P<partition>\d+)-o(?P<start>\d{20})-s(?P<schema>\d+)\.parquet\Z"
)
_ENTRY = re.compile(rf"{LEDGER}/(?P<topic>[^/]+)/(?P<id>[^/]+)/p(?P<partition>\d+)/(?P<start>\d{{20}})\.json\Z")


class DataKey(NamedTuple):
    """What a data file's key says. `date` is UTC, YYYY-MM-DD."""

    folder: str
    date: str
    topic: str
    topic_id: str
    partition: int
    start: int
    schema_id: int


class LedgerKey(NamedTuple):
    """What a ledger object's key says."""

    topic: str
    topic_id: str
    partition: int
    start: int


def data_key(topic: str, topic_id: str, partition: int, start: int, schema_id: int, date: str) -> str:
    """The key of the rows of one schema id and one UTC date in the batch that begins at offset `start`."""
    name = f"{key_part(topic)}-{key_part(topic_id)}-p{partition}-o{start:020d}-s{schema_id}.parquet"
    return f"{lake_folder(topic)}/date={date}/{name}"


def parse_data_key(key: str, topic: str) -> DataKey | None:
    """The parts of a data file's key, or None when it is not a data file of the topic."""
    found = _DATA.match(key)
    if found is None or found["folder"] != lake_folder(topic) or not found["name"].startswith(f"{key_part(topic)}-"):
        return None
    topic_id = found["name"].removeprefix(f"{key_part(topic)}-")
    return DataKey(
        found["folder"],
        found["date"],
        topic,
        topic_id,
        int(found["partition"]),
        int(found["start"]),
        int(found["schema"]),
    )


def ledger_prefix(topic: str, topic_id: str | None = None, partition: int | None = None) -> str:
    """The folder of a topic's ledger, of one of its incarnations, or of one of their partitions."""
    parts = [LEDGER, key_part(topic)]
    if topic_id is not None:
        parts.append(key_part(topic_id))
        if partition is not None:
            parts.append(f"p{partition}")
    return "/".join(parts) + "/"


def ledger_key(topic: str, topic_id: str, partition: int, start: int) -> str:
    """The key of the ledger object of the batch that begins at offset `start`."""
    return f"{ledger_prefix(topic, topic_id, partition)}{start:020d}.json"


def parse_ledger_key(key: str) -> LedgerKey | None:
    """The parts of a ledger object's key (topic and id as in the key), or None when it is not one."""
    found = _ENTRY.match(key)
    if found is None:
        return None
    return LedgerKey(found["topic"], found["id"], int(found["partition"]), int(found["start"]))
