"""The service compact: rounds in a process of their own, what it tells of them, and how it ends."""

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from headrace.config import Config
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.runtime.health import Health
from headrace.runtime.service import IMPORT_PATH
from headrace.store.base import ObjectInfo
from processors.compact import round as rounds
from processors.compact import service
from processors.compact.round import LostRoundError, run_round

DONE = (
    '{"report":{"good":true,"stopped":false,"topics":{"imu.clean":{"before":9,"after":2,"small":1,"merges":1,"merged":8,'
    '"rows":800,"bytes":4000,"removed":3,"problems":[]}}}}'
)
IMU: dict[str, Any] = {"streams": {"imu": {}}, "compact": {"every_seconds": 0.05}}


def script(text: str) -> list[str]:
    """A process in place of a round's: it has read the configuration when `text` begins."""
    head = "import os,pickle,sys,time\nconfig=pickle.load(sys.stdin.buffer)\nsay=lambda t: os.write(1,t.encode())\n"
    return [sys.executable, "-c", head + text]


def ask(text: str, stop: threading.Event | None = None) -> Any:
    return run_round(Config.model_validate(IMU), stop or threading.Event(), lambda: None, script(text))


def test_a_round_counts() -> None:
    counts = ask(f"say('{{\"doing\":\"listing\"}}\\n'); say('{DONE}\\n')")
    assert counts["topics"]["imu.clean"]["merged"] == 8


def test_it_gets_the_whole_configuration_secrets_too() -> None:
    cfg = Config.model_validate({"store": {"secret_key": "very secret"}})
    text = f"assert config.store.secret_key.get_secret_value() == 'very secret'; say('{DONE}\\n')"
    assert run_round(cfg, threading.Event(), lambda: None, script(text)) is not None


@pytest.mark.parametrize("error", [ConfigError, TransientError, FatalError, LostRoundError])
def test_its_error_is_ours(error: type[Exception]) -> None:
    with pytest.raises(error, match="no bucket"):
        ask(f"""say('{{"kind":"{error.__name__}","error":"no bucket"}}\\n')""")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('say(\'{"doing":"merging x"}\\n\'); os.kill(os.getpid(), 9)', "ended by signal 9, at: merging x"),
        ('say(\'{"doing":"merg\'); os.kill(os.getpid(), 9)', "ended by signal 9, at: nothing"),
        ("sys.exit(3)", "ended with exit code 3"),
    ],
)
def test_one_that_ends_without_a_report_is_lost(text: str, said: str) -> None:
    with pytest.raises(LostRoundError, match=said):
        ask(text)


def test_one_that_can_not_begin_is_lost() -> None:
    """It reads nothing: the configuration finds a closed pipe."""
    with pytest.raises(LostRoundError, match="ended with exit code 7"):
        run_round(Config(), threading.Event(), lambda: None, [sys.executable, "-c", "import sys; sys.exit(7)"])


def test_one_that_says_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "SILENT_SECONDS", 1.0)
    began = time.monotonic()
    with pytest.raises(LostRoundError, match="said nothing for 1 s"):
        ask("time.sleep(60)")
    assert time.monotonic() - began < 20


def test_at_the_end_it_is_told_and_may_finish_its_step() -> None:
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    assert ask(f"sys.stdin.buffer.read(); say('{DONE}\\n')", stop) is None


def test_one_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "END_SECONDS", 0.5)
    stop = threading.Event()
    stop.set()
    assert ask("time.sleep(60)", stop) is None


