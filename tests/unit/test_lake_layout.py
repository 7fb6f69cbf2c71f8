from hypothesis import given
from hypothesis import strategies as st

from headrace.lake import layout
from headrace.protocol.names import key_part, lake_folder

topics = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,40}", fullmatch=True)
ids = st.from_regex(r"[A-Za-z0-9_-]{22}", fullmatch=True)
number = st.integers(0, 2**63 - 1)


def test_names_are_as_documented() -> None:
    assert layout.data_key("imu.clean", "abc", 2, 17, 5, "2026-01-02") == (
        "imu/date=2026-01-02/imu.clean-abc-p2-o00000000000000000017-s5.parquet"
    )
    assert layout.data_key("imu.raw", "abc", 2, 17, 5, "2026-01-02").startswith(
        "imu.raw/date=2026-01-02/imu.raw-abc-p2-"
    )
    assert layout.ledger_key("imu.clean", "abc", 2, 17) == "_ledger/imu.clean/abc/p2/00000000000000000017.json"


@given(topics, ids, st.integers(0, 9999), number, st.integers(0, 2**31))
def test_a_data_key_is_read_back(topic: str, topic_id: str, partition: int, start: int, schema: int) -> None:
    found = layout.parse_data_key(layout.data_key(topic, topic_id, partition, start, schema, "2026-01-02"), topic)
    assert found == (lake_folder(topic), "2026-01-02", topic, topic_id, partition, start, schema)


@given(topics, ids, st.integers(0, 9999), number)
def test_a_ledger_key_is_read_back(topic: str, topic_id: str, partition: int, start: int) -> None:
    key = layout.ledger_key(topic, topic_id, partition, start)
    assert layout.parse_ledger_key(key) == (topic, topic_id, partition, start)
    assert key.startswith(layout.entries_prefix(topic, key_part(topic_id), partition))


def test_other_keys_are_not_taken_for_ours() -> None:
    assert layout.parse_data_key("imu/date=2026-01-02/x.parquet", "imu.clean") is None
    assert layout.parse_data_key(layout.data_key("imu.raw", "i", 0, 0, 1, "2026-01-02"), "imu.clean") is None
    assert layout.parse_ledger_key("_ledger/imu.clean/readme.txt") is None
