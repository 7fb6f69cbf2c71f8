"""All faults, in the order of the table."""

from tests.faults import data, protocol, servers, services, sessions
from tests.faults.fault import Fault

ALL: list[Fault] = [*services.FAULTS, *servers.FAULTS, *protocol.FAULTS, *sessions.FAULTS, *data.FAULTS]
