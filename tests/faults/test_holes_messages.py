"""Messages of other shapes than one reading each: several schemas, several datums, arrays, copies, retained ones."""

import orjson
import pytest

from headrace.contracts.files import find
from headrace.contracts.model import parse
from headrace.kafka import headers_of
from headrace.protocol.wire import provenance, unpack_position
from headrace.runtime import http
from headrace.schema_registry.client import Registry
from processors.avro.codec import Codec
from tests.faults.own import Make, Own, marks, payload, until

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1")]
AXES = dict.fromkeys(("ax", "ay", "az", "gx", "gy", "gz"), 0)


def newer(it: Own) -> tuple[Codec, int]:
    """The contract with one field more, and its schema id."""
    schema = orjson.loads(find("imu").text)
    schema["fields"].insert(-1, {"name": "strain", "type": ["null", "double"], "default": None, "unit": "1"})
    contract = parse("imu", orjson.dumps(schema).decode())
    with Registry(it.config.registry) as registry:
        ids = [registry.register(f"{topic}-value", contract) for topic in (it.raw, it.clean_topic)]
    assert ids[0] != it.schema_id
    return Codec(contract.schema), ids[0]


@pytest.mark.long
def test_two_schema_ids_interleaved_and_on_one_date(own: Make) -> None:
    """They are decoded apart, leave in raw order, and lie in files of their own."""
    it = own()
    codec, schema_id = newer(it)
    day = 1_700_000_000_000_000

    def value(number: int) -> bytes:
        old = it.value(number, event_time=day + number, mx=9e9 if number % 5 == 0 else None)
        if number % 2 == 0:
            return old
        return codec.write(schema_id, it.codec.read(old) | {"strain": float(number)})

    it.produce(it.raw, ((value(n), marks(n)) for n in range(500)))
    with it.clean() as clean, it.archive() as archive:
        it.whole(range(500))
        clean.stop()
        archive.stop()
    sources = [unpack_position(provenance(headers_of(m)).position)[0].offset for m in it.records(it.clean_topic)]
    assert sources == list(range(500))
    assert {row["sequence"]: row["strain"] for row in it.rows() if "strain" in row} == {
        n: float(n) for n in range(1, 500, 2)
    }
    assert {key.split("/")[1] for key in it.data_keys()} == {"date=2023-11-14"}
    assert {key.rsplit("-s", 1)[1] for key in it.data_keys()} == {f"{i}.parquet" for i in (it.schema_id, schema_id)}


def test_two_datums_or_trailing_bytes_in_a_message(own: Make) -> None:
    """Read in columns they shift every row after them: without an error where a whole framed datum is too many."""
    it = own()
    bad = {
        100: it.value(100) + it.value(1000),
        250: it.value(250, ax=900.0),  # refused by the rules: it, and not the row beside it
        400: it.value(400) + it.value(400)[5:],
        410: it.value(410) + b"\0",
        420: it.value(420)[:-1],
        430: b"\0" + it.value(430),
    }
    values = [bad.get(n) or it.value(n, ax=n / 4) for n in range(500)]
    it.produce(it.raw, ((value, marks(n)) for n, value in enumerate(values[:300])))
    with it.clean() as clean, it.archive() as archive:
        until(lambda: it.archived() >= 298, lambda: archive.log)
        it.produce(it.raw, ((value, marks(n)) for n, value in enumerate(values) if n >= 300))
        it.whole(n for n in range(500) if n not in bad)
        clean.stop()
        archive.stop()
    assert all(r["_src_offset"] == r["sequence"] == r["ax"] * 4 for r in it.rows())
    assert {x.source["offset"]: x.value for x in it.letters()} == bad
    assert {x.text("reason") for x in it.letters()} <= {"malformed", "unknown_schema", "out_of_range"}


