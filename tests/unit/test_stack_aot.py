import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from headrace.errors import TransientError
from headrace.stack import aot, java, process
from headrace.stack.download import Part
from headrace.stack.plan import Spec

# Python takes -XX:... for an option of its own that it does not know, so it can play Java.
WRITES = """
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path(sys._xoptions["X:AOTCacheOutput"]).write_text("classes")
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
print("serves", flush=True)
time.sleep(60)
"""


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Part]:
    monkeypatch.setattr(java, "major", lambda _: 25)
    made = {name: Part(name, "1", "", (), tmp_path / "cache" / name) for name in ("kafka", "apicurio")}
    for part in made.values():
        part.folder.mkdir(parents=True)
    return made


def play(monkeypatch: pytest.MonkeyPatch, code: str) -> list[Path]:
    """Have servers that run `code`; they serve once they have printed something. Returns where they ran."""
    ran: list[Path] = []

    def specs(folder: Path, *_: object) -> dict[str, Spec]:
        def spec(name: str) -> Spec:
            def probe() -> None:
                log = folder.parent / name / "log"
                if not log.is_file() or b"serves" not in log.read_bytes():
                    raise TransientError("it does not serve yet")

            return Spec(name, lambda: [sys.executable, "-c", code], "", probe)

        ran.append(folder)
        return {name: spec(name) for name in ("kafka", "apicurio")}

    monkeypatch.setattr(aot, "_specs", specs)
    return ran


def test_caches_are_made_once_and_used_by_that_java_alone(
    parts: dict[str, Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = play(monkeypatch, WRITES)
    said: list[str] = []
    ours = Path(sys.executable)
    assert java.cached(ours, parts["kafka"].folder) == []
    aot.make(tmp_path, ours, parts, said.append)
    aot.make(tmp_path, ours, parts, said.append)
    assert len(ran) == 1
    assert len(said) == 1
    for part in parts.values():
        file = java.cache(ours, part.folder)
        assert file.read_text() == "classes"
        assert java.cached(ours, part.folder) == [f"-XX:AOTCache={file}"]
    other = tmp_path / "java"
    other.touch()
    assert java.cached(other, parts["kafka"].folder) == []
    left = {p.name for p in (tmp_path / "cache").iterdir()}
    assert left == {".aot.lock", *parts, *(java.cache(ours, p.folder).name for p in parts.values())}


def test_a_server_that_does_not_serve_leaves_no_cache_and_is_said(
    parts: dict[str, Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = play(monkeypatch, "raise SystemExit(1)")
    said: list[str] = []
    began = time.monotonic()
    aot.make(tmp_path, Path(sys.executable), parts, said.append)
    assert time.monotonic() - began < 60
    tried = [(name, java.cache(Path(sys.executable), part.folder)) for name, part in parts.items()]
    assert said[1:] == [
        f"{name} will start more slowly: it does not serve yet. To try again, remove {file}" for name, file in tried
    ]
    aot.make(tmp_path, Path(sys.executable), parts, said.append)
    assert len(ran) == 1
    assert java.cached(Path(sys.executable), parts["kafka"].folder) == []


def test_an_older_java_makes_none(parts: dict[str, Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = play(monkeypatch, WRITES)
    monkeypatch.setattr(java, "major", lambda _: 24)
    aot.make(tmp_path, Path(sys.executable), parts, lambda _: None)
    assert ran == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process's environment can't be read")
def test_sigterm_leaves_no_server_and_no_file(
    parts: dict[str, Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, "import time; time.sleep(60)")
    seen: list[process.Process] = []

    def end() -> None:
        while not seen:
            seen.extend(process.marked(tmp_path))
            time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    ender = threading.Thread(target=end, daemon=True)
    ender.start()
    old = java.cache(Path(sys.executable), parts["kafka"].folder)
    stale = old.with_name(f".{old.name}.1")
    stale.touch()
    with pytest.raises(SystemExit):
        aot.make(tmp_path, Path(sys.executable), parts, lambda _: None)
    ender.join(10)
    assert len(seen) == 1
    assert not seen[0].alive
    assert {p.name for p in (tmp_path / "cache").iterdir()} == {".aot.lock", *parts}
    assert signal.getsignal(signal.SIGTERM) is before
