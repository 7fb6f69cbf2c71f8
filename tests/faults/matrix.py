"""All faults, in the order of the table."""

from tests.faults import (
    cluster,
    compacted,
    data,
    derived,
    files,
    hostile,
    hub,
    machine,
    protocol,
    servers,
    services,
    sessions,
    sharing,
)
from tests.faults.fault import Fault

GROUPS = (
    services,
    servers,
    cluster,
    protocol,
    sessions,
    sharing,
    hostile,
    data,
    machine,
    hub,
    derived,
    compacted,
    files,
)
ALL: list[Fault] = [fault for group in GROUPS for fault in group.FAULTS]
