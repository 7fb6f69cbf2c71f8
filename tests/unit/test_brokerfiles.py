"""What the agent beside the broker makes of hub's answers, and what it leaves as it is."""

import os
from pathlib import Path
from typing import Any

import pytest

from headrace.config import Config
from headrace.errors import HeadraceError, TransientError
from headrace.operate import brokeragent, brokerfiles
from headrace.operate.brokerkeeper import WAIT_SECONDS, Keeper
from headrace.operate.mqttusers import password_line

HASH = password_line("u", "secret").strip().partition(":")[2]


class FakeHub:
    """Gives prepared answers; an error among them is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.applied: list[int] = []
        self.unproven: list[int] = []

    def get(self, path: str, query: dict[str, Any] | None = None, timeout: float | None = None) -> Any:
        assert path == "/api/broker"
        assert timeout is not None
        assert timeout > WAIT_SECONDS
        self.asked.append(query or {})
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def post(self, path: str, body: Any = None, timeout: float | None = None) -> Any:
        assert path == "/api/broker/applied"
        (self.unproven if body.get("unproven") else self.applied).append(body["version"])
        return body


class World:
    """An agent with a folder, and a count of the reloads."""

    def __init__(self, folder: Path, *answers: Any) -> None:
        self.file = folder / brokerfiles.PASSWORDS
        self.hub = FakeHub(*answers)
        self.reloads: list[str] = []
        self.ended: list[str] = []
        self.agent = Keeper(self.hub, folder, self._reload, self.ended.extend, "receipts")

    def step(self) -> None:
        self.agent.step(Config())

    def _reload(self) -> bool:
        self.reloads.append(self.file.read_text())
        return False


def answer(version: int, *devices: str) -> dict[str, Any]:
    """What hub says where devices have passwords alone."""
    rest: dict[str, Any] = {"psks": {}, "gateways": [], "certificates": None}
    return {"version": version, "passwords": dict.fromkeys(devices, HASH), **rest}


def test_an_answer_is_in_force_before_it_is_reported(tmp_path: Path) -> None:
    world = World(tmp_path, answer(3, "board-02", "board-01"), None, answer(4, "board-01"))
    for _ in range(3):
        world.step()
    two = f"board-01:{HASH}\nboard-02:{HASH}\n"
    assert world.reloads == [two, f"board-01:{HASH}\n"]
    assert world.hub.applied == [3, 4]
    assert [q.get("after") for q in world.hub.asked] == [None, 3, 3]
    assert world.file.stat().st_mode & 0o777 == 0o600
    names = {brokerfiles.PASSWORDS, brokerfiles.PSKS, brokerfiles.ACCESS}
    assert {p.name for p in tmp_path.iterdir()} == names, "nothing of a half-written file is left"


def test_what_lies_there_at_first_may_not_be_in_force_and_what_comes_again_is(tmp_path: Path) -> None:
    (tmp_path / brokerfiles.PASSWORDS).write_text(f"board-01:{HASH}\n")
    world = World(tmp_path, answer(7, "board-01"), answer(8, "board-01"))
    world.step()
    assert len(world.reloads) == 1
    world.step()
    assert (len(world.reloads), world.hub.applied) == (1, [7, 8])


WRONG: dict[str, Any] = {
    "no object": [],
    "empty": {},
    "truncated": {"version": 9},
    "no version": {"passwords": {}},
    "a version in words": {"version": "9", "passwords": {}},
    "a version of true": {"version": True, "passwords": {}},
    "passwords in a list": {"version": 9, "passwords": []},
    "a service's name": answer(9, "headrace"),
    "a service's name in capitals": answer(9, "Headrace-bridge"),
    "two levels": answer(9, "a/b"),
    "a wildcard": answer(9, "+"),
    "a pattern": answer(9, "%u"),
    "a second line": answer(9, "a\nheadrace"),
    "a user's hash": answer(9, "a:b"),
    "nothing": answer(9, ""),
    "a hash that is no text": {"version": 9, "passwords": {"a": None}},
    "a plain password": {"version": 9, "passwords": {"a": "secret"}},
    "a hash cut off": {"version": 9, "passwords": {"a": HASH[:-4]}},
    "a hash with a line behind it": {"version": 9, "passwords": {"a": f"{HASH}\nheadrace:{HASH}"}},
    "another kind of hash": {"version": 9, "passwords": {"a": HASH.replace("$7$", "$6$", 1)}},
    "one wrong among good ones": {"version": 9, "passwords": {"a": HASH, "b": "x"}},
    "no keys": {key: value for key, value in answer(9, "a").items() if key != "psks"},
    "a key of a service": {**answer(9), "psks": {"headrace": "ab" * 32}},
    "a short key": {**answer(9), "psks": {"a": "ab" * 8}},
    "a key with a line behind it": {**answer(9), "psks": {"a": "ab" * 32 + "\nheadrace:" + "ab" * 32}},
    "half a byte of a key": {**answer(9), "psks": {"a": "a" * 33}},
    "no gateways": {key: value for key, value in answer(9, "a").items() if key != "gateways"},
    "a gateway with rights behind it": {**answer(9), "gateways": ["g\ntopic readwrite #"]},
    "gateways that are no list": {**answer(9), "gateways": "g"},
    "nothing of certificates": {key: value for key, value in answer(9, "a").items() if key != "certificates"},
}


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_that_is_not_whole_changes_nothing(name: str, tmp_path: Path) -> None:
    world = World(tmp_path, answer(8, "board-01"), WRONG[name])
    world.step()
    before = world.file.read_text()
    with pytest.raises(TransientError, match="hub's answer is not taken"):
        world.step()
    assert (world.file.read_text(), world.hub.applied, len(world.reloads)) == (before, [8], 1)


@pytest.mark.parametrize(("first", "then"), [(None, 0), (8, 7), (8, 0)])
def test_when_hub_has_lost_its_registry_the_devices_stay(tmp_path: Path, first: int | None, then: int) -> None:
    (tmp_path / brokerfiles.PASSWORDS).write_text(f"board-01:{HASH}\n")
    answers = [] if first is None else [answer(first, "board-01")]
    world = World(tmp_path, *answers, answer(then))
    for _ in answers:
        world.step()
    with pytest.raises(TransientError, match="was hub's database lost"):
        world.step()
    assert "board-01" in world.file.read_text()
    world.file.write_text("")
    world.hub.answers.append(answer(then))
    world.step()
    assert world.hub.applied[-1] == then


def test_a_device_that_is_called_as_the_topics_of_receipts_is_shut_out_alone(tmp_path: Path) -> None:
    world = World(tmp_path, answer(3, "board-01", "receipts"))
    world.step()
    assert (world.file.read_text(), world.hub.applied) == (f"board-01:{HASH}\n", [3])


def test_when_the_last_device_is_revoked_nobody_gets_in(tmp_path: Path) -> None:
    world = World(tmp_path, answer(8, "board-01"), answer(9))
    world.step()
    world.step()
    assert (world.file.read_text(), world.hub.applied) == ("", [8, 9])


def test_while_hub_is_away_the_files_stay(tmp_path: Path) -> None:
    world = World(tmp_path, answer(8, "board-01"), TransientError("away"))
    world.step()
    with pytest.raises(HeadraceError, match="away"):
        world.step()
    assert "board-01" in world.file.read_text()


def test_a_crash_while_a_file_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "f"
    assert brokerfiles.replace(path, "one\n")
    (tmp_path / ".f.new").write_text("tw")
    assert path.read_text() == "one\n"
    assert brokerfiles.replace(path, "two\n")
    assert not brokerfiles.replace(path, "two\n")
    assert path.read_text() == "two\n"


def test_only_a_mosquitto_is_signalled(tmp_path: Path) -> None:
    file = tmp_path / brokerfiles.PID
    assert not brokeragent.reload(file), "no broker has started yet"
    file.write_text(f"{os.getpid()}\n")
    assert not brokeragent.reload(file), "its number belongs to another process now"
    file.write_text("")
    assert not brokeragent.reload(file)
