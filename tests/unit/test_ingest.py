"""Readings that are posted: who may send what, how much, what is answered, and when."""

import asyncio
import base64
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest

from bridge.delivery import Origin, Record
from bridge.ingest import posts
from bridge.ingest.app import App
from bridge.ingest.floods import AT_ONCE, Floods
from bridge.ingest.logins import Asking, Logins
from bridge.ingest.messages import MOST, Message, read
from bridge.ingest.posts import Posts
from bridge.ingest.refusal import RefusedError
from headrace.config.model import Ingest
from headrace.errors import TransientError
from headrace.operate.mqttusers import password_hash
from headrace.protocol.wire import event_ids, provenance, texts
from headrace.runtime import attempts
from tests.unit.intake_world import ROW, Shelf, World, dumps

NDJSON = "application/x-ndjson"
PASSWORD = "0123456789abcdef01234567"
DEVICES = {"d1": password_hash(PASSWORD), "d2": password_hash("another")}
TOPIC = "sensors/d1/imu"


class Kafka:
    """Takes each record at once, unless it is `away` or there is no room left."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.moved, self.away, self.room = time.monotonic(), False, 1000

    def produce(self, link: Origin | None, ticket: int, records: Sequence[Record]) -> int:
        taken = records[: self.room - len(self.records)]
        self.records += taken
        if link is not None and not self.away:
            for _ in taken:
                asyncio.get_running_loop().call_soon(self._finish, link, ticket)
        return len(taken)

    def _finish(self, link: Origin, ticket: int) -> None:
        link.window.finish(ticket)
        link.acknowledge()

    async def produce_waiting(self, link: Origin | None, ticket: int, record: Record) -> None:
        self.produce(link, ticket, (record,))

    def wake(self) -> None:
        pass

    def fail(self, error: Exception) -> None:
        raise error


class Ingesting:
    """The application with a toy Kafka; `post` answers (status, body, headers)."""

    def __init__(self, **settings: Any) -> None:
        self.kafka, self.shelf, self.logins = Kafka(), Shelf(), Logins()
        self.logins.take({"version": 1, "passwords": DEVICES, "gateways": ["d2"]}, "receipts")
        gateways = {"filter": "gw/{gateway}/{device_id}/imu", "identity": "gateway"}
        world = World(streams={"imu": {"routes": ["sensors/{device_id}/imu", gateways]}})
        self.posts = Posts(world.config, world.intake._lanes, self.kafka, self.shelf)
        self.app = App(Ingest.model_validate(settings), self.logins, self.posts)

    async def ask(
        self, path: str, body: bytes = b"", user: str = "d1", password: str = PASSWORD, method: str = "POST",
        parts: list[bytes] | None = None, **headers: str,
    ) -> tuple[int, Any, dict[bytes, bytes]]:  # fmt: skip
        parts = [body] if parts is None else parts
        login = base64.b64encode(f"{user}:{password}".encode())
        given = [(b"authorization", b"Basic " + login)] if user else []
        given += [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        scope = {"type": "http", "path": path, "method": method, "headers": given, "client": ("10.0.0.1", 1)}
        came = [{"type": "http.request", "body": p, "more_body": i < len(parts) - 1} for i, p in enumerate(parts)]
        sent: list[Any] = []

        async def receive() -> Any:
            return came.pop(0) if came else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        if not sent:
            return 0, None, {}
        return sent[0]["status"], orjson.loads(sent[1]["body"]), dict(sent[0]["headers"])

    def post(self, *args: Any, **more: Any) -> tuple[int, Any, dict[bytes, bytes]]:
        return asyncio.run(self.ask(*args, **more))


def error(answer: tuple[int, Any, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]


def test_a_reading_is_answered_with_its_receipt_and_has_the_id_that_it_has_over_mqtt() -> None:
    it = Ingesting()
    payload = dumps()
    status, body, _ = it.post(f"/readings/{TOPIC}", payload)
    (record,) = it.kafka.records
    mine = event_ids(TOPIC.encode(), payload, 1)[0]
    assert (record.topic, record.key, provenance(record.headers).event_id) == ("imu.raw", b"d1", mine)
    assert [n for n, _ in texts(record.headers)] == ["event-id", "received-at", "mqtt-topic"], "not by MQTT"
    assert provenance(record.headers).mqtt_topic == TOPIC.encode()
    assert status == 200
    assert body["id"] == mine.hex()
    assert (body["status"], body["readings"]) == ("stored", 1)
    assert body["each"] == [{"stream": "imu", "status": "stored", "id": mine.hex()}]
    again = it.post(f"/readings/{TOPIC}", payload)[1]
    assert again == body
    assert provenance(it.kafka.records[1].headers).event_id == mine


def test_a_reading_that_nothing_tells_from_a_copy_is_said_to_be_one() -> None:
    it = Ingesting()
    payload = orjson.dumps({k: v for k, v in ROW.items() if k != "event_time"})
    first, second = (it.post(f"/readings/{TOPIC}", payload)[1]["each"][0] for _ in range(2))
    assert not first["identified"]
    assert first["id"] != second["id"]


def test_of_many_each_has_its_fate() -> None:
    it = Ingesting()
    array = b"[" + dumps(sequence=1) + b"," + dumps(ax="x") + b"]"
    status, body, _ = it.post(f"/readings/{TOPIC}", array)
    assert (status, body["status"], body["readings"], body["dead_letters"]) == (200, "dead-letter", 1, 1)
    assert [(p["status"], p.get("field")) for p in body["each"]] == [("stored", None), ("dead-letter", "ax")]
    lines = b"\n".join([dumps(sequence=2), b"", b"{", dumps(sequence=3) + b"\r"]) + b"\n"
    status, body, _ = it.post(f"/readings/{TOPIC}", lines, content_type=f"{NDJSON}; charset=utf-8")
    assert [r["status"] for r in body["results"]] == ["stored", "dead-letter", "stored"]
    named = orjson.dumps([{"topic": TOPIC, "payload": ROW}, {"topic": "sensors/d2/imu", "payload": ROW}])
    status, body, _ = it.post("/readings", named)
    assert (status, [r["status"] for r in body["results"]]) == (200, ["stored", "refused"])
    assert "d1 may not publish to 'sensors/d2/imu'" in body["results"][1]["detail"]
    assert it.post("/readings", named, user="d2", password="another")[1]["results"][0]["status"] == "refused"
    assert {r.topic for r in it.kafka.records} == {"imu.raw", "dead-letters"}


def test_a_payload_in_a_message_keeps_its_bytes() -> None:
    payload = b'{"a": 1.10, "b": 12345678901234567890123}'
    body = b'[{"payload": %b, "topic": "t"}, {"topic":"t","payload":21.50}]' % payload
    assert read("", "application/json", body) == (
        [Message("t", payload, "application/json"), Message("t", b"21.50", "application/json")],
        True,
    )
    assert read("", NDJSON, b'{"topic":"t","payload":[1 ]}') == ([Message("t", b"[1 ]", "application/json")], True)
    assert read("", "", b' {"topic":"t","payload":null}') == ([Message("t", b"null", "application/json")], False)
    assert read("t", "text/plain", b"\0\n\0") == ([Message("t", b"\0\n\0", "text/plain")], False)


@pytest.mark.parametrize(
    ("topic", "media", "body", "status"),
    [
        ("", "", b"", 400),
        ("", "", b"{}", 400),
        ("", "", b"[]", 400),
        ("", "", b"\xff", 400),
        ("", "", b'{"topic":"t","payload":1,"qos":1}', 400),
        ("", "", b'{"topic":"t","payload":' + b"[" * 100_000, 400),
        ("", NDJSON, b"\n\n", 400),
        ("t", NDJSON, b"\n", 400),
        ("t", NDJSON, b"1\n" * (MOST + 1), 413),
    ],
)
def test_a_body_of_another_form_is_refused_whole(topic: str, media: str, body: bytes, status: int) -> None:
    with pytest.raises(RefusedError) as e:
        read(topic, media, body)
    assert e.value.status == status


@pytest.mark.parametrize(
    "topic",
    ["sensors/d2/imu", "sensors/+/imu", "sensors/#", "sensors/d1/#", "sensors/D1/imu", "other/d1", "$SYS/d1",
     "both/d2/imu",
     "/sensors/d1/imu", "sensors//imu", "sensors/d1\0/imu", "sensors/d1/" + "x" * 1100, "receipts/d1", "d1",
     "sensors/d1x/imu"],
)  # fmt: skip
def test_a_device_speaks_for_itself_alone(topic: str) -> None:
    it = Ingesting()
    status, body, _ = it.post(f"/readings/{topic}", dumps())
    assert (status, it.kafka.records) == (403, [])
    assert "may not publish" in body["error"]


def test_only_a_gateway_posts_where_a_route_is_for_gateways() -> None:
    it = Ingesting()
    for name, password, status in (("d1", PASSWORD, 403), ("d2", "another", 200)):
        assert it.post(f"/readings/gw/{name}/other/imu", dumps(), user=name, password=password)[0] == status
        assert it.post(f"/readings/sensors/{name}/imu", dumps(), user=name, password=password)[0] == 200
    assert it.post("/readings/gw/d1/other/imu", dumps(), user="d2", password="another")[0] == 403
    assert [r.key for r in it.kafka.records] == [b"d1", b"other", b"d2"]


def test_a_mistyped_topic_below_ones_own_name_becomes_a_dead_letter_as_over_mqtt() -> None:
    it = Ingesting()
    status, body, _ = it.post("/readings/sensors/d1/imv", dumps())
    assert (status, body["status"], body["reason"]) == (200, "dead-letter", "no_route")
    large = b"x" * 200_000
    assert it.post(f"/readings/{TOPIC}", large)[1]["status"] == "dead-letter"
    assert [letter.value for letter in it.shelf.shelved] == [large]


def test_only_an_active_device_with_its_password_gets_in_and_one_that_is_revoked_is_out_at_once() -> None:
    it = Ingesting()
    for user, password in (
        ("d1", ""),
        ("d1", "another"),
        ("d3", PASSWORD),
        ("", ""),
        ("receipts", "x"),
        ("d1:", PASSWORD),
    ):
        status, words = error(it.post(f"/readings/{TOPIC}", dumps(), user=user, password=password))
        assert status == 401, user
        assert "id and the password" in words
    assert it.post(f"/readings/{TOPIC}", dumps())[0] == 200
    assert it.post(f"/readings/{TOPIC}", dumps())[0] == 200, "known now"
    it.logins.take({"version": 2, "passwords": {"d1": password_hash("new")}, "gateways": []}, "receipts")
    assert it.post(f"/readings/{TOPIC}", dumps())[0] == 401
    assert it.post(f"/readings/{TOPIC}", dumps(), password="new")[0] == 200
    it.logins.take({"version": 3, "passwords": {}, "gateways": []}, "receipts")
    assert it.post(f"/readings/{TOPIC}", dumps(), password="new")[0] == 401
    for header in ("Basic ?", "Basic", "Bearer x", "Basic " + base64.b64encode(b"\xff:\xff").decode(), "Basic é"):
        with pytest.raises(RefusedError) as e:
            it.logins.check("10.0.0.2", header)
        assert e.value.status == 401


@pytest.mark.clause("CR 1.11")
def test_whoever_sends_wrong_passwords_waits_and_the_right_one_is_taken_from_there_all_the_same() -> None:
    it = Ingesting()
    for _ in range(attempts.MOST):
        assert it.post("/readings", user="d1", password="x")[0] == 401
    status, body, headers = it.post("/readings", user="d1", password="x")
    assert (status, "too many wrong passwords from 10.0.0.1" in body["error"]) == (429, True)
    assert 50 < int(headers[b"retry-after"]) <= 61
    assert it.post(f"/readings/{TOPIC}", dumps())[0] == 200


def test_before_hub_has_told_anything_nobody_gets_in_and_an_answer_that_can_not_be_right_changes_nothing() -> None:
    it = Ingesting()
    with pytest.raises(TransientError, match="was its database lost"):
        it.logins.take({"version": 0, "passwords": {}, "gateways": []}, "receipts")
    with pytest.raises(TransientError):
        it.logins.take({"version": 9, "passwords": {"d1": "plain"}, "gateways": []}, "receipts")
    assert it.post(f"/readings/{TOPIC}", dumps())[0] == 200
    it.logins = Logins()
    it.app = App(Ingest(), it.logins, it.posts)
    status, body, headers = it.post(f"/readings/{TOPIC}", dumps())
    assert (status, body["error"], headers[b"retry-after"]) == (
        503,
        "hub has not told yet which devices there are",
        b"2",
    )


def test_hub_is_asked_for_what_is_newer_than_what_is_known() -> None:
    asked: list[Any] = []

    class Hub:
        def get(self, path: str, query: dict[str, Any] | None = None, timeout: float | None = None) -> Any:
            asked.append((path, (query or {})["after"]))
            return {"version": 4, "passwords": DEVICES, "gateways": ["d2"]} if len(asked) == 1 else None

    logins = Logins()
    asking = Asking(Hub(), logins, "receipts", None)  # type: ignore[arg-type]
    asking.step()
    asking.step()
    assert asked == [("/api/broker", "-1"), ("/api/broker", "4")]
    assert logins.version == 4


@pytest.mark.clause("CRA I 2(h)")
def test_a_flooding_device_is_told_to_wait_and_others_are_not() -> None:
    it = Ingesting(requests_per_second=2)
    statuses = [it.post(f"/readings/{TOPIC}", dumps())[0] for _ in range(6)]
    assert statuses == [200, 200, 200, 200, 429, 429]
    _, body, headers = it.post(f"/readings/{TOPIC}", dumps())
    assert "d1 sends more than 2 requests a second" in body["error"]
    assert headers[b"retry-after"] == b"1"
    assert it.post("/readings/sensors/d2/imu", dumps(), user="d2", password="another")[0] == 200


def test_the_rate_counts_in_the_long_run_and_only_some_requests_run_at_once() -> None:
    now = [100.0]
    floods = Floods(2.0, lambda: now[0])
    for _ in range(4):
        with floods.request("a"):
            pass
    with pytest.raises(RefusedError), floods.request("a"):
        pass
    now[0] += 0.5
    with floods.request("a"):
        pass
    now[0] += 1000
    open_ = [floods.request("a") for _ in range(4)]
    for one in open_:
        one.__enter__()
    now[0] += 1000
    more = [floods.request("a") for _ in range(AT_ONCE - 4)]
    for one in more:
        one.__enter__()
    now[0] += 1000
    with pytest.raises(RefusedError, match="under way"), floods.request("a"):
        pass
    for one in (*open_, *more):
        one.__exit__(None, None, None)
    with floods.request("a"):
        assert floods._open == {"a": 1}
    assert floods._open == {}


def test_what_kafka_does_not_take_is_not_answered_as_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posts, "ANSWER_SECONDS", 0.05)
    it = Ingesting()
    it.kafka.away = True
    status, body, headers = it.post(f"/readings/{TOPIC}", dumps())
    assert (status, headers[b"retry-after"]) == (503, b"5")
    assert "send the same bytes again" in body["error"]
    it.kafka.moved -= posts.STALLED_SECONDS + 1
    assert error(it.post(f"/readings/{TOPIC}", dumps())) == (
        503,
        "Kafka is away. Nothing was stored: send it again later",
    )
    assert len(it.kafka.records) == 1, "nothing more is held"
    it.kafka.away, it.kafka.moved = False, time.monotonic()
    assert it.post(f"/readings/{TOPIC}", dumps())[0] == 200
    it.kafka.room = len(it.kafka.records) + 1
    status, words = error(it.post(f"/readings/{TOPIC}", b"[" + dumps(sequence=1) + b"," + dumps(sequence=2) + b"]"))
    assert (status, words) == (503, "Kafka takes less than comes. Send it again later")


def test_a_body_has_a_limit_and_nobody_sends_one_without_a_password() -> None:
    it = Ingesting(max_body_bytes=1000)
    assert it.post(f"/readings/{TOPIC}", b"x" * 1000)[0] == 200
    assert it.post(f"/readings/{TOPIC}", b"x" * 1001)[0] == 413
    assert it.post(f"/readings/{TOPIC}", parts=[b"x" * 500] * 3)[0] == 413
    status, _, headers = it.post(f"/readings/{TOPIC}", parts=[b"x" * 500] * 9, content_length="4500")
    assert (status, headers[b"connection"]) == (413, b"close")
    assert it.post(f"/readings/{TOPIC}", parts=[b"x" * 500] * 9, user="nobody")[0] == 401
    assert it.post(f"/readings/{TOPIC}", parts=[])[0] == 0, "who has left gets no answer"


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (lambda it: it.post("/"), 404),
        (lambda it: it.post("/readingsx/a"), 404),
        (lambda it: it.post("/readings/a", method="GET"), 405),
        (lambda it: it.post("/readings/a", method="PUT"), 405),
        (lambda it: it.post(f"/readings/{TOPIC}", content_encoding="gzip"), 415),
    ],
)
def test_other_requests_are_refused_in_words(ask: Callable[[Ingesting], Any], status: int) -> None:
    found, words = error(ask(Ingesting()))
    assert found == status
    assert len(words) > 20
