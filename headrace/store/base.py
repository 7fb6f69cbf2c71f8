"""What Headrace needs of an object store: whole objects, written at once and read at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable


class ObjectInfo(NamedTuple):
    """An object in a listing. `size` in bytes; `etag` is opaque and may be empty."""

    key: str
    size: int
    etag: str


class Encryption(NamedTuple):
    """How an object is encrypted at rest, in the words of the store. `kind` is empty when it is not."""

    kind: str
    key: str  # id of the key, where the store tells
    as_asked: bool  # whether it is encrypted, and as the settings ask where they do


@runtime_checkable
class Encrypting(Protocol):
    """A store that tells of each object how it is encrypted. Safe to use from several threads; errors as below."""

    def encryption(self, key: str) -> Encryption:
        """How the object is encrypted; FatalError when there is no such object."""
        ...

    def encrypt(self, key: str) -> None:
        """Encrypt the object as the settings ask: write its bytes again. ConfigError when it is not after that.

        FatalError when there is no such object.
        """
        ...


class ObjectStore(Protocol):
    """A bucket, or a folder. Safe to use from several threads.

    Every method raises TransientError when the store is away or overloaded, and ConfigError when it refuses the
    credentials or, except for `exists`, has no such bucket. Once `put` has returned, the object is as durable as the
    store can make it, and encrypted when the settings ask for it.
    """

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write an object as a whole: no reader ever sees a part of it. Returns whether it was written.

        With `if_absent` an object that is already there keeps its bytes, and the answer is False; where it is older
        than the settings' encryption, it is encrypted now. ConfigError when the store does not encrypt.
        """
        ...

    def put_file(self, key: str, path: Path) -> None:
        """Write a file as an object, as `put` does, without ever having all of it in memory.

        Replaces what is there: for keys that no two writers have. OSError when the file can't be read.
        """
        ...

    def get(self, key: str) -> bytes:
        """The object's bytes; FatalError when there is no such object."""
        ...

    def parts(self, key: str) -> Iterator[bytes]:
        """The object's bytes, one part after the other, never all of them in memory.

        FatalError when there is no such object. All errors come while the parts are taken.
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """The objects whose keys start with `prefix`: a folder's name with a slash at its end, or empty for all."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is such an object. False also when there is no bucket: servers do not tell these apart.

        Where it is older than the settings' encryption, it is encrypted now; ConfigError when the store does not do so.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object. Does nothing when there is none."""
        ...

    def ensure_bucket(self) -> None:
        """Make the bucket, or the folder, when it is missing."""
        ...


def get_file(store: ObjectStore, key: str, path: Path) -> None:
    """Write an object's bytes into a file. Errors as `ObjectStore.parts`; OSError when the file can't be written."""
    with path.open("wb") as file:
        file.writelines(store.parts(key))
