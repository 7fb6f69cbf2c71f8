"""The archive's loop: what it says about partitions, how it keeps to its memory, and how it ends."""

import threading

import pytest
from prometheus_client import REGISTRY

from headrace.config.model import Archive
from headrace.errors import TransientError
from tests.unit.archive_oracle import check_whole
from tests.unit.archive_rows import TOPIC
from tests.unit.archive_world import PARTITION, Process, world_of


def told() -> tuple[float | None, float | None]:
    """(lag, unread) of the partition, as a scrape would find them."""
    labels = {"topic": TOPIC, "partition": "0"}
    return (
        REGISTRY.get_sample_value("headrace_lag_records", {"service": "archive", **labels}),
        REGISTRY.get_sample_value("headrace_archive_unread_records", labels),
    )


def batches(cause: str) -> float:
    found = REGISTRY.get_sample_value("headrace_archive_batches_total", {"stream": "imu", "cause": cause})
    return found or 0.0


def test_the_lag_of_a_partition_goes_with_it() -> None:
    """Else two members tell of it for ever, one of them what was true once: an autoscaler would add them up."""
    world = world_of(5)
    process = Process(world)
    process.poll(4)
    process.poll(4)
    end, after = world.log.high, process.client.at[PARTITION]
    assert told() == (end, end - after)
    process.client.revoke(PARTITION)
    process.poll(4)
    assert told() == (None, None)


def test_a_stop_stores_what_is_buffered_and_leaves_the_group() -> None:
    world = world_of(5)
    process = Process(world)
    while process.client.at.get(PARTITION) != world.log.high:
        process.poll(10)
    assert not world.store.objects
    stop = threading.Event()
    stop.set()
    with process.archive:
        process.archive.run(stop)
    assert process.client.closed
    check_whole(world)


def test_an_error_leaves_the_group_without_a_commit() -> None:
    world = world_of(5)
    process = Process(world)
    process.poll(10)
    process.poll(10)
    (part,) = process.archive._parts.values()
    with pytest.raises(TransientError), process.archive:
        raise TransientError
    assert process.client.closed
    assert not part.token.live
    assert world.committed is None


def test_memory_that_is_used_up_stops_reading_and_stores_until_there_is_room() -> None:
    world = world_of(5)
    process = Process(world, Archive(memory_bytes=1000))
    process.poll(10)
    before = batches("memory")
    process.jobs.holding = True
    process.poll(10)
    assert process.client.paused == {PARTITION}
    read = process.client.at[PARTITION]
    process.poll(10)
    assert process.client.at[PARTITION] == read
    while batches("memory") == before:
        process.jobs.release()
        process.poll(0)
    assert not process.client.paused
    process.run_dry()
    check_whole(world)


def test_nothing_is_read_while_a_batch_is_under_way() -> None:
    """Else the buffer would grow without a bound while the store is away."""
    process = Process(world_of(5))
    process.poll(4)
    process.poll(4)
    process.jobs.holding = True
    process.flush()
    read = process.client.at[PARTITION]
    for _ in range(3):
        process.poll(4)
    assert process.client.at[PARTITION] == read
    process.jobs.release()
    process.poll(4)
    process.poll(4)
    assert process.client.at[PARTITION] > read


@pytest.mark.parametrize("limits", [Archive(max_records=4), Archive(max_bytes=700)])
def test_a_full_buffer_is_stored_without_waiting(limits: Archive) -> None:
    world = world_of(5)
    process = Process(world, limits)
    for _ in range(6):
        process.poll(5)
    assert world.entries()
    assert world.committed is not None
    assert world.committed[0] > 0


def test_up_to_a_second_that_readings_waited_in_kafka_counts() -> None:
    """The rows of the world are old: one second counts, so the batch is due one second before its age by our clock."""
    process = Process(world_of(5), Archive(max_age_seconds=60, idle_seconds=3600))
    process.poll(10)
    process.poll(10)
    before = batches("age")
    process.poll(0, seconds=58.9)
    assert batches("age") == before
    assert not process.world.entries()
    process.poll(0, seconds=0.2)
    process.poll(0, seconds=0.0)
    assert process.world.entries()
    assert batches("age") == before + 1
