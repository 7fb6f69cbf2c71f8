"""An S3-compatible bucket, through minio, which only this file and aws.py import, as they do urllib3."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import Any

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from minio.helpers import ObjectWriteResult
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from headrace.config.connect import Sse, Store
from headrace.errors import ConfigError, FatalError, HeadraceError, TransientError
from headrace.identity.aws import credentials
from headrace.identity.tls import client_context, refusal, refused, split
from headrace.store.base import Encryption, ObjectInfo

log = logging.getLogger(__name__)

_CREDENTIALS = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "Forbidden"})
_KMS = frozenset({"KMS.NotFoundException", "KMS.DisabledException", "KMS.InvalidKeyUsageException", "InvalidKeyId"})
_SSE = "x-amz-server-side-encryption"
_TYPE = "application/octet-stream"
_ABSENT = frozenset({"NoSuchKey", "NoSuchObject"})
_NO_S3 = "not an S3 answer, is something else listening there?"
_BLOCK = 1024 * 1024  # bytes of a file that are read at a time


class _Body:
    """A file as the body of a request, to be read while it is sent. Its checksum is part of what is signed."""

    def __init__(self, file: BufferedReader) -> None:
        self.read, self.tell, self.seek = file.read, file.tell, file.seek
        self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self.size = file.tell()
        file.seek(0)


class _Client(Minio):
    """It takes a _Body, too, where minio has bytes."""

    def _build_headers(
        self, host: str, headers: Any = None, body: Any = None, creds: Any = None
    ) -> tuple[dict[str, str | list[str] | tuple[str]], datetime]:
        if not isinstance(body, _Body):
            return super()._build_headers(host, headers, body, creds)
        out, date = super()._build_headers(host, {**headers, "Content-Length": str(body.size)}, None, creds)
        return {**out, "x-amz-content-sha256": body.sha256}, date


class S3Store:
    """One bucket. Waits `timeout_seconds` at most for an answer and never retries for long: callers do."""

    def __init__(self, config: Store) -> None:
        keys = config.access_key, config.secret_key
        if config.credentials == "keys" and None in keys:
            raise ConfigError("store.access_key and store.secret_key: both are needed for kind: s3")
        self.bucket = config.bucket
        self.endpoint = config.endpoint
        self._tls = config.tls
        self._given = config.credentials == "aws"
        self._sse = _encryption(config.sse)
        # One retry is for a pooled connection that the server has closed; an outage is for the caller to wait out.
        retry = urllib3.Retry(total=1, redirect=0, status=0, backoff_factor=0.1, allowed_methods=None)
        timeout = urllib3.Timeout(connect=min(5.0, config.timeout_seconds), read=config.timeout_seconds)
        http = urllib3.PoolManager(maxsize=16, timeout=timeout, retries=retry, **_tls(config))
        try:
            self._client = _Client(
                config.endpoint,
                access_key=keys[0].get_secret_value() if keys[0] is not None else None,
                secret_key=keys[1].get_secret_value() if keys[1] is not None else None,
                credentials=credentials(config.timeout_seconds) if self._given else None,
                secure=config.tls.enabled,
                region=config.region,
                http_client=http,
            )
        except ValueError as e:
            raise ConfigError(f"store.endpoint: {config.endpoint!r} is not host:port ({e})") from e

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """See ObjectStore. The conditional write is `If-None-Match: *`, which put_object cannot send."""
        headers: dict[str, str | list[str] | tuple[str]] = {"Content-Type": _TYPE, **self._sse}
        if if_absent:
            headers["If-None-Match"] = "*"
        with self._translated():
            try:
                done = self._client._put_object(self.bucket, key, data, headers)  # noqa: SLF001
            except S3Error as e:
                if not if_absent or (e.code != "PreconditionFailed" and e.response.status != 412):
                    raise
                self._make_sure(key)
                return False
        self._check_stored(key, done)
        return True

    def put_file(self, key: str, path: Path) -> None:
        """See ObjectStore. One PUT, as `put` does it."""
        headers: dict[str, str | list[str] | tuple[str]] = {"Content-Type": _TYPE, **self._sse}
        with path.open("rb") as file, self._translated():
            body: Any = _Body(file)
            done = self._client._put_object(self.bucket, key, body, headers)  # noqa: SLF001
        self._check_stored(key, done)

    def get(self, key: str) -> bytes:
        """See ObjectStore."""
        with self._translated():
            return self._fetch(key)[0]

    def parts(self, key: str) -> Iterator[bytes]:
        """See ObjectStore."""
        with self._translated():
            response = self._open(key)
            try:
                yield from response.stream(_BLOCK)
            finally:
                response.close()  # where it was not read to its end, its connection is of no more use
                response.release_conn()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        with self._translated():
            for found in self._client.list_objects(self.bucket, prefix=prefix or None, recursive=True):
                if found.object_name is not None and not found.is_dir:
                    yield ObjectInfo(found.object_name, found.size or 0, (found.etag or "").strip('"'))

    def exists(self, key: str) -> bool:
        """See ObjectStore."""
        with self._translated():
            try:
                self._make_sure(key, look=True)
            except S3Error as e:
                if e.code in _ABSENT:
                    return False
                raise
        return True

    def encryption(self, key: str) -> Encryption:
        """See Encrypting."""
        with self._translated():
            told: Mapping[str, str] = self._stat(key).metadata or {}
        kind, asked = told.get(_SSE, ""), self._sse.get(_SSE)
        return Encryption(kind, told.get(f"{_SSE}-aws-kms-key-id", ""), kind == asked if asked else bool(kind))

    def encrypt(self, key: str) -> None:
        """See Encrypting. Read and written, not copied by the store: a copy's answer may say 200 and hold an error."""
        with self._translated():
            data, told = self._fetch(key)
            headers: dict[str, str | list[str] | tuple[str]] = {
                "Content-Type": told.get("Content-Type", _TYPE),
                "If-Match": told["ETag"],  # not over what is put there meanwhile
                **self._sse,
            }
            done = self._client._put_object(self.bucket, key, data, headers)  # noqa: SLF001
        self._check_encrypted(key, done.http_headers)

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        with self._translated():
            self._client.remove_object(self.bucket, key)

    def ensure_bucket(self) -> None:
        """See ObjectStore."""
        with self._translated():
            try:
                if not self._client.bucket_exists(self.bucket):
                    self._client.make_bucket(self.bucket)
            except S3Error as e:
                if e.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                    raise
            except ValueError as e:  # minio checks the bucket's name by itself
                raise ConfigError(f"store.bucket: {e}") from e

    def _fetch(self, key: str) -> tuple[bytes, Mapping[str, str]]:
        """The object's bytes, and the headers of the answer."""
        response = self._open(key)
        try:
            return response.read(), response.headers
        finally:
            response.release_conn()

    def _open(self, key: str) -> BaseHTTPResponse:
        """The answer that has the object's bytes, not read yet."""
        try:
            return self._client.get_object(self.bucket, key)
        except S3Error as e:
            raise self._absent(e, key) from e

    def _stat(self, key: str) -> Any:
        try:
            return self._client.stat_object(self.bucket, key)
        except S3Error as e:
            raise self._absent(e, key) from e

    def _absent(self, error: S3Error, key: str) -> Exception:
        return FatalError(f"no object {key} in bucket {self.bucket}") if error.code in _ABSENT else error

    def _make_sure(self, key: str, *, look: bool = False) -> None:
        """Encrypt the object where it is not as the settings ask: it may be older than they are.

        ConfigError when it stays as it is. S3Error when there is no such object, if asked to `look` at all events.
        """
        if not self._sse and not look:
            return
        told = self._client.stat_object(self.bucket, key).metadata or {}
        if self._sse and told.get(_SSE, "") != self._sse[_SSE]:
            log.info("an object is not encrypted as store.sse asks: it is written anew", extra={"key": key})
            self.encrypt(key)

    def _check_stored(self, key: str, done: ObjectWriteResult) -> None:
        """TransientError where the answer to a PUT is not a store's; ConfigError as `_check_encrypted`."""
        if not done.etag:  # a load balancer's page has status 200 too, and nothing was stored
            raise TransientError(f"{self._where}: {_NO_S3} Its answer to a PUT has no ETag")
        self._check_encrypted(key, done.http_headers)

    def _check_encrypted(self, key: str, told: Mapping[str, str] | None) -> None:
        """ConfigError when `told`, the store's headers, say that the object is not encrypted as `store.sse` asks.

        Some servers accept the request for encryption and store the bytes as they are.
        """
        asked, given = self._sse.get(_SSE, ""), (told or {}).get(_SSE, "")
        if asked and given != asked:
            raise ConfigError(
                f"object store {self.endpoint}: store.sse asks for {asked}, but for {key} it reports "
                f"{given or 'no encryption'}. Use a store that encrypts, or correct store.sse"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """What minio and urllib3 raise in the block becomes one of our errors."""
        try:
            yield
        except (MinioException, HTTPError, OSError, SyntaxError) as e:  # the last is XML's ParseError
            raise self._translate(e) from e

    @property
    def _where(self) -> str:
        return f"object store {self.endpoint}"

    def _translate(self, error: Exception) -> HeadraceError:
        where = self._where
        if isinstance(error, S3Error):
            return self._answered(error, where)
        if isinstance(error, InvalidResponseError | ServerError):
            words = str(error).partition(", Content-Type")[0].partition("\n")[0]  # without the page that came instead
            return TransientError(f"{where}: {_NO_S3} {words}")
        if isinstance(error, SyntaxError):
            return TransientError(f"{where}: {_NO_S3} No XML: {error}")
        if isinstance(error, urllib3.exceptions.MaxRetryError) and isinstance(
            error.reason, urllib3.exceptions.SSLError
        ):
            if why := refused(error, *split(self.endpoint), self._tls, "store.tls", "store.endpoint"):
                return ConfigError(f"{where}: {why}")
            return TransientError(f"{where}: TLS failed: {error.reason}; does it speak TLS? See store.tls")
        reason = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason else error
        if isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.NameResolutionError):
            words = str(reason).partition(": ")[2]  # the connection's own name repeats the address
            return TransientError(f"{where}: {words}. Start it, or correct store.endpoint")
        if self._tls.enabled and (why := refusal(reason, self._tls, "store.tls", "store.endpoint")):
            return ConfigError(f"{where}: {why}")
        if isinstance(reason, urllib3.exceptions.ProtocolError):
            return TransientError(f"{where}: {reason}; does S3 listen there? See store.endpoint and store.tls")
        return TransientError(f"{where}: {reason}")

    def _answered(self, error: S3Error, where: str) -> HeadraceError:
        """The error for an answer in which the server says what is wrong."""
        if error.code == "NoSuchBucket":
            return ConfigError(f"{where}: no bucket {self.bucket!r}: create it, or correct store.bucket")
        if error.code == "RequestTimeTooSkewed":
            return ConfigError(f"{where}: this machine's clock is wrong: {error.message}")
        if error.code in _CREDENTIALS and self._given:
            return ConfigError(
                f"{where}: refused the credentials that AWS gave: {error.code}: {error.message}. Let the role use "
                "the bucket, and its key where store.sse names one"
            )
        if error.code == "NotImplemented":
            return ConfigError(
                f"{where}: it does not support what was asked: {error.message}. Correct store.sse, or use a store that "
                "encrypts and takes conditional writes (If-None-Match)"
            )
        if error.code in _KMS:
            remedy = "Correct store.sse.key, or let these credentials use it"
            return ConfigError(f"{where}: {error.code}: {error.message}. {remedy}")
        if error.code in _CREDENTIALS:
            return ConfigError(f"{where}: refused store.access_key or store.secret_key: {error.code}: {error.message}")
        # A key that is unknown, and a key server that is away, are both an error 500 of the store (SeaweedFS).
        kms = error.code == "InternalError" and self._sse.get(_SSE) == "aws:kms"
        hint = " Is the key in store.sse.key there, and does the store's key server answer?" if kms else ""
        return TransientError(f"{where}: {error.code}: {error.message}{hint}")


def _encryption(sse: Sse | None) -> dict[str, str]:
    """The headers that ask for encryption with an object."""
    if sse is None:
        return {}
    if sse.kind == "s3":
        return {_SSE: "AES256"}
    return {_SSE: "aws:kms"} | ({f"{_SSE}-aws-kms-key-id": sse.key} if sse.key else {})


def _tls(config: Store) -> dict[str, Any]:
    """What urllib3's pool takes for TLS: the system's trust, which honours SSL_CERT_FILE, or the given CA."""
    context = client_context(config.tls, "store.tls")
    if context is None:
        return {}
    if not config.tls.verify_hostname:
        return {"ssl_context": context, "assert_hostname": False}
    return {"ssl_context": context}
