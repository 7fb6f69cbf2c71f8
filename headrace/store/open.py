"""The configured object store, opened: every kind by its name in the configuration, `store.kind`.

To add one: a file beside this one with the methods of `base.ObjectStore`, which tests/storecontract.py checks; a line
here; its name in `headrace.config.connect.Store`; how DuckDB reads it, in `headrace.lake.remote`.
"""

from collections.abc import Callable

from headrace.config.connect import Store
from headrace.errors import ConfigError
from headrace.store.base import ObjectStore


def _s3(config: Store) -> ObjectStore:
    from headrace.store.s3 import S3Store

    return S3Store(config)


def _azure(config: Store) -> ObjectStore:
    from headrace.store.azure import AzureBlobStore

    return AzureBlobStore(config)


def _folder(config: Store) -> ObjectStore:
    from headrace.store.folder import FolderStore

    if config.folder is None:
        raise ConfigError("store.folder: store.kind is folder, so name the folder that holds the lake")
    return FolderStore(config.folder)


STORES: dict[str, Callable[[Store], ObjectStore]] = {"s3": _s3, "azure": _azure, "folder": _folder}


def open_store(config: Store) -> ObjectStore:
    """The store that `config` names. Connects to nothing yet; ConfigError when a setting is missing."""
    return STORES[config.kind](config)
