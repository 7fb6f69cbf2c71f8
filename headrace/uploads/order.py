"""An upload: one table of a recording, to be read by a profile into a stream. It is a reading of the stream `uploads`.

A row of it is numbered by its place in the table, from 0. Its event id says which row of which upload it is, so rows of
the lake do: 8 bytes of the upload, 4 of the redrive (0: none), 4 of the row.
"""

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.protocol.wire import EVENT_ID_BYTES

UPLOAD_BYTES = 8
MOST_ROWS = 2**31 - 1  # of a table: positions have four bytes for the row
_REDRIVE = slice(UPLOAD_BYTES, UPLOAD_BYTES + 4)
Ints = npt.NDArray[np.int64]
Octets = npt.NDArray[np.uint8]


class Order(NamedTuple):
    """What is to be loaded: the fields of the contract `uploads`, where they are described."""

    device_id: str
    event_time: int  # microseconds since 1970 UTC
    upload: str
    recording: str
    file_table: int
    file: str
    stream: str
    profile: str
    schema_id: int
    readings: int
    refused: int
    left_out: int
    devices: int
    bytes: int
    actor: str


def upload_id(recording: str, table: int, profile: str, stream: str) -> str:
    """The id of an upload, 16 hexadecimal digits: the same for the same content, read in the same way.

    `profile`: the digest of the one that was given. What it leaves open is found in the content.
    """
    return hashlib.sha256(f"{recording}\0{table}\0{profile}\0{stream}".encode()).hexdigest()[: 2 * UPLOAD_BYTES]


def row_ids(upload: str, rows: Ints) -> Octets:
    """Event ids of rows of an upload: shape (n, 16)."""
    out = np.zeros((len(rows), EVENT_ID_BYTES), np.uint8)
    out[:, :UPLOAD_BYTES] = np.frombuffer(bytes.fromhex(upload), np.uint8)
    out[:, _REDRIVE.stop :] = rows.astype(">u4").view(np.uint8).reshape(-1, 4)
    return out


def row_id(upload: bytes, row: int) -> bytes:
    """The event id of one row; `upload`: its 8 bytes."""
    return upload + bytes(4) + row.to_bytes(4)


def redriven(event_id: bytes, number: int) -> bytes:
    """The event id of a row that was a dead letter, once it is sent again for the `number`th time, from 1."""
    return event_id[:UPLOAD_BYTES] + number.to_bytes(4) + event_id[_REDRIVE.stop :]
