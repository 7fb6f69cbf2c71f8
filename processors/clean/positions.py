"""The `position` headers of a stretch of rows, as vectors."""

import numpy as np
import numpy.typing as npt

from headrace.wire import Position

Ints = npt.NDArray[np.int64]
_LAYOUT = np.dtype([("e", ">i4"), ("o", ">i8"), ("i", ">i4"), ("pe", ">i4"), ("po", ">i8"), ("pi", ">i4")])


def position_headers(epochs: Ints, offsets: Ints, before: Position) -> list[bytes]:
    """As `wire.pack_position` for rows emitted one after another, the first of them after the row from `before`.

    Each raw message is one reading: its index is 0.
    """
    out = np.zeros(len(offsets), dtype=_LAYOUT)
    out["e"], out["o"] = epochs, offsets
    out["pe"][1:], out["po"][1:] = epochs[:-1], offsets[:-1]
    if len(out):
        out["pe"][0], out["po"][0], out["pi"][0] = before
    data, size = out.tobytes(), _LAYOUT.itemsize
    return [data[i : i + size] for i in range(0, len(data), size)]