def passed(it: Own) -> list[bytes | None]:
    """What clean let through of all that is in `.raw`."""
    raw = it.records(it.raw)
    with it.clean() as clean:
        until(lambda: it.cleaned() == len(raw), lambda: clean.log)
        clean.stop()
    return [m.value() for m in it.records(it.clean_topic)]


def through(it: Own, expected: int, *payloads: bytes) -> list[bytes | None]:
    """Publishes them and waits for `expected` records in `.raw`; returns what clean let through."""
    with it.bridge() as bridge:
        bridge.says('"receiving"')
        it.publish(*payloads)
        until(lambda: len(it.records(it.raw)) >= expected, lambda: bridge.log)
        bridge.stop()
    assert len(it.records(it.raw)) == expected
    return passed(it)


@pytest.mark.long
def test_an_array_payload(own: Make) -> None:
    """Each element is a reading, equal ones too; the same payload sent again is no further one."""
    it = own()
    one = orjson.loads(payload(1))
    message = orjson.dumps([one, one, {**one, "ax": "high"}, orjson.loads(payload(2))])
    found = through(it, 6, message, message)
    assert [it.codec.read(v or b"")["sequence"] for v in found] == [1, 1, 2]
    assert [(x.text("reason"), orjson.loads(x.value)["ax"]) for x in it.letters()] == [("wrong_type", "high")]


@pytest.mark.long
def test_a_sequence_restarted_after_a_reboot(own: Make) -> None:
    """Without the device's time or a boot id, equal bytes are two readings; with a boot id, only another boot's are."""
    it = own()
    bare = orjson.dumps({"sequence": 1, **AXES})
    first, second = (orjson.dumps({"sequence": 1, "boot_id": boot, **AXES}) for boot in ("a", "b"))
    found = through(it, 6, bare, bare, first, first, second, first)
    boots = [it.codec.read(v or b"")["boot_id"] for v in found]
    assert boots == [None, None, "a", "b"]


def counted(log: str, why: str) -> float:
    """What the bridge with this log has skipped."""
    started = next(orjson.loads(line) for line in log.splitlines() if '"health_port"' in line)
    lines = http.get(f"http://127.0.0.1:{started['health_port']}/metrics").decode().splitlines()
    name = f'headrace_bridge_skipped_total{{why="{why}"}}'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_retained_messages(own: Make) -> None:
    """A copy that the broker had kept is counted and no reading; what is published live is one, with the flag too."""
    it = own()
    it.publish(orjson.dumps(AXES), retain=True)
    with it.bridge() as bridge:
        bridge.says('"receiving"')
        until(lambda: counted(bridge.log, "retained") == 1, lambda: bridge.log)
        assert it.records(it.raw) == []
        it.publish(payload(1), retain=True)
        until(lambda: len(it.records(it.raw)) == 1, lambda: bridge.log)
        it.publish(b"", retain=True)
        until(lambda: counted(bridge.log, "no_payload") == 1, lambda: bridge.log)
        bridge.stop()
    assert it.letters() == [], "to delete a retained message is no reading, and no bad one"


def test_retained_messages_that_a_route_keeps(own: Make) -> None:
    """One that lay there before the bridge came is one reading, however often the bridge connects anew."""
    it = own()
    route = {"filter": f"{it.stream}/{{device_id}}/imu", "retained": "keep"}
    it.change("streams", **{it.stream: {"contract": "imu", "routes": [route], "partitions": 1}})
    it.publish(orjson.dumps(AXES), retain=True)  # neither time nor sequence: copies of it would be rows
    for times in range(3):
        with it.bridge() as bridge:
            bridge.says('"receiving"')
            until(lambda: len(it.records(it.raw)) >= 1, lambda: bridge.log)
            it.publish(payload(times))
            until(lambda n=times: len(it.records(it.raw)) >= 2 + n, lambda: bridge.log)  # type: ignore[misc]
            (bridge.kill if times == 1 else bridge.stop)()
    assert len(it.records(it.raw)) == 4
