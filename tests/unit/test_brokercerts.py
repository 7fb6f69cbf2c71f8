"""What the agent makes of what hub says of certificates, and its order: files, signal, proof, connections."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.config import Config
from headrace.errors import TransientError
from headrace.identity import ca, crl
from headrace.identity.ca import Authority, Revoked
from headrace.operate import brokercerts, brokersessions
from headrace.operate.brokercerts import CRL, Listener
from headrace.operate.brokerkeeper import Keeper
from headrace.operate.mqttusers import password_line
from tests.unit.test_brokerfiles import FakeHub, answer

OURS = Authority.make("devices")
WITNESS = OURS.client("headrace-canary", days=1)
EARLIER = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)


def told(number: int, *, at: float = 0, authority: Authority = OURS, **owners: str) -> dict[str, Any]:
    """What hub says, signed at second `at`: owners by serial number in hexadecimal digits, with an x before."""
    ended = {name.removeprefix("x"): owner for name, owner in owners.items()}
    now = EARLIER + timedelta(seconds=at)
    revoked = [Revoked(int(serial, 16), EARLIER) for serial in ended]
    canary = authority.client("headrace-canary", days=1)
    own = Revoked(ca.facts(canary.cert, "it").serial, EARLIER)
    return {
        "crl": authority.crl(number, [*revoked, own], now), "number": number,
        "owners": ended, "canary": canary._asdict(), "witness": WITNESS._asdict(),
    }  # fmt: skip


def whole(version: int, certificates: Any, **more: Any) -> dict[str, Any]:
    return {**answer(version), "certificates": certificates, **more}


class World:
    """A keeper in a folder, and what it did, in order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *answers: Any) -> None:
        self.folder, self.did = folder, list[str]()
        self.trouble: list[Exception | None] = []
        authority = folder / "ca.pem"
        authority.write_text(OURS.pair.cert)
        self.hub = FakeHub(*answers)
        monkeypatch.setattr(brokercerts, "sure", lambda *_: self._note("sure"))
        monkeypatch.setattr("headrace.operate.brokerkeeper.time.sleep", lambda _: None)
        self.listener = Listener(authority, "127.0.0.1", 1)
        self.again()

    def again(self) -> None:
        """The agent is started anew."""
        self.keeper = Keeper(self.hub, self.folder, self._reload, self._end, "receipts", self.listener)

    def _reload(self) -> bool:
        self.did.append("reload")
        return True

    def _end(self, names: Any) -> None:
        self._note(f"end {' '.join(sorted(names))}")

    def _note(self, what: str) -> None:
        self.did.append(what)
        if self.trouble and (error := self.trouble.pop(0)):
            raise error

    def step(self) -> list[str]:
        self.did.clear()
        self.keeper.step(Config())
        return list(self.did)

    @property
    def list(self) -> str:
        return (self.folder / CRL).read_text()


def test_a_list_is_read_by_the_broker_before_connections_end_and_before_it_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = told(1), told(2, at=2, xa1="board-01", xb2="board-02")
    world = World(
        tmp_path, monkeypatch, whole(1, one), whole(2, two), whole(3, told(2, at=4, xa1="board-01", xb2="board-02"))
    )
    assert world.step() == ["reload", "sure"]
    assert world.step() == ["reload", "sure", "end board-01 board-02"]
    assert world.list == two["crl"]
    assert world.step() == ["reload", "sure"]
    assert world.hub.applied == [1, 2, 3]


def test_while_the_broker_does_not_go_by_the_list_nothing_is_reported_and_nobody_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = told(2, at=5, xa1="board-01")
    world = World(tmp_path, monkeypatch, whole(1, told(1)), whole(2, told(2, at=2, xa1="board-01")), whole(2, again))
    world.step()
    world.trouble = [TransientError("it lets in")]
    with pytest.raises(TransientError, match="it lets in"):
        world.step()
    assert (world.hub.applied, world.hub.unproven) == ([1], [2])
    assert world.step() == ["reload", "sure", "end board-01"]
    assert (world.list, world.hub.applied) == (again["crl"], [1, 2])


def test_connections_that_are_to_end_are_ended_by_the_next_agent_where_one_died_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = told(2, at=2, xa1="board-01")
    world = World(tmp_path, monkeypatch, whole(1, told(1)), whole(2, last), whole(2, last))
    world.step()
    world.trouble = [None, TransientError("killed")]
    with pytest.raises(TransientError, match="killed"):
        world.step()
    world.again()
    assert world.step() == ["reload", "sure", "end board-01"]
    assert not (tmp_path / brokersessions.ENDING).exists()


def test_a_list_that_is_older_than_the_broker_s_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = told(5, xa1="board-01")
    world = World(tmp_path, monkeypatch, whole(5, good), whole(6, told(4, at=9)))
    world.step()
    with pytest.raises(TransientError, match="restored from an older copy"):
        world.step()
    assert world.list == good["crl"]
    (tmp_path / CRL).unlink()
    world.hub.answers.append(whole(6, told(4, at=9)))
    world.again()
    world.step()
    assert world.hub.applied == [5, 6]


