"""Object keys of the lake, made from topic, incarnation, partition, start offset, schema id and date only.

    <folder>/date=YYYY-MM-DD/<topic>-<topic id>-p<partition>-o<start>-s<schema id>.parquet     rows
    _ledger/<topic>/<topic id>/p<partition>/<start>.json                                      an account of each offset
    <folder>/date=.../<topic>-<topic id>-p<partition>-c<start>-<end>-s<schema id>-n<number>-<token>.parquet
                                                                       rows of many batches, by compaction
    _compacted/<topic>/<topic id>/p<partition>/<number>.json           which of those count: see manifest.py

Offsets have 20 digits, so that a listing is in order. The folder is the stream's name for its `.clean`
topic, and the whole topic name for any other.
"""

import re
from typing import NamedTuple

from headrace.protocol.names import key_part, lake_folder

LEDGER, COMPACTED = "_ledger", "_compacted"
_DATA = re.compile(
    r"(?P<folder>[^/]+)/date=(?P<date>[^/]+)/(?P<name>[^/]+)-p(?P<partition>\d+)-o(?P<start>\d{20})-s(?P<schema>\d+)\.parquet\Z"
)
_MERGED = re.compile(
    r"(?P<folder>[^/]+)/date=(?P<date>[^/]+)/(?P<name>[^/]+)-p(?P<partition>\d+)-c(?P<start>\d{20})-(?P<end>\d{20})"
    r"-s(?P<schema>\d+)-n(?P<number>\d{10})-(?P<made>\d{10})(?P<token>[0-9a-f]{12})\.parquet\Z"
)
_STATE = re.compile(rf"{COMPACTED}/(?P<topic>[^/]+)/(?P<id>[^/]+)/p(?P<partition>\d+)/(?P<number>\d{{10}})\.json\Z")
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


class MergedKey(NamedTuple):
    """What the key of a compacted file says. It holds rows of batches that begin in [start, end).

    `number`: of the state of the manifest that is the first to name it. `made`: seconds since 1970.
    """

    date: str
    topic_id: str
    partition: int
    start: int
    end: int
    schema_id: int
    number: int
    made: int


class StateKey(NamedTuple):
    """What the key of a state of a manifest says."""

    topic: str
    topic_id: str
    partition: int
    number: int


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


def merged_key(topic: str, it: MergedKey, token: str) -> str:
    """The key of a compacted file. `token`: 12 hexadecimal digits that no other attempt has.

    The incarnation's id, here and in `state_key`, is as keys have it already.
    """
    name = f"{key_part(topic)}-{it.topic_id}-p{it.partition}-c{it.start:020d}-{it.end:020d}-s{it.schema_id}"
    return f"{lake_folder(topic)}/date={it.date}/{name}-n{it.number:010d}-{it.made:010d}{token}.parquet"


def parse_merged_key(key: str, topic: str) -> MergedKey | None:
    """The parts of a compacted file's key, or None when it is not one of the topic."""
    found = _MERGED.match(key)
    if found is None or found["folder"] != lake_folder(topic) or not found["name"].startswith(f"{key_part(topic)}-"):
        return None
    numbers = (int(found[name]) for name in ("partition", "start", "end", "schema", "number", "made"))
    return MergedKey(found["date"], found["name"].removeprefix(f"{key_part(topic)}-"), *numbers)


def state_prefix(topic: str) -> str:
    """The folder of a topic's manifests."""
    return f"{COMPACTED}/{key_part(topic)}/"


def state_key(topic: str, topic_id: str, partition: int, number: int) -> str:
    """The key of a state of the manifest of a partition of an incarnation."""
    return f"{state_prefix(topic)}{topic_id}/p{partition}/{number:010d}.json"


def parse_state_key(key: str) -> StateKey | None:
    """The parts of a state's key (topic and id as in the key), or None when it is not one."""
    found = _STATE.match(key)
    if found is None:
        return None
    return StateKey(found["topic"], found["id"], int(found["partition"]), int(found["number"]))


def ledger_prefix(topic: str) -> str:
    """The folder of a topic's ledger."""
    return f"{LEDGER}/{key_part(topic)}/"


def entries_prefix(topic: str, key_id: str, partition: int) -> str:
    """The folder of a partition's ledger entries. `key_id`: the incarnation's id as keys have it."""
    return f"{ledger_prefix(topic)}{key_id}/p{partition}/"


def ledger_key(topic: str, topic_id: str, partition: int, start: int) -> str:
    """The key of the ledger object of the batch that begins at offset `start`."""
    return f"{entries_prefix(topic, key_part(topic_id), partition)}{start:020d}.json"


def parse_ledger_key(key: str) -> LedgerKey | None:
    """The parts of a ledger object's key (topic and id as in the key), or None when it is not one."""
    found = _ENTRY.match(key)
    if found is None:
        return None
    return LedgerKey(found["topic"], found["id"], int(found["partition"]), int(found["start"]))
