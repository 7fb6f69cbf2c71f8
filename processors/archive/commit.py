"""Commits of the archive: on the poll thread, one partition each, and only while the partition is ours.

The broker checks the member and its generation, not whether the member owns the partition: a live member's late commit
would wipe the new owner's intent. Hence the token.
"""

import threading

from headrace import kafka
from headrace.errors import HeadraceError
from headrace.intent import Note, encode
from headrace.metrics import ARCHIVE_COMMITS
from processors.metadata import Commits


class Revoked(HeadraceError):  # noqa: N818 - no error: the partition is another member's now
    """The partition was taken away: drop everything about it, commit nothing."""


class Token:
    """One assignment of one partition. Void once the partition is revoked or lost, for ever."""

    def __init__(self) -> None:
        self._void = threading.Event()

    def void(self) -> None:
        """The partition is no longer ours."""
        self._void.set()

    def check(self) -> None:
        """Revoked where the partition is no longer ours."""
        if self._void.is_set():
            raise Revoked

    def wait(self, seconds: float) -> None:
        """Sleep, or wake with Revoked as soon as the partition is taken away."""
        if self._void.wait(seconds):
            raise Revoked


class Committer:
    """Commits for one consumer, from the thread that made it."""

    def __init__(self, consumer: kafka.Consumer) -> None:
        self._commits = Commits(consumer)
        self._thread = threading.get_ident()

    def commit(self, token: Token, topic: str, partition: int, offset: int, note: Note) -> None:
        """Commit `offset` with `note`. Revoked where the partition is gone; TransientError: the same call again.

        FatalError where the broker does not keep notes: the first commit is an intent, so nothing is stored by then.
        """
        assert threading.get_ident() == self._thread, "commits are made on the poll thread only"
        metadata = encode(note)
        token.check()
        self._commits.commit(topic, partition, offset, metadata)
        ARCHIVE_COMMITS.inc()
