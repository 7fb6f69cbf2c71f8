"""Dead letters of an upload's rows: each row once, and those that were sent again as what they became."""

import orjson
import pytest

from headrace.config import Config
from headrace.deadletters import ReadLetter, journal
from headrace.deadletters.journal import DropNote, RecordAt, RedriveNote
from headrace.uploads import follow

UPLOAD = "6f1c0a92e3b74d55"


def letter(key: bytes, row: int, stage: str, upload: str = UPLOAD, **more: bytes) -> ReadLetter:
    event_id = bytes.fromhex(upload) + bytes(4) + row.to_bytes(4)
    headers = {"event-id": event_id, "stage": stage.encode(), "stream": b"imu_files", **more}
    return ReadLetter(key * 16, orjson.dumps({}), headers, 0, 0, 0)


def test_rows_are_counted_by_what_became_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        letter(b"a", 1, "derive"),
        letter(b"b", 1, "derive"),  # another letter of the same row
        letter(b"c", 2, "clean"),
        letter(b"d", 3, "derive"),  # mended, and stored
        letter(b"e", 4, "derive"),  # mended, and refused by clean
        letter(b"f", 4, "clean", redrive=b"%b/1" % (b"e" * 16).hex().encode()),
        letter(b"g", 5, "derive"),  # dropped: it stays a letter
        letter(b"h", 6, "derive", upload="00000000000000ff"),
    ]
    known = journal.journal(found)
    for key in (b"d" * 16, b"e" * 16):
        known.notes[key] = RedriveNote(key, 1, True, {}, [RecordAt("imu_files.raw", 0, 9)])
    known.drops[b"g" * 16] = DropNote(b"g" * 16, "somebody", 0, "")
    monkeypatch.setattr(journal, "load", lambda _: known)
    refused, later = follow._letters(Config(), {UPLOAD})
    assert refused == {UPLOAD: {1, 5}}
    assert later == {UPLOAD: {2, 4}}
