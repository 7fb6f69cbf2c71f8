"""An Azure Blob container, through obstore."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore

from headrace.config.connect import Azure, Store
from headrace.errors import ConfigError, FatalError, HeadraceError, TransientError
from headrace.store.base import ObjectInfo

if TYPE_CHECKING:
    from obstore.store import AzureConfig

_WORKLOAD = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE")
_REFUSED = (
    "AuthenticationFailed",
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
    "NoAuthenticationInformation",
)


_THERE = "<Code>BlobAlreadyExists</Code>"  # one of the several meanings of a 409
_NO_IDENTITY = re.compile(r"token request: .*status code: (?:400|401|403)|reading federated token file", re.DOTALL)
_BLOCK = 8 * 1024 * 1024  # bytes of a file that are sent or read at a time
_SECONDS_PER_MIB = 2  # of what is sent: as slow as a link may be
_let_in: set[str] = set()  # the URLs that have served this process once


class AzureBlobStore:
    """One container. Waits `timeout_seconds` at most for an answer and for its next bytes; retries once.

    A request that sends data has 2 to 4 seconds more for each MiB: the HTTP client can't tell a slow link from silence.
    """

    def __init__(self, config: Store) -> None:
        assert config.azure is not None  # the model checks it
        self.container = config.bucket
        self.url = config.azure.url or f"https://{config.azure.account}.blob.core.windows.net"
        self._settings: AzureConfig = _credentials(config.azure) | {
            "account_name": config.azure.account,
            "endpoint": self.url,
        }
        self._wait = timedelta(seconds=config.timeout_seconds)
        self._clients: dict[int, AzureStore] = {}
        self._store = self._client(0)

    def _client(self, size: int) -> AzureStore:
        """The client for requests that send `size` bytes."""
        extra = _SECONDS_PER_MIB * size >> 20
        seconds = 1 << extra.bit_length() if extra else 0  # few clients: each has connections and a token of its own
        if seconds not in self._clients:
            try:
                made = AzureStore(
                    self.container,
                    config=self._settings,
                    client_options={
                        "timeout": timedelta(days=1),  # no limit for the whole request: a large object may take long
                        "read_timeout": self._wait + timedelta(seconds=seconds),
                        "connect_timeout": min(self._wait, timedelta(seconds=5)),
                        "allow_http": self.url.startswith("http://"),
                    },
                    retry_config={"max_retries": 1, "retry_timeout": self._wait},
                )
            except (BaseError, ValueError) as e:
                raise ConfigError(f"store.azure: {_brief(e)}") from e
            self._clients.setdefault(seconds, made)
        return self._clients[seconds]

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """See ObjectStore. The conditional write is `If-None-Match: *`."""
        with self._translated():
            try:
                mode: Literal["create", "overwrite"] = "create" if if_absent else "overwrite"
                obstore.put(self._client(len(data)), key, data, mode=mode, use_multipart=False)
            except AlreadyExistsError as e:
                if if_absent and _THERE in str(e):
                    return False
                raise
        return True

    def put_file(self, key: str, path: Path) -> None:
        """See ObjectStore. In blocks, of which nobody sees one before the list of all is written."""
        with path.open("rb") as file, self._translated():
            obstore.put(self._client(_BLOCK), key, file, use_multipart=True, chunk_size=_BLOCK, max_concurrency=1)

    def get(self, key: str) -> bytes:
        """See ObjectStore."""
        with self._translated(), self._found(key):
            return bytes(obstore.get(self._store, key).bytes())

    def parts(self, key: str) -> Iterator[bytes]:
        """See ObjectStore."""
        with self._translated(), self._found(key):
            yield from map(bytes, obstore.get(self._store, key).stream(_BLOCK))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        with self._translated():
            for chunk in obstore.list(self._store, prefix=prefix or None):
                for meta in chunk:
                    yield ObjectInfo(meta["path"], meta["size"], (meta["e_tag"] or "").strip('"'))

    def exists(self, key: str) -> bool:
        """See ObjectStore."""
        with self._translated():
            try:
                obstore.head(self._store, key)
            except FileNotFoundError:
                return False
        return True

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        with self._translated():
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError as e:
                self._look_for_container(e)

    def ensure_bucket(self) -> None:
        """See ObjectStore; but a container is only looked for: to make one needs the rights of the account's owner."""
        next(iter(self.list("_")), None)

    @contextmanager
    def _found(self, key: str) -> Iterator[None]:
        """FatalError where the block finds no such object."""
        try:
            yield
        except FileNotFoundError as e:
            self._look_for_container(e)
            raise FatalError(f"no object {key} in container {self.container}") from e

    def _look_for_container(self, error: Exception) -> None:
        if "ContainerNotFound" in str(error):
            raise error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """What obstore raises in the block becomes one of our errors."""
        try:
            yield
        except (BaseError, OSError, ValueError) as e:
            raise self._translate(e) from e
        _let_in.add(self.url)

    def _translate(self, error: Exception) -> HeadraceError:
        where, words = f"Azure Blob {self.url}", str(error)
        if "ContainerNotFound" in words:
            return ConfigError(
                f"{where}: no container {self.container!r}: create it (az storage container create), or correct "
                "store.bucket"
            )
        if isinstance(error, PermissionDeniedError | UnauthenticatedError) or any(code in words for code in _REFUSED):
            return ConfigError(
                f"{where}: refused the credentials: {_brief(error)}. Correct store.azure, or give the identity the "
                "role Storage Blob Data Contributor"
            )
        if self.url not in _let_in and _NO_IDENTITY.search(words):
            return ConfigError(
                f"{where}: the pod's identity is refused: {_brief(error)}. Give the pod a service account with "
                "Workload Identity, and its identity a federated credential for that service account"
            )
        if "invalid peer certificate" in words:
            return ConfigError(
                f"{where}: its certificate is refused: {_brief(error)}. Correct store.azure.url, or add the authority "
                "that issued it to the system's trust (SSL_CERT_FILE)"
            )
        return TransientError(f"{where}: {_brief(error)}")


def _credentials(azure: Azure) -> "AzureConfig":
    """The key, the SAS token, or the pod's identity; never what obstore would find in the environment by itself."""
    if azure.account_key is not None:
        return {"credential_type": "access_key", "account_key": azure.account_key.get_secret_value()}
    if azure.sas_token is not None:
        return {"credential_type": "sas_token", "sas_key": azure.sas_token.get_secret_value().removeprefix("?")}
    missing = [name for name in _WORKLOAD if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"store.azure: neither account_key nor sas_token, and the environment has no {', '.join(missing)}. Give "
            "account_key or sas_token (as a file), or give the pod a service account with Workload Identity"
        )
    return {"credential_type": "workload_identity"}


def _brief(error: Exception) -> str:
    """The first lines of an error, which repeats its whole history, without the page that was answered."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:400]