def test_a_list_that_was_damaged_is_put_back_and_who_may_have_come_in_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, *[whole(1, told(1, xa1="board-01"))] * 2)
    world.step()
    good = world.list
    (tmp_path / CRL).write_text("garbage")
    assert world.step() == ["reload", "end board-01", "sure", "end board-01"]
    assert crl.read(world.list, OURS.pair.cert, "it").serials == crl.read(good, OURS.pair.cert, "it").serials


def test_a_hub_that_has_no_list_any_more_revokes_passwords_and_says_nothing_is_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, whole(1, told(1)), {**answer(2, "board-01"), "certificates": None})
    world.step()
    with pytest.raises(TransientError, match=r"hub\.serve\.devices_ca"):
        world.step()
    assert "board-01" in (tmp_path / "devices.passwords").read_text()
    assert (world.hub.applied, world.hub.unproven) == ([1], [2])


def test_who_loses_a_key_or_gets_another_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [{"a": "aa" * 32, "b": "bb" * 32, "c": "cc" * 32}, {"a": "aa" * 32, "b": "bc" * 32}]
    world = World(tmp_path, monkeypatch, *(whole(n, None, psks=k) for n, k in enumerate(keys, 1)))
    world.hub.answers += [None, None]
    assert world.step() == ["reload"]
    assert world.step() == ["reload", "end b c"]
    assert world.step() == ["end b c"], "nothing has proved that the broker had read its files by then"
    assert world.step() == []


def test_who_has_no_password_any_more_loses_the_session_and_who_has_another_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = answer(1, "a", "b"), password_line("b", "other").strip().partition(":")[2]
    world = World(tmp_path, monkeypatch, first, {**answer(2), "passwords": {"b": other}})
    assert world.step() == ["reload"]
    assert world.step() == ["reload", "end a"]


GOOD = told(3, xa1="board-01")
WRONG: dict[str, Any] = {
    "no object": [],
    "no list": {**GOOD, "crl": None},
    "a list cut off": {**GOOD, "crl": GOOD["crl"][:200]},
    "another authority's": told(3, authority=Authority.make("devices")),
    "from the future": told(3, at=3 * 3600),
    "without the canary": {**GOOD, "crl": OURS.crl(3, [Revoked(0xA1, EARLIER)], EARLIER)},
    "no canary": {**GOOD, "canary": None},
    "a witness that is in it": {**GOOD, "witness": GOOD["canary"]},
    "no witness": {**GOOD, "witness": {}},
    "a canary without a key": {**GOOD, "canary": {"cert": GOOD["canary"]["cert"]}},
    "an owner missing": {**GOOD, "owners": {}},
    "an owner too many": {**GOOD, "owners": {"a1": "board-01", "b2": "board-02"}},
    "a service as an owner": {**GOOD, "owners": {"a1": "headrace-bridge"}},
    "an owner that is none": {**GOOD, "owners": {"a1": 7}},
    "no serial number": {**GOOD, "owners": {"x": "board-01"}},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_whole_changes_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, whole(1, told(1)), {**whole(2, WRONG[name]), "psks": {"a": "aa" * 32}})
    world.step()
    before = {p.name: p.read_text() for p in tmp_path.iterdir()}
    with pytest.raises(TransientError, match="hub's answer is not taken: "):
        world.step()
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == before


def test_a_broker_has_a_list_to_start_with_and_a_good_one_is_left(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text(OURS.pair.cert)
    for text in (None, "", "garbage", Authority.make("devices").crl(1, ())):
        if text is not None:
            (tmp_path / CRL).write_text(text)
        brokercerts.prepare(tmp_path, authority)
        assert brokercerts.known(tmp_path / CRL, authority) is None
        assert "BEGIN X509 CRL" in (tmp_path / CRL).read_text()
    (tmp_path / CRL).write_text(good := OURS.crl(1, ()))
    brokercerts.prepare(tmp_path, authority)
    assert (tmp_path / CRL).read_text() == good


def test_only_a_broker_that_refuses_the_canary_and_takes_the_witness_goes_by_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brokercerts, "_SURE_SECONDS", 0.0)
    (tmp_path / "ca.pem").write_text(OURS.pair.cert)
    listener = Listener(tmp_path / "ca.pem", "127.0.0.1", 1)
    shown = brokercerts.parse(told(3), listener.authority)
    assert shown is not None
    for takes, words in {(): "refuses a good certificate", ("canary", "witness"): "it lets in a certificate",
                         ("canary",): "it lets in a certificate", ("witness",): ""}.items():  # fmt: skip
        taken = [getattr(shown, name) for name in takes]
        monkeypatch.setattr(brokercerts, "_refused", lambda _, pair, taken=taken: "" if pair in taken else "revoked")
        if words:
            with pytest.raises(TransientError, match=words):
                brokercerts.sure(listener, shown)
        else:
            brokercerts.sure(listener, shown)
