"""How long to wait before each further attempt while a server is away: one policy for every service."""

import random
from collections.abc import Iterator

FIRST_SECONDS, MOST_SECONDS = 0.25, 10.0


def pauses() -> Iterator[float]:
    """Seconds to wait before each further attempt, without end: doubled each time up to ten, each cut at random.

    The cut is up to a half, so that processes that failed together do not come back together.
    """
    pause = FIRST_SECONDS
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads attempts, hides nothing
        pause = min(2 * pause, MOST_SECONDS)
