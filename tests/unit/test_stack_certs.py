"""The folder of certificates: what is made, renewed, kept and listed."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import orjson
import pytest

from headrace.cli.certs import list_
from headrace.errors import ConfigError
from headrace.identity import ca
from headrace.stack import certs, plan, supervisor
from headrace.stack.process import start_time
from headrace.stack.state import State
from tests.command import Run, run
from tests.unit.test_stack_plan import make
from tests.waiting import until

SERVERS = {"mqtt": ("localhost", "127.0.0.1"), "store": ("localhost",)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    certs.ensure(tmp_path / "certs", SERVERS)
    return tmp_path / "certs"


def text(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def everything(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text(encoding="utf-8") for p in folder.iterdir()}


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    monkeypatch.setattr(certs, "_now", lambda: datetime.now(UTC) + timedelta(days=days))


def test_an_authority_and_a_certificate_for_each_server_are_made_once(folder: Path) -> None:
    before = everything(folder)
    assert set(before) == {"ca.pem", "ca.key", "mqtt.pem", "mqtt.key", "store.pem", "store.key"}
    assert certs.ensure(folder, SERVERS) == []
    assert everything(folder) == before


def test_keys_are_for_this_user_alone(folder: Path) -> None:
    assert {oct(p.stat().st_mode & 0o777) for p in folder.iterdir()} == {"0o600"}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_they_are_renewed_from_two_thirds_of_their_life(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(folder)
    later(monkeypatch, ca.SERVER_DAYS * 2 / 3 - 1)
    assert certs.ensure(folder, SERVERS) == []
    later(monkeypatch, ca.SERVER_DAYS * 2 / 3 + 1)
    done = [words.partition(": it")[0] for words in certs.ensure(folder, SERVERS)]
    assert done == ["mqtt: renewed", "store: renewed"]
    after = everything(folder)
    assert {name for name in after if after[name] == before[name]} == {"ca.pem", "ca.key"}


def test_another_host_makes_a_new_certificate(folder: Path) -> None:
    done = certs.ensure(folder, {**SERVERS, "mqtt": ("localhost", "127.0.0.1", "10.1.2.3")})
    assert done == ["mqtt: made anew, also for 10.1.2.3"]
    assert "10.1.2.3" in ca.facts(text(folder, "mqtt.pem"), "it").names
    assert certs.ensure(folder, SERVERS) == [], "more hosts than needed do no harm"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("mqtt.pem", "garbage", "expected a certificate in PEM"),
        ("mqtt.key", "garbage", "expected a private key in PEM"),
        ("mqtt.key", None, "made"),
        ("mqtt.pem", "store.pem", "the key is not that of the certificate"),
    ],
)
def test_what_is_damaged_is_made_anew(folder: Path, name: str, content: str | None, why: str) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text(folder, content) if content in everything(folder) else content)
    (done,) = certs.ensure(folder, SERVERS)
    assert done.startswith("mqtt: made")
    assert why in done
    assert certs.ensure(folder, SERVERS) == []


def test_what_another_authority_signed_is_made_anew(folder: Path, tmp_path: Path) -> None:
    certs.ensure(tmp_path / "other", SERVERS)
    for kind in ("pem", "key"):
        (folder / f"mqtt.{kind}").write_text(text(tmp_path / "other", f"mqtt.{kind}"))
    (done,) = certs.ensure(folder, SERVERS)
    assert "it is not signed by" in done


def test_an_authority_is_never_replaced_by_itself(folder: Path) -> None:
    """Its clients would be shut out."""
    (folder / "ca.key").unlink()
    with pytest.raises(ConfigError, match=r"ca\.key: can't be read"):
        certs.ensure(folder, SERVERS)
    (folder / "ca.key").write_text(text(folder, "mqtt.key"))
    with pytest.raises(ConfigError, match="the key is not that of the certificate"):
        certs.ensure(folder, SERVERS)


def test_the_list_says_for_whom_and_until_when(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {row.file.stem: row for row in certs.rows(folder)}
    assert list(found) == ["ca", "mqtt", "store"]
    assert found["mqtt"].hosts == SERVERS["mqtt"]
    assert found["mqtt"].issuer == found["ca"].name
    assert {row.state for row in found.values()} == {"good"}
    later(monkeypatch, 300)
    assert {row.file.stem: row.state for row in certs.rows(folder)} == {"ca": "good", "mqtt": "renew", "store": "renew"}
    (folder / "mqtt.key").unlink()
    assert {row.file.stem: row.state for row in certs.rows(folder)}["mqtt"] == "bad"


@pytest.fixture
def headrace(stack: State, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """`headrace certs args...` on the stack."""
    return partial(run, monkeypatch, capfd, "--state", str(stack.path), "certs")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[State]:
    """A state folder with a process noted as its broker, which tells when it gets SIGHUP."""
    state = State(tmp_path / "state")
    make(state)
    code = f"""
