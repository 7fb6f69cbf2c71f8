"""Stand-ins for public images where no registry can be reached. The real ones are taken wherever they can be pulled."""

from collections.abc import Iterable

from tests.compose.engine import Docker

REAL = "real"
ABSENT = "absent"


def provide(docker: Docker, names: Iterable[str]) -> dict[str, str]:
    """Make the engine have an image for each of `names`, as a compose file or Dockerfile writes them, with the tag.

    What each is: "real", "stand-in: what it is made of", or "absent: why".
    """
    raise NotImplementedError
