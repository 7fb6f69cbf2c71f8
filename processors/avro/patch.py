"""Messages with some numbers replaced and another last field, made from their bytes: nothing is encoded anew."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from headrace.contracts.avro import Node
from processors.arrays import Bools, Ints
from processors.avro.codec import Located
from processors.avro.container import long_bytes

Item = tuple[str, Node, npt.NDArray[np.floating], Ints | None, Bools]


def patched(it: Located, items: Iterable[Item], last: str, texts: Sequence[str | None]) -> list[bytes | None]:
    """The messages with other numbers in some fields, and a text in the optional text that is the `last` field.

    `items`: (field, its type, numbers, counts, which rows): as many as there are in the messages now, of lists `counts`
    a row. `texts` (n,): None for a message that stays as it is, and is None. All fields are among `it.places`.
    """
    block = it.block.copy()
    for name, node, numbers, counts, rows in items:
        at = it.places[name] + node.nullable
        if counts is None:
            place = at[rows][:, None] + np.arange(node.size)
            block[place] = _raw(numbers[rows]).reshape(-1, node.size)
        else:
            _put_lists(block, at, numbers, counts, rows)
    begins = np.concatenate(([0], it.ends[:-1])).tolist()
    known: dict[str, bytes] = {}
    data, out = block.tobytes(), list[bytes | None]()
    for text, begin, end in zip(texts, begins, it.places[last].tolist(), strict=True):
        if text is None:
            out.append(None)
            continue
        tail = known.get(text)
        if tail is None:
            encoded = text.encode()
            tail = known[text] = b"\x02" + long_bytes(len(encoded)) + encoded
        out.append(data[begin:end] + tail)
    return out


def _put_lists(
    block: npt.NDArray[np.uint8], at: Ints, numbers: npt.NDArray[np.floating], counts: Ints, rows: Bools
) -> None:
    ends = np.cumsum(counts)
    for row in np.flatnonzero(rows).tolist():
        n = int(counts[row])
        first = int(at[row]) + len(long_bytes(n))  # in the shortest encoding a list is one block
        new = _raw(numbers[ends[row] - n : ends[row]])
        block[first : first + len(new)] = new


def _raw(numbers: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)).view(np.uint8)