import pathlib, signal, time
signal.signal(signal.SIGHUP, lambda *_: pathlib.Path({str(tmp_path / "told")!r}).touch())
print(flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as broker:
        assert broker.stdout is not None
        broker.stdout.readline()
        noted = {"pid": broker.pid, "started": start_time(broker.pid)}
        state.write_json("stack.json", {"state": "ready", "services": {"mosquitto": noted}})
        yield state
        broker.kill()


def test_the_command_lists_and_renews_and_tells_the_broker(stack: State, headrace: Callable[..., Run]) -> None:
    listed = headrace("list")
    assert (listed.returncode, listed.stderr) == (0, "")
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    assert names == [
        "certificate", "ca.pem", "hub.pem", "mqtt.pem", "devices/ca.pem", "store/ca.pem", "store/store.pem",
    ]  # fmt: skip
    before = text(stack.certs, "mqtt.pem")
    assert "nothing to renew" in headrace("renew").stderr
    assert text(stack.certs, "mqtt.pem") == before
    assert not (stack.path.parent / "told").exists()
    assert "mqtt: renewed\n" in headrace("renew", "--all").stderr
    assert text(stack.certs, "mqtt.pem") != before
    until((stack.path.parent / "told").exists, 60, "the broker is told")


def test_a_bad_certificate_is_said_and_counts(stack: State, headrace: Callable[..., Run]) -> None:
    (stack.certs / "mqtt.key").write_text(text(stack.certs, "store/store.key"))
    listed = headrace("list", "--json")
    assert listed.returncode == 1
    found = {Path(row["file"]).name: row for row in orjson.loads(listed.stdout)}
    assert found["mqtt.pem"]["state"] == "bad"
    assert "mqtt.pem: the key is not that of the certificate" in headrace("list").stderr
    assert "no certificates in" in headrace("list", "--folder", str(stack.path / "conf")).stderr


def test_the_end_of_an_authority_is_announced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    list_(folder)
    assert capsys.readouterr().err == ""
    later(monkeypatch, ca.CA_DAYS * 2 / 3 + 1)
    list_(folder)
    assert capsys.readouterr().err.startswith("ca.pem: no command replaces an authority")


def test_a_stack_that_runs_renews_by_itself(
    stack: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before, made = text(stack.certs, "mqtt.pem"), plan.load_made(stack)
    supervisor.renew(made)
    assert text(stack.certs, "mqtt.pem") == before
    later(monkeypatch, 300)
    with caplog.at_level(logging.INFO):
        supervisor.renew(made)
    assert text(stack.certs, "mqtt.pem") != before
    assert len([r for r in caplog.records if r.message == "certificate renewed"]) == 3, (
        "the broker's, hub's and the store's"
    )
    until((stack.path.parent / "told").exists, 60, "the broker is told")


def test_a_stack_that_can_not_renew_says_so_and_runs_on(stack: State, caplog: pytest.LogCaptureFixture) -> None:
    (stack.certs / "ca.key").unlink()
    supervisor.renew(plan.load_made(stack))
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.message == "certificates not renewed"
    assert "ca.key: can't be read" in record.error  # type: ignore[attr-defined]
