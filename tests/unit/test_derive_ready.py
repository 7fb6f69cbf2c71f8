"""derive is not ready before its functions are loaded: `restart` took one that ended over one for a good start."""

import threading
from pathlib import Path

import pytest

from headrace.config import Config
from headrace.errors import ConfigError
from headrace.runtime.health import Health
from processors.derive import service


@pytest.mark.parametrize("text", ["def (", None], ids=["ends over its function", "without derived streams"])
def test_it_is_ready_once_its_functions_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text or "", encoding="utf-8")
    streams = {"toy": {}, "made": {"from": "toy", "transform": str(file)}} if text else {}
    found: list[bool] = []
    stop = threading.Event()
    leave = Health.__exit__

    def leaving(it: Health, *error: object) -> None:
        found.append(it.is_ready()[0])
        leave(it, *error)  # type: ignore[arg-type]

    monkeypatch.setattr(Health, "__exit__", leaving)
    monkeypatch.setattr(service, "_IDLE_SECONDS", 0.01)
    if text:
        with pytest.raises(ConfigError, match="line 1: not Python"):
            service.run(Config.model_validate({"streams": streams}), stop)
    else:
        stop.set()
        service.run(Config(), stop)
    assert found == [text is None]
