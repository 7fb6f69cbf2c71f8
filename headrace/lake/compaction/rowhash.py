"""A hash of the rows of tables that does not depend on their order: to compare what was read with what was written.

Each row's hash covers all its columns, lists and groups included; floats count by their bits. A batch's hash is the sum
over its rows, modulo 2 to the 64th, and so is that of batches together.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Hashes = npt.NDArray[np.uint64]
_PIECE_BYTES = 2 * 1024 * 1024
_ODD, _NULL = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def total(batch: pa.RecordBatch) -> int:
    """The sum of the hashes of the batch's rows. Wide rows are taken a few at a time: each byte needs some thirty."""
    rows = max(1, _PIECE_BYTES * batch.num_rows // max(batch.nbytes, 1))
    return sum(_total(batch.slice(i, rows)) for i in range(0, batch.num_rows, rows)) % 2**64


def _total(batch: pa.RecordBatch) -> int:
    with np.errstate(over="ignore"):
        rows = np.zeros(batch.num_rows, np.uint64)
        for i, column in enumerate(batch.columns):
            rows += _mix(_hash(column) + _mark(i))
        return int(_mix(rows).sum(dtype=np.uint64))


def _hash(array: pa.Array) -> Hashes:
    """A hash for each value."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _hash(array.dictionary_decode())
    if pa.types.is_null(kind):
        return np.full(len(array), _NULL)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        out = _texts(array)
    elif pa.types.is_list(kind):
        offsets = array.offsets.to_numpy()
        out = _spans(_hash(array.values.slice(offsets[0], offsets[-1] - offsets[0])), offsets - offsets[0])
    elif pa.types.is_struct(kind):
        out = np.zeros(len(array), np.uint64)
        for i, child in enumerate(array.flatten()):
            out += _mix(_hash(child) + _mark(i))
    elif pa.types.is_boolean(kind):
        out = _mix(array.fill_null(False).to_numpy(zero_copy_only=False).astype(np.uint64))
    else:
        out = _fixed(array, kind.bit_width // 8)
    return np.where(array.is_null().to_numpy(zero_copy_only=False), _NULL, out) if array.null_count else out


def _texts(array: pa.Array) -> Hashes:
    few = array.dictionary_encode()
    if len(few.dictionary) * 2 < len(array):  # few different values: hash each once
        codes = few.indices.fill_null(0).to_numpy()
        return _hash(few.dictionary)[codes] if len(few.dictionary) else np.full(len(array), _NULL)
    offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    raw = array.buffers()[2]
    data = np.frombuffer(raw, np.uint8)[offsets[0] : offsets[-1]] if raw is not None else np.zeros(0, np.uint8)
    return _spans(data.astype(np.uint64), offsets - offsets[0])


def _spans(items: Hashes, offsets: npt.NDArray[np.integer]) -> Hashes:
    """The hash of each list of items, where their order counts."""
    lengths = np.diff(offsets)
    position = np.arange(len(items)) - np.repeat(offsets[:-1], lengths)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_mix(items + _mark(position)), dtype=np.uint64)])
    return _mix(sums[offsets[1:]] - sums[offsets[:-1]] + lengths.astype(np.uint64) * _ODD)


def _fixed(array: pa.Array, width: int) -> Hashes:
    """Of values that have `width` bytes each."""
    n, raw = len(array), array.buffers()[1]
    if n == 0 or raw is None:
        return np.zeros(n, np.uint64)
    data = np.frombuffer(raw, np.uint8)[array.offset * width : (array.offset + n) * width].reshape(n, width)
    out = np.zeros(n, np.uint64)
    for i in range(0, width, 8):
        word = np.zeros((n, 8), np.uint8)
        word[:, : min(8, width - i)] = data[:, i : i + 8]
        out += _mix(word.view(np.uint64).ravel() + _mark(i))
    return out


def _mark(i: int | npt.NDArray[np.integer]) -> Hashes:
    return (np.asarray(i, np.uint64) + np.uint64(1)) * _ODD


def _mix(x: Hashes) -> Hashes:
    """A bijection that spreads each bit over all (splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * _M1
    x = (x ^ (x >> np.uint64(27))) * _M2
    return x ^ (x >> np.uint64(31))
