"""Whether all that is stored is encrypted at rest, asked of the store for each object; the remedy where it is not."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from headrace.config.connect import Store
from headrace.errors import ConfigError, FatalError
from headrace.store.base import Encrypting, ObjectStore

_THREADS, _AHEAD = 16, 1000  # requests under way, and keys taken from the listing at a time
T = TypeVar("T")


@dataclass
class Report:
    """What was found. `by_key`: objects by kind and key of their encryption; `wrong`: keys of objects, with their kind.

    An object is wrong when it is not encrypted, or not of the kind that `store.sse` asks for.
    """

    objects: int = 0
    by_key: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        found = [{"kind": k, "key": key, "objects": n} for (k, key), n in sorted(self.by_key.items())]
        return {"objects": self.objects, "encrypted_by": found, "wrong": self.wrong}


def told_by(store: ObjectStore, config: Store) -> Encrypting:
    """The store, if it tells how an object is encrypted. ConfigError where there is nothing to ask."""
    if isinstance(store, Encrypting):
        return store
    if config.kind == "azure":
        raise ConfigError(
            "store.kind is azure: Azure encrypts every blob, and can't be told not to. Whose key it takes is a setting "
            "of the storage account: `az storage account show --query encryption`"
        )
    raise ConfigError("store.kind is folder: Headrace does not encrypt there. Use an encrypted disk")


def check(store: Encrypting, keys: Iterable[str], advance: Callable[[int], object]) -> Report:
    """Ask the store for each of `keys`, several at a time. `advance` is called with how many were asked since."""
    report = Report()
    for key, how in _each(store.encryption, keys, advance):
        if how is None:
            continue
        report.objects += 1
        if how.as_asked:
            report.by_key[how.kind, how.key] += 1
        else:
            report.wrong[key] = how.kind
    return report


def encrypt(store: Encrypting, keys: Iterable[str], advance: Callable[[int], object]) -> int:
    """Encrypt these objects, several at a time. Returns how many; those deleted meanwhile don't count."""

    def one(key: str) -> bool:
        store.encrypt(key)
        return True

    return sum(done is not None for _, done in _each(one, keys, advance))


def _each(
    ask: Callable[[str], T], keys: Iterable[str], advance: Callable[[int], object]
) -> Iterator[tuple[str, T | None]]:
    """Each key with its answer; None where there is no such object any more."""

    def one(key: str) -> tuple[str, T | None]:
        try:
            return key, ask(key)
        except FatalError:
            return key, None

    left = iter(keys)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="encryption") as pool:
        while some := list(islice(left, _AHEAD)):
            for answer in pool.map(one, some):
                advance(1)
                yield answer
