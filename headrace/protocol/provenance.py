"""The columns that Headrace adds to every row of the lake, to say where the row came from: the one list of them.

They follow the contract's own fields in a data file, in this order. No field of a contract may have one of these names.
The archive makes its Arrow types from `kind`, the views their SQL types, and docs/contract-reference.md its table.
"""

from typing import Literal, NamedTuple

Kind = Literal["string", "int32", "int64", "timestamp", "binary16", "date"]


class Column(NamedTuple):
    """One column. `kind`: a timestamp is UTC in microseconds, binary16 is 16 bytes."""

    name: str
    kind: Kind
    meaning: str


TOPIC = Column("_topic", "string", "Kafka topic that the row was read from, such as `imu.clean`")
PARTITION = Column("_partition", "int32", "its partition there")
OFFSET = Column("_offset", "int64", "its offset there")
KAFKA_TIME = Column("_kafka_time", "timestamp", "its timestamp in Kafka")
SOURCE_EPOCH = Column("_src_epoch", "int32", "leader epoch of the raw message that the row was made from")
SOURCE_OFFSET = Column("_src_offset", "int64", "offset of that raw message, in the same partition of the raw topic")
SOURCE_INDEX = Column("_src_index", "int32", "which reading of that raw message the row is, from 0")
EVENT_ID = Column("_event_id", "binary16", "the reading's event id: equal only for copies of one reading")
RECEIVED_AT = Column("_received_at", "timestamp", "when the bridge received the reading")

COLUMNS = (
    TOPIC, PARTITION, OFFSET, KAFKA_TIME, SOURCE_EPOCH, SOURCE_OFFSET, SOURCE_INDEX, EVENT_ID, RECEIVED_AT,
)  # fmt: skip
# Not in the files but in the names of their folders, `date=2026-11-26`.
DATE = Column("date", "date", "UTC date of `event_time`, by which the files are divided: a query that names it is fast")

NAMES = tuple(c.name for c in COLUMNS)
SOURCE_NAMES = (SOURCE_EPOCH.name, SOURCE_OFFSET.name, SOURCE_INDEX.name)  # together a `wire.Position`
RESERVED = (*NAMES, DATE.name)  # what no field of a contract may be called
