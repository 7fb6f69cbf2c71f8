"""The right to a partition: each assignment has a token, which the loss of the partition voids for ever.

The broker checks the member and the generation of a commit, not whether the member owns the partition: a live member's
late commit would wipe the commit of the new owner. So every commit asks the token first, on the thread that polls.
"""

import threading

from headrace.errors import HeadraceError

Partition = tuple[str, int]  # topic and number


class Revoked(HeadraceError):  # noqa: N818 - not a failure: the partition is another member's now
    """The partition was taken away: drop everything about it, commit nothing."""


class Token:
    """One assignment of one partition. Any thread may use it."""

    __slots__ = ("_void",)

    def __init__(self) -> None:
        self._void = threading.Event()

    @property
    def live(self) -> bool:
        """Whether the partition is still ours. Once false, it stays false."""
        return not self._void.is_set()

    def void(self) -> None:
        """Say that the partition is no longer ours."""
        self._void.set()

    def check(self) -> None:
        """Raise Revoked if the partition is no longer ours."""
        if self._void.is_set():
            raise Revoked

    def wait(self, seconds: float) -> None:
        """Sleep `seconds`; raise Revoked as soon as the partition is taken away."""
        if self._void.wait(seconds):
            raise Revoked
