"""`headrace selftest` on the real services: it finds its own row, and says so when there is none."""

import pytest

from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("streams")]


@pytest.mark.parametrize("stream", ["imu", "vibration"])
def test_its_row_is_in_the_lake(stack: Stack, stream: str) -> None:
    found = stack.json("selftest", stream, "--wait", "90", "--json", timeout=120)
    where = f"_topic = '{found['topic']}' and _partition = {found['partition']} and _offset = {found['offset']}"
    rows = stack.json("query", "--format", "json", f"select device_id from {stream} where {where}")
    assert rows == [{"device_id": found["device_id"]}]
    assert found["topic"] == f"{stream}.clean"


def test_a_reading_that_becomes_a_dead_letter_is_no_row(stack: Stack) -> None:
    done = stack.run("selftest", "environment", "--wait", "8", "--payload", '{"no_such": 1}', ok=False, timeout=60)
    assert done.returncode == 1
    assert "no row of selftest-" in done.stderr
    assert "dlq list" in done.stderr
