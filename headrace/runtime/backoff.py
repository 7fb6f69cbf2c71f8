"""How long to wait before each further attempt while a server is away: one policy for every service."""

import random
from collections.abc import Iterator

FIRST_SECONDS, MOST_SECONDS = 0.25, 10.0
START_SECONDS = 1.0  # `most` for a service that starts: whoever started it has just started the servers too


def pauses(most: float = MOST_SECONDS) -> Iterator[float]:
    """Seconds to wait before each further attempt, without end: doubled each time up to `most`, each cut at random.

    The cut is up to a half, so that processes that failed together do not come back together.
    """
    pause = FIRST_SECONDS
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads attempts, hides nothing
        pause = min(2 * pause, most)
