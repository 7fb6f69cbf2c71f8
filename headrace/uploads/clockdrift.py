"""Times of a device's clock as they really were: by an offset, or by two moments at which both were read."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from headrace.errors import ConfigError

Ints = npt.NDArray[np.int64]
_SECOND = 1_000_000
_MOST_DRIFT = 0.01  # of a clock that is not broken, it is less than a ten-thousandth


def shift(seconds: float) -> Callable[[Ints], Ints]:
    """Adds an offset to times, microseconds since 1970."""
    micros = round(seconds * _SECOND)
    return lambda times: times + micros


def between(anchors: tuple[tuple[int, int], tuple[int, int]]) -> Callable[[Ints], Ints]:
    """Maps times by two anchors, each (what the clock said, when it was), microseconds since 1970 UTC.

    The clock's rate counts before the first and after the second too. ConfigError: they can't be two readings of one
    clock.
    """
    (said, was), (said_2, was_2) = sorted(anchors)
    if said == said_2:
        raise ConfigError("time.anchors: both say the same. Give two moments that lie apart, such as start and end")
    # A clock's error is a small part of the time that has passed, so a double holds it to the microsecond.
    drift = (was_2 - was - (said_2 - said)) / (said_2 - said)
    if abs(drift) > _MOST_DRIFT:
        raise ConfigError(
            f"time.anchors: by them the clock would be wrong by {abs(drift):.1%}, which no clock is: look at them again"
        )

    def mapped(times: Ints) -> Ints:
        passed = times - said
        out: Ints = was + passed + np.floor(passed * drift).astype(np.int64)
        return out

    return mapped
