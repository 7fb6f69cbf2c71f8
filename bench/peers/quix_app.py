"""The application of Quix Streams, run by the Python of its own environment: `quix_app.py clean|store`.

At least once: Quix commits offsets after the producer has flushed and the sink has written, which is its default.
"""

import os
import sys
from typing import Any

from quixstreams import Application  # type: ignore[import-not-found]
from quixstreams.kafka import ConnectionConfig  # type: ignore[import-not-found]
from quixstreams.sinks.community.file.local import LocalFileSink  # type: ignore[import-not-found]

# As in the contract imu: what it refuses, and what it takes the value away for.
REFUSED = dict.fromkeys(("ax", "ay", "az"), 160.0) | dict.fromkeys(("gx", "gy", "gz"), 36.0)
NULLED = {"temperature": (-40.0, 125.0), "battery": (0.0, 100.0)}
EARLIEST = 946_684_800_000_000


def valid(row: dict[str, Any]) -> bool:
    """Whether a reading has what it needs, of the right types and within the limits."""
    time, device = row.get("event_time"), row.get("device_id")
    if not isinstance(device, str) or not isinstance(time, int) or time < EARLIEST:
        return False
    values = [(row.get(name), limit) for name, limit in REFUSED.items()]
    return all(isinstance(value, float | int) and -limit <= value <= limit for value, limit in values)


def judged(row: dict[str, Any]) -> dict[str, Any]:
    """The reading, with null for a value beyond its limits, and a note of it."""
    notes = []
    for name, (least, most) in NULLED.items():
        value = row.get(name)
        if value is not None and not least <= value <= most:
            row[name] = None
            notes.append(f"{name}:range:null")
    row["_quality"] = ";".join(notes) or None
    return row


def main() -> None:
    """Run one of the two steps, for ever."""
    step, source, target = sys.argv[1:4]
    connection = ConnectionConfig(
        bootstrap_servers=os.environ["KAFKA"],
        security_protocol="sasl_plaintext",
        sasl_mechanism="PLAIN",
        sasl_username=os.environ["KAFKA_USER"],
        sasl_password=os.environ["KAFKA_PASSWORD"],
    )
    app = Application(
        connection,
        consumer_group=f"bench-quix-{step}",
        auto_offset_reset="earliest",
        processing_guarantee="at-least-once",
        consumer_extra_config={"session.timeout.ms": int(os.environ["SESSION_MS"])},
        auto_create_topics=False,
        state_dir="quix_state",
    )
    rows = app.dataframe(app.topic(source, value_deserializer="json"))
    if step == "clean":
        rows = rows[rows.apply(valid)].apply(judged).to_topic(app.topic(target, value_serializer="json"))
    else:
        rows.sink(LocalFileSink(directory=target, format="parquet"))
    app.run()


if __name__ == "__main__":
    main()