def test_a_real_round_on_a_folder(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    cfg = Config.model_validate({**IMU, "store": {"kind": "folder", "folder": str(tmp_path / "lake")}})
    counts = run_round(cfg, threading.Event(), lambda: None)
    assert counts is not None
    assert counts["good"]
    assert counts["topics"]["imu.clean"]["after"] == 0


def test_a_real_round_ends_with_who_asked_for_it(tmp_path: Path) -> None:
    """Its standard input ends: it stops before it has looked at anything."""
    (tmp_path / "lake").mkdir()
    cfg = Config.model_validate({**IMU, "store": {"kind": "folder", "folder": str(tmp_path / "lake")}})
    env = {**os.environ, "PYTHONPATH": IMPORT_PATH}
    done = subprocess.run(rounds.ARGV, input=pickle.dumps(cfg), capture_output=True, timeout=60, check=False, env=env)
    assert done.returncode == 0
    assert b'"stopped":true' in done.stdout


def test_a_store_that_refuses_is_an_error_of_the_round(tmp_path: Path) -> None:
    cfg = Config.model_validate({**IMU, "store": {"kind": "folder", "folder": str(tmp_path / "none")}})
    with pytest.raises(ConfigError, match="none"):
        run_round(cfg, threading.Event(), lambda: None)


class Serving:
    """The service, with `outcomes` in place of its rounds: what each returns or raises. It ends with the last."""

    def __init__(self, patch: pytest.MonkeyPatch, outcomes: list[Any], **settings: Any) -> None:
        self.ready: list[bool] = []
        self.listed, self.grows = 0, True
        self._outcomes, self._stop = outcomes, threading.Event()
        self.config = Config.model_validate({**IMU, "compact": {**IMU["compact"], **settings}})
        patch.setattr(service, "run_round", self._round)
        patch.setattr(service, "FIRST_SECONDS", 0.01)
        patch.setattr(service, "_LOOK_SECONDS", 0.01)
        patch.setattr(service, "open_store", lambda _: self)
        patch.setattr("headrace.runtime.backoff.FIRST_SECONDS", 0.01)
        leave = Health.ready

        def told(it: Health, check: str, ok: bool, why: str = "") -> None:
            self.ready.append(ok)
            leave(it, check, ok, why)

        patch.setattr(Health, "ready", told)

    def run(self) -> None:
        """Until its end."""
        service.run(self.config, self._stop)

    def list(self, _prefix: str) -> Any:
        """Of the store: a file more each time, or always the same."""
        self.listed += self.grows
        return iter([ObjectInfo(f"imu/{self.listed}", 1, "")])

    def _round(self, _config: Config, stop: threading.Event, _alive: Callable[[], None]) -> Any:
        it = self._outcomes.pop(0)
        if not self._outcomes:
            stop.set()
        if isinstance(it, Exception):
            raise it
        return it


def counts(**over: Any) -> dict[str, Any]:
    found = {"before": 9, "after": 2, "small": 1, "merges": 1, "merged": 8, "rows": 800, "bytes": 40, "removed": 3}
    return {"good": True, "stopped": False, "topics": {"imu.clean": {**found, "problems": []}}, **over}


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_what_rounds_have_done_is_in_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("rows", "bytes", "merged_files", "removed_files")
    before = [value(f"headrace_compact_{n}_total", stream="imu") for n in names]
    ended = value("headrace_compact_rounds_total")
    Serving(monkeypatch, [counts(), counts()]).run()
    after = [value(f"headrace_compact_{n}_total", stream="imu") for n in names]
    assert [a - b for a, b in zip(after, before, strict=True)] == [1600, 80, 16, 6]
    assert value("headrace_compact_rounds_total") - ended == 2
    assert value("headrace_compact_files", stream="imu") == 2
    assert value("headrace_compact_small_files", stream="imu") == 1


@pytest.mark.parametrize("error", [TransientError("away"), ConfigError("refused"), LostRoundError("killed")])
def test_what_may_pass_is_waited_out_and_counted(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    failed, ended = value("headrace_compact_failures_total"), value("headrace_compact_rounds_total")
    it = Serving(monkeypatch, [error, counts(), counts()])
    it.run()
    assert value("headrace_compact_failures_total") - failed == 1
    assert value("headrace_compact_rounds_total") - ended == 2
    assert (False in it.ready) == (not isinstance(error, LostRoundError)), "the store is away, says /readyz"
    assert it.ready[-1]


def test_a_round_with_problems_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = value("headrace_compact_failures_total")
    Serving(monkeypatch, [counts(good=False), counts()]).run()
    assert value("headrace_compact_failures_total") - failed == 1


def test_where_nothing_comes_no_round_begins_after_one_that_did_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = counts()
    nothing["topics"]["imu.clean"] |= {"merges": 0, "merged": 0, "removed": 0, "rows": 0, "bytes": 0}
    it = Serving(monkeypatch, [counts(), nothing, counts(), counts()], grace_seconds=3600)
    it.grows = False
    threading.Timer(1.0, it._stop.set).start()
    it.run()
    assert len(it._outcomes) == 2, "after the first, which merged, there is a second; then none"


def test_a_round_is_made_anyway_when_the_time_of_grace_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = counts()
    nothing["topics"]["imu.clean"] |= {"merges": 0, "merged": 0, "removed": 0, "rows": 0, "bytes": 0}
    it = Serving(monkeypatch, [counts(), nothing, nothing, counts()], grace_seconds=0.5)
    it.grows = False
    threading.Timer(1.5, it._stop.set).start()
    it.run()
    assert len(it._outcomes) == 1, "one that merges, one that finds nothing yet, one that finds it when it is time"


def test_a_fatal_error_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FatalError):
        Serving(monkeypatch, [FatalError("a manifest that is none"), counts()]).run()


def test_a_store_that_refuses_it_at_the_start_ends_it(tmp_path: Path) -> None:
    cfg = Config.model_validate({**IMU, "store": {"kind": "folder", "folder": str(tmp_path / "none")}})
    with pytest.raises(ConfigError, match="none"):
        service.run(cfg, threading.Event())


def test_switched_off_it_is_ready_and_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Serving(monkeypatch, [], enabled=False)
    threading.Timer(0.3, it._stop.set).start()
    it.run()
    assert it.ready[-1]
