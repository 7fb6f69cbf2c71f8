"""Readings together with what was known of their device at their time: the view `imu_with_devices` of the stream imu.

What hub told of devices, the stream device_events, is joined by time when it is asked for, not when readings are
cleaned: docs/decisions/devices-at-query.md.
"""

from collections.abc import Collection

from headrace.lake.remote import name

SUFFIX = "_with_devices"
AS_OF = "device_as_of"
_TOLD = ("kind", "state", "serial", "model", "firmware", "owner", "tags", "groups", "attributes")


def view(stream: str, columns: Collection[str], events: str) -> str:
    """The SELECT: the stream's rows with its `columns`, and `device_model`, `device_firmware`, ...

    What counts is the device's latest event up to the reading's event_time; of events at one time, the last. Before its
    first event that one counts: `device_as_of`, the event's time, then lies after event_time. `events`: the table
    device_events, or SQL that stands for it.
    """
    taken = {c.lower() for c in columns}
    told = []
    for source, wanted in (*((t, f"device_{t}") for t in _TOLD), ("event_time", AS_OF)):
        column = wanted
        while column.lower() in taken:  # the reading's own column keeps its name
            column += "_"
        taken.add(column.lower())
        told.append(f"known.{source} AS {name(column)}")
    return f"""
    SELECT readings.*, {", ".join(told)}
    FROM {name(stream)} AS readings
    ASOF LEFT JOIN (
        SELECT *, CASE WHEN event_time = min(event_time) OVER (PARTITION BY device_id)
            THEN '-infinity'::TIMESTAMPTZ ELSE event_time END AS _since
        FROM {events}
        WINDOW happened AS (PARTITION BY device_id ORDER BY event_time, number)
        QUALIFY event_time IS DISTINCT FROM lead(event_time) OVER happened
    ) AS known ON readings.device_id = known.device_id AND readings.event_time >= known._since
    """  # noqa: S608 - names are quoted
