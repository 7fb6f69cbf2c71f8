"""Bytes of the MQTT broker, cut anywhere, into packets."""

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import TransientError
from headrace.mqtt.frames import Frames

# The codec panics on text that isn't UTF-8, and leaves an exception behind.
panics = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def publish(packet_id: int, payload: bytes = b"{}") -> bytes:
    return mqtt5.PublishPacket("a/b", payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id).write()


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=6), st.data())
def test_frames_cut_anywhere_give_the_same_packets(payloads: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(publish(i, p) for i, p in enumerate(payloads, 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    frames = Frames(mqtt5.read, 1000)
    out = []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        out += [p for p in frames.feed(whole[start:end]) if isinstance(p, mqtt5.PublishPacket)]
    assert [p.payload for p in out] == payloads
    assert [p.packet_id for p in out] == list(range(1, len(payloads) + 1))


def test_frames_byte_by_byte() -> None:
    frames = Frames(mqtt5.read, 70_000)
    whole = publish(3, b"x" * 60_000)
    out = [p for i in range(len(whole)) for p in frames.feed(whole[i : i + 1])]
    assert len(out) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x32\xff\xff\xff\xff\xff\xff\xff",  # a length without end
        b"\x32\x02\x00\x05",  # a topic longer than its packet
        b"\x00\x00",  # no such packet
    ],
)
def test_malformed_packets_end_the_connection(data: bytes) -> None:
    with pytest.raises(TransientError):
        Frames(mqtt5.read, 1000).feed(data + b"\0" * 8)


def outcome(*parts: bytes) -> tuple[list[bytes], bool]:
    """(the packets that were whole, written again; whether the bytes turned out not to be MQTT)."""
    frames, out = Frames(mqtt5.read, 1000), []
    for part in parts:
        try:
            out += [packet.write() for packet in frames.feed(part)]
        except TransientError:
            return out, True
    return out, False


@panics
@given(st.binary(max_size=200))
def test_any_bytes_are_packets_or_a_transient_error_however_they_come(stream: bytes) -> None:
    at_once, refused_at_once = outcome(stream)
    one_by_one, refused = outcome(*(stream[i : i + 1] for i in range(len(stream))))
    assert refused_at_once == refused
    assert at_once == ([] if refused else one_by_one)
