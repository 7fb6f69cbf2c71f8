"""All faults, in the order of the table."""

from tests.faults import servers, services
from tests.faults.fault import Fault

ALL: list[Fault] = [*services.FAULTS, *servers.FAULTS]
