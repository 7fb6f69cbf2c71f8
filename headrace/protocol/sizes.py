"""How large a message may be in each kind of topic: what fits one topic fits the next one.

A cleaned reading carries a quality note and a position that the raw one had not. A dead letter carries the reason and
the headers of the original besides.
"""

_MORE = 64 * 1024  # bytes that each step may add


def clean_bytes(raw: int) -> int:
    """max.message.bytes of a `.clean` topic whose `.raw` topic has `raw`."""
    return raw + _MORE


def letter_bytes(raw: int) -> int:
    """max.message.bytes of the dead letters' topic when the `.raw` topics have `raw`: more than `.clean` has."""
    return clean_bytes(raw) + _MORE
