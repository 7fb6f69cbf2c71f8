"""The schema registry: contracts in, schema ids out, and schemas by id. The one file that uses its client.

The client speaks Confluent's API (Apicurio serves it under /apis/ccompat/v7). By itself it waits without limit, and
asks again for each message with an unknown id. Here each request has a time-out, and unknown ids are remembered for a
while.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson

from headrace.config.connect import Registry as Settings
from headrace.contracts.compat import incompatibilities
from headrace.contracts.model import Contract
from headrace.errors import ConfigError, PoisonError, Reason, RefusedContractError, TransientError
from headrace.identity.tls import authorities, context, refusal
from headrace.schema_registry.lean import Schema, SchemaRegistryClient, SchemaRegistryError, httpx

T = TypeVar("T")

UNKNOWN_SECONDS = 30.0
MAX_UNKNOWN = 10_000
MAX_ID = 2**31 - 1
# At least BACKWARD: a stricter level that someone has set stays.
ENOUGH = frozenset({"BACKWARD", "BACKWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"})
_RETRIABLE = frozenset({408, 425, 429})
_NOT_A_SCHEMA = 42201  # an error code of its API
_CONFLICT_PAUSES = (0.05, 0.2, 0.5)  # seconds: a registration that another one met is tried again after each


class Registry:
    """A connection to the registry. A context manager; any thread may use it.

    Raises TransientError when the registry is away or overloaded, also when something else answers 404 in its place;
    ConfigError when it refuses the credentials, or when the answer is not a registry's. No call takes longer than two
    or three time-outs of `settings`.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._tls = settings.url, settings.tls
        self._clock = clock
        self._unknown: dict[int, float] = {}
        if not settings.url.startswith("http:") or settings.tls.ca_file or settings.tls.cert_file:
            context(settings.tls, "registry.tls")  # says more about unusable files than the client does
        try:
            self._client = SchemaRegistryClient(_client_settings(settings))
        except (ValueError, TypeError, OSError) as e:
            raise ConfigError(f"registry: {e}. Correct `registry` in the configuration") from None
        if not settings.tls.verify_hostname:
            self._client._rest_client.verify.check_hostname = False  # noqa: SLF001 - the client has no setting for it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client._rest_client.session.close()  # noqa: SLF001 - the client's own close() does nothing

    def register(self, subject: str, contract: Contract) -> int:
        """The id of `contract` under `subject`, registered if it is new. Repeating it gives the same id.

        The subject is set to BACKWARD first. RefusedContractError, with the reason in words, when the contract could
        not read the readings written with the latest registered one.
        """
        try:
            return self._register(subject, contract)
        except _InvalidError as e:
            raise RefusedContractError(contract.name, subject, [str(e)]) from None

    def _register(self, subject: str, contract: Contract) -> int:
        self._require_backward(subject)
        schema = Schema(contract.text, "AVRO")
        why = ""
        for pause in (*_CONFLICT_PAUSES, 0.0):
            if (known := self._known(subject, schema)) is not None:
                return known
            if problems := self._problems(subject, contract):
                raise RefusedContractError(contract.name, subject, problems)
            try:
                return int(self._call(lambda: self._client.register_schema(subject, schema)))
            except _ConflictError as e:  # also where another process has just registered this contract, or the next
                why = str(e)
                time.sleep(pause)
        raise RefusedContractError(contract.name, subject, [f"the registry refuses it: {why}"])

    def check(self, subject: str, contract: Contract) -> list[str]:
        """Why `register` would refuse `contract` under `subject`, in words; empty when it would not.

        Any version that is registered already is taken, as after a rollback.
        """
        if self._known(subject, Schema(contract.text, "AVRO")) is not None:
            return []
        return self._problems(subject, contract)

    def _known(self, subject: str, schema: Schema) -> int | None:
        found = self._maybe(lambda: self._client.lookup_schema(subject, schema))
        return None if found is None or found.schema_id is None else int(found.schema_id)

    def _problems(self, subject: str, contract: Contract) -> list[str]:
        latest = self._maybe(lambda: self._client.get_version(subject, "latest"))
        if latest is None:
            return []
        problems = incompatibilities(_parsed(latest.schema), contract)
        if problems:
            return problems
        schema = Schema(contract.text, "AVRO")
        if self._call(lambda: self._client.test_compatibility(subject, schema)):
            return []
        return [f"the registry says that it can't read readings written with version {latest.version} of {subject}"]

    def latest(self, subject: str) -> str | None:
        """The text of the latest version of `subject`; None when it has none."""
        found = self._maybe(lambda: self._client.get_version(subject, "latest"))
        return None if found is None else str(found.schema.schema_str)

    def latest_id(self, subject: str) -> int | None:
        """The schema id of the latest version of `subject`; None when it has none."""
        found = self._maybe(lambda: self._client.get_version(subject, "latest"))
        return None if found is None or found.schema_id is None else int(found.schema_id)

    def schema_text(self, schema_id: int) -> str:
        """The text of the schema with this id, kept once known. PoisonError when the registry has no such schema."""
        if not 0 < schema_id <= MAX_ID or self._unknown.get(schema_id, 0.0) > self._clock():
            raise _unknown(schema_id)
        found = self._maybe(lambda: self._client.get_schema(schema_id))
        if found is None or found.schema_str is None or found.schema_type not in {"AVRO", None}:
            if len(self._unknown) >= MAX_UNKNOWN:
                self._unknown.clear()
            self._unknown[schema_id] = self._clock() + UNKNOWN_SECONDS
            raise _unknown(schema_id)
        return str(found.schema_str)

    def _require_backward(self, subject: str) -> None:
        level = self._maybe(lambda: self._client.get_compatibility(subject))
        if str(level).upper() not in ENOUGH:
            try:
                self._call(lambda: self._client.set_compatibility(subject, "BACKWARD"))
            except ConfigError:  # Apicurio refuses a level that is set already, even by a repeat of this request
                level = self._maybe(lambda: self._client.get_compatibility(subject))
                if str(level).upper() not in ENOUGH:
                    raise

    def _maybe(self, call: Callable[[], T]) -> T | None:
        try:
            return self._call(call)
        except _MissingError:
            return None

    def _call(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except SchemaRegistryError as e:
            raise self._translate(e) from None
        except httpx.UnsupportedProtocol as e:
            raise ConfigError(f"registry.url {self._url}: {e}") from None
        except (httpx.HTTPError, OSError) as e:
            raise self._away(e) from None
        except httpx.InvalidURL as e:
            raise ConfigError(f"registry.url {self._url}: {e}") from None
        except ValueError as e:  # an answer that is not JSON, as a proxy before a restarting registry gives
            raise TransientError(f"registry {self._url}: not a registry's answer: {e}") from None

    def _away(self, e: Exception) -> ConfigError | TransientError:
        words = str(e) or type(e).__name__
        if why := refusal(e, self._tls, "registry.tls", "registry.url"):
            return ConfigError(f"registry {self._url}: {why}")
        if "WRONG_VERSION_NUMBER" in words:
            words += ": is it a listener without TLS?"
        return TransientError(f"registry {self._url}: {words}. Start it, or correct registry.url")

    def _translate(self, e: SchemaRegistryError) -> Exception:
        status, message = e.http_status_code, str(e.error_message)[:500]
        if status in _RETRIABLE or status >= 500:
            return TransientError(f"registry {self._url}: {message} (HTTP {status})")
        if status == 404 and e.error_code is not None and 40400 <= e.error_code < 40500:
            return _MissingError(message)
        if status == 409:
            return _ConflictError(message.rpartition("Exception: ")[2])
        if status in {401, 403}:
            return ConfigError(
                f"registry {self._url}: access refused (HTTP {status}). "
                "Check registry.url, registry.username and registry.password"
            )
        if status == 422 and e.error_code == _NOT_A_SCHEMA:
            return _InvalidError(f"registry {self._url}: the contract is refused: {message}")
        if status == 422:  # read-only, for example: it takes nothing now, whatever the contract
            return TransientError(f"registry {self._url}: {message} (error {e.error_code})")
        # A 404 without the registry's own code is a wrong path, or a proxy that has no registry behind it just now:
        # from here they look the same. To wait is right for both: an exit would mend neither.
        kind = TransientError if status == 404 else ConfigError
        return kind(
            f"registry {self._url}: HTTP {status}, which is not a registry's answer. Correct registry.url: it must be "
            "the address of a registry's Confluent API, and Apicurio's ends in /apis/ccompat/v7"
        )


class _MissingError(ConfigError):
    """The registry does not have it; never leaves this file."""


class _ConflictError(ConfigError):
    """The registry refuses the new version, or has it already by another's request."""


class _InvalidError(ConfigError):
    """The registry does not take the contract for one."""


def _client_settings(settings: Settings) -> dict[str, Any]:
    out: dict[str, Any] = {"url": settings.url, "timeout": settings.timeout_seconds, "max.retries": 0}
    tls, ca = settings.tls, authorities(settings.tls)
    if ca is not None:  # else the client's own bundle
        out["ssl.ca.location"] = str(ca)
    if tls.cert_file is not None:
        out["ssl.certificate.location"], out["ssl.key.location"] = str(tls.cert_file), str(tls.key_file)
    if settings.username is not None:
        password = settings.password.get_secret_value() if settings.password is not None else ""
        out["basic.auth.user.info"] = f"{settings.username}:{password}"
    return out


def _parsed(schema: Schema) -> dict[str, Any]:
    try:
        parsed = orjson.loads(schema.schema_str or "")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _unknown(schema_id: int) -> PoisonError:
    return PoisonError(
        Reason.UNKNOWN_SCHEMA, f"the registry knows no schema {schema_id}. Restore its data", value=str(schema_id)
    )
