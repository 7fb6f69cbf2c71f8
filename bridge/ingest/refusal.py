"""What is refused, and the HTTP status that says why."""


class RefusedError(Exception):
    """A request of which nothing counts as stored. `again`: seconds after which to try again; 0: not at all."""

    def __init__(self, status: int, message: str, again: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.again = status, again
