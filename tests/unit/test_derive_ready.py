"""derive is not ready before its functions are loaded: `restart` took one that ended over one for a good start."""

import threading
from pathlib import Path

import pytest

from headrace.config import Config
from headrace.errors import ConfigError
from headrace.runtime.health import Health
from processors.derive import service


def test_it_is_not_ready_when_it_ends_over_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bad.py"
    file.write_text("def (", encoding="utf-8")
    streams = {"toy": {}, "made": {"from": "toy", "transform": str(file)}}
    found: list[bool] = []
    leave = Health.__exit__
    monkeypatch.setattr(Health, "__exit__", lambda it, *e: (found.append(it.is_ready()[0]), leave(it, *e))[1])
    with pytest.raises(ConfigError, match="line 1: not Python"):
        service.run(Config.model_validate({"streams": streams}), threading.Event())
    assert found == [False]


def test_without_derived_streams_it_is_ready_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bool] = []
    stop = threading.Event()
    progress = Health.progress
    monkeypatch.setattr(Health, "progress", lambda it: (found.append(it.is_ready()[0]), stop.set(), progress(it))[-1])
    monkeypatch.setattr(service, "_IDLE_SECONDS", 0.01)
    service.run(Config(), stop)
    assert found == [True]
