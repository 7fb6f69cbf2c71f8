"""The configured object store, opened."""

from headrace.config.connect import Store
from headrace.errors import ConfigError
from headrace.store.base import ObjectStore


def open_store(config: Store) -> ObjectStore:
    """The store that `config` names. Connects to nothing yet; ConfigError when a setting is missing."""
    if config.kind == "folder":
        from headrace.store.folder import FolderStore

        if config.folder is None:
            raise ConfigError("store.folder: say where the lake lies, since store.kind is folder")
        return FolderStore(config.folder)
    if config.kind == "azure":
        from headrace.store.azure import AzureBlobStore

        return AzureBlobStore(config)
    from headrace.store.s3 import S3Store

    return S3Store(config)
