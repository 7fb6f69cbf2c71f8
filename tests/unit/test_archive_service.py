"""What an archive tells of partitions that it has no more."""

from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from headrace.config import Config
from headrace.health import Health
from headrace.registry import Registry
from headrace.store.open import open_store
from processors.archive.commit import Token
from processors.archive.partition import Partition
from processors.archive.service import Archive

KEY = ("imu.clean", 3)


class Part:
    """A partition that was read, and goes without ado."""

    assigned, start, next = True, 5, 5

    def __init__(self) -> None:
        self.token = Token()

    def leave(self, _seconds: float) -> None: ...


class Stub:
    """Stands for what is not asked."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def told() -> tuple[float | None, float | None]:
    """(lag, unread) of the partition, as a scrape would find them."""
    lag = {"service": "archive", "topic": KEY[0], "partition": str(KEY[1])}
    unread = {"topic": KEY[0], "partition": str(KEY[1])}
    return REGISTRY.get_sample_value("headrace_lag_records", lag), REGISTRY.get_sample_value(
        "headrace_archive_unread_records", unread
    )


def test_the_lag_of_a_partition_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else two members tell of it for ever, one of them what was true once: an autoscaler would add them up."""
    cfg = Config.model_validate(
        {"kafka": {"bootstrap": "127.0.0.1:1"}, "store": {"kind": "folder", "folder": str(tmp_path)}}
    )
    health, registry = cast("Health", Stub()), cast("Registry", Stub())
    archive = Archive(cfg, [KEY[0]], health, registry, open_store(cfg.store), conditional=True)
    try:
        monkeypatch.setattr(archive._reader, "end", lambda *_: 9)
        archive._parts[KEY] = cast("Partition", Part())
        archive._gauges(1e9)
        assert told() == (4, 4)
        assert archive._left([KEY], False) == [KEY]
        assert told() == (None, None)
    finally:
        archive._reader.client.close()
        archive.positions.close()
        archive._work.close()
