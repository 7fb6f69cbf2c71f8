"""The texts of transforms and calibrations that rows were made by, kept in the store by their digests."""

from collections.abc import Callable

from headrace.errors import ConfigError, FatalError
from headrace.protocol.versions import FOLDER, digest_of, shown
from headrace.store.base import ObjectStore


class Texts:
    """Puts texts into the store before their versions are committed, and gets them where rows are made again."""

    def __init__(self, store: Callable[[], ObjectStore], service: str) -> None:
        """`store` opens the store. `service`: whose rows they are, for messages."""
        self._store, self._service = store, service
        self._kept: set[str] = set()

    def keep(self, name: str, text: str) -> None:
        """Store a text by its name, `<digest>.py` or `<digest>.csv`. TransientError while the store is away."""
        if name not in self._kept:
            self._store().put(f"{FOLDER}/{name}", text.encode(), if_absent=True)
            self._kept.add(name)

    def get(self, stream: str, name: str, what: str) -> str:
        """The text by its name. ConfigError, with the remedy, if it is not to be had."""
        store, key, digest = self._store(), f"{FOLDER}/{name}", name.partition(".")[0]
        remedy = (
            f"streams.{stream}: rows are to be made again by version {shown(digest)} of its {what}, "
            f"which is not in the store as {key}. Put that text there; or set the {what} back to it, start "
            f"{self._service} until it has no lag, and stop it before you change the {what}"
        )
        if not store.exists(key):
            raise ConfigError(remedy)
        try:
            text = store.get(key).decode()
        except (FatalError, UnicodeDecodeError):
            raise ConfigError(remedy) from None
        if digest_of(text) != digest:
            raise ConfigError(f"{remedy}. What is there is version {shown(digest_of(text))}")
        return text


def too_many(stream: str, what: str, service: str, versions: int, last: str) -> str:
    """Why a version more can't be noted, and the remedy. `last`: the newest that is noted, for people."""
    return (
        f"streams.{stream}: its {what} was changed {versions - 1} times, and {service} ended each time before it had "
        f"committed a batch. Set them back ({last}), start {service} until it has no lag, and change them then"
    )
