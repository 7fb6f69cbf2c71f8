"""The files themselves, kept in the object store by their content: what was uploaded can be shown, and read again.

    _uploads/chunks/<SHA-256>               32 MiB of a file as it lay on disk
    _uploads/recordings/<recording>.json    its chunks in order

A recording is known by the SHA-256 of its content, unpacked: the same file under another name, or in a gzip file, is
the same recording. An object is written only where there is none of its name, and its name says what is in it. So two
may ship the same file at once, one that was killed is gone on with by anyone, and nothing needs to be cleared up.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from headrace.errors import ConfigError, FatalError, TransientError
from headrace.readers.source import Source, broken
from headrace.store.base import ObjectStore

CHUNK = 32 * 1024 * 1024
_CHUNKS, _RECORDINGS = "_uploads/chunks", "_uploads/recordings"
_BLOCK = 1024 * 1024


class Recording(NamedTuple):
    """A file's content. `id`: SHA-256 of it unpacked, `size` its bytes; `raw`: SHA-256 of the file as it lies."""

    id: str
    size: int
    raw: str


@dataclass(frozen=True)
class Manifest:
    """A recording in the store. `name`: of the file, without folders; `shipped_at`: seconds since 1970 UTC."""

    recording: str
    size: int
    raw: str
    raw_size: int
    name: str
    chunks: tuple[str, ...]  # SHA-256 of each
    shipped_at: int


def identify(source: Source) -> Recording:
    """What is in the file, by reading all of it. ConfigError where it can't be read to its end."""
    raw = hashlib.sha256()
    for block in _blocks(source):
        raw.update(block)
    if not source.packed:
        return Recording(raw.hexdigest(), source.size, raw.hexdigest())
    content, size = hashlib.sha256(), 0
    with source.stream() as it:
        try:
            while block := it.read(_BLOCK):
                content.update(block)
                size += len(block)
        except (OSError, EOFError) as e:
            raise broken(source.path, e) from None
    return Recording(content.hexdigest(), size, raw.hexdigest())


class Evidence:
    """The recordings in a store. Errors as the store raises them."""

    def __init__(self, store: ObjectStore, chunk: int = CHUNK) -> None:
        self._store, self._chunk = store, chunk

    def find(self, recording: str) -> Manifest | None:
        """The manifest of a recording, None where it is not there whole."""
        return self.get(recording) if self._store.exists(f"{_RECORDINGS}/{recording}.json") else None

    def get(self, recording: str) -> Manifest:
        """The manifest of a recording. FatalError where it is not there whole."""
        said = orjson.loads(self._store.get(f"{_RECORDINGS}/{recording}.json"))
        return Manifest(**{**said, "chunks": tuple(said["chunks"])})

    def ship(self, source: Source, recording: Recording, progress: Callable[[int], None] = lambda _: None) -> Manifest:
        """Keep the file, unless it is there; `progress` is told how many bytes are. What an earlier try kept, stays.

        ConfigError where the file has changed since it was identified: nothing counts then.
        """
        known = self.find(recording.id)
        if known is not None:
            progress(source.size)
            return known
        whole, chunks, done = hashlib.sha256(), list[str](), 0
        for chunk in self._chunks(source):
            digest = hashlib.sha256(chunk).hexdigest()
            key = f"{_CHUNKS}/{digest}"
            # To send a small file costs no more than to ask whether it is there.
            if len(chunk) < self._chunk // 32 or not self._store.exists(key):
                self._store.put(key, chunk, if_absent=True)
            whole.update(chunk)
            chunks.append(digest)
            done += len(chunk)
            progress(done)
        if whole.hexdigest() != recording.raw:
            raise ConfigError(f"{source.path} was changed while it was read. Wait until it is complete, then try again")
        name = source.path.name
        made = Manifest(recording.id, recording.size, recording.raw, done, name, tuple(chunks), int(time.time()))
        if self._store.put(f"{_RECORDINGS}/{recording.id}.json", orjson.dumps(made), if_absent=True):
            return made
        found = self.find(recording.id)  # that of another: two ship the same at once
        assert found is not None
        return found

    def fetch(self, manifest: Manifest, path: Path, alive: Callable[[], object] = lambda: None) -> None:
        """Write the file as it lay into `path`; `alive` is called again and again.

        FatalError where a chunk is missing, or is not what its name says; TransientError where the disk is full.
        """
        try:
            self._fetch(manifest, path, alive)
        except OSError as e:
            raise TransientError(f"{path}: {e.strerror}: make room there for {manifest.raw_size:,} bytes") from None

    def _fetch(self, manifest: Manifest, path: Path, alive: Callable[[], object]) -> None:
        with path.open("wb") as out:
            for digest in manifest.chunks:
                alive()
                data = self._store.get(f"{_CHUNKS}/{digest}")
                if hashlib.sha256(data).hexdigest() != digest:
                    raise FatalError(
                        f"{_CHUNKS}/{digest} is not what its name says: restore it from a backup of the bucket, or "
                        f"delete it and upload {manifest.name} again"
                    )
                out.write(data)

    def _chunks(self, source: Source) -> Iterator[bytes]:
        held = bytearray()
        for block in _blocks(source):
            held += block
            while len(held) >= self._chunk:
                yield bytes(held[: self._chunk])
                del held[: self._chunk]
        if held:
            yield bytes(held)


def _blocks(source: Source) -> Iterator[bytes]:
    try:
        with source.at.open("rb") as raw:
            while block := raw.read(_BLOCK):
                yield block
    except OSError as e:
        raise broken(source.path, e) from None
