"""What an object store is to Headrace: whole objects, written at once, read at once."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol


class ObjectInfo(NamedTuple):
    """An object in a listing. `size` in bytes; `etag` is opaque and may be empty."""

    key: str
    size: int
    etag: str


class ObjectStore(Protocol):
    """A bucket, or a folder. Safe to use from several threads.

    Every method raises TransientError when the store is away or overloaded, and ConfigError when it refuses the
    credentials or, but for `exists`, has no such bucket. Once `put` has returned, the object is durable as far as the
    store can promise, and encrypted where the settings ask for it.
    """

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write an object whole: nobody ever sees a part of it.

        With `if_absent` an object that is there already stays as it is, and the answer is False. Else True. ConfigError
        where the object, also the one that was there, is not encrypted as the settings ask.
        """
        ...

    def get(self, key: str) -> bytes:
        """The object's bytes; FatalError when there is no such object."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """The objects whose keys start with `prefix`, a folder's name with its slash, or empty for all."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is such an object; False also where there is no bucket, since servers don't tell these apart.

        ConfigError where it is not encrypted as the settings ask.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object; fine when there is none."""
        ...

    def ensure_bucket(self) -> None:
        """Make the bucket, or the folder, where it is missing."""
        ...
