"""A folder as an object store, through obstore: for tests, and for a lake on one machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError
from obstore.store import LocalStore

from headrace.errors import ConfigError, FatalError, TransientError
from headrace.store.base import ObjectInfo

_BLOCK = 8 * 1024 * 1024  # bytes of a file that are read at a time


class FolderStore:
    """Objects as files under `root`, each one synced to the disk before `put` returns."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._open: LocalStore | None = None

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """See ObjectStore."""
        try:
            obstore.put(self._store(), key, data, mode="create" if if_absent else "overwrite", use_multipart=False)
            self._sync(key)
        except (AlreadyExistsError, FileExistsError):
            return False
        except (BaseError, OSError) as e:
            raise self._translate(e) from e
        return True

    def put_file(self, key: str, path: Path) -> None:
        """See ObjectStore."""
        with path.open("rb") as file:
            try:
                obstore.put(self._store(), key, file, use_multipart=True, chunk_size=_BLOCK, max_concurrency=1)
                self._sync(key)
            except (BaseError, OSError) as e:
                raise self._translate(e) from e

    def get(self, key: str) -> bytes:
        """See ObjectStore."""
        with self._reading(key):
            return bytes(obstore.get(self._store(), key).bytes())

    def parts(self, key: str) -> Iterator[bytes]:
        """See ObjectStore."""
        with self._reading(key):
            yield from map(bytes, obstore.get(self._store(), key).stream(_BLOCK))

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as e:
            raise FatalError(f"no object {key} in {self.root}") from e
        except (BaseError, OSError) as e:
            raise self._translate(e) from e

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        try:
            for chunk in obstore.list(self._store(), prefix=prefix or None):
                for meta in chunk:
                    yield ObjectInfo(meta["path"], meta["size"], meta["e_tag"] or "")
        except (BaseError, OSError) as e:
            raise self._translate(e) from e

    def exists(self, key: str) -> bool:
        """See ObjectStore."""
        try:
            obstore.head(self._store(), key)
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as e:
            raise self._translate(e) from e
        return True

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        try:
            obstore.delete(self._store(), key)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as e:
            raise self._translate(e) from e

    def ensure_bucket(self) -> None:
        """See ObjectStore."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise ConfigError(f"store.folder: cannot make {self.root}: {e.strerror}") from e

    def _store(self) -> LocalStore:
        if self._open is None:
            if not self.root.is_dir():
                raise ConfigError(f"store.folder: {self.root} is not a folder")
            self._open = LocalStore(self.root)
        return self._open

    def _sync(self, key: str) -> None:
        path = self.root / key
        for target in (path, path.parent):
            handle = os.open(target, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _translate(self, error: Exception) -> ConfigError | TransientError:
        if isinstance(error, PermissionDeniedError | PermissionError):
            return ConfigError(f"store.folder: no permission in {self.root}: {error}")
        return TransientError(f"store folder {self.root}: {error}")
