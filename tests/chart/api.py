"""The Kubernetes API over HTTPS, as far as the tests need it: no kubectl, no client library."""

import http.client
import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headrace.errors import FatalError, TransientError
from tests import waiting

Object = dict[str, Any]

# They come and go by themselves, and hold nothing of a release.
PASSING = {
    "apiservices", "csinodes", "endpoints", "endpointslices", "events", "ipaddresses", "leases", "namespaces", "nodes",
    "persistentvolumes",
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of resource as the server names it: `base` is /api/v1 or /apis/GROUP/VERSION."""

    base: str
    plural: str
    kind: str
    namespaced: bool

    def path(self, namespace: str = "", name: str = "") -> str:
        """Where one of them is, or all: of a namespace, or of the cluster where none is given."""
        inside = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.base}{inside}/{self.plural}" + (f"/{quote(name)}" if name else "")


@dataclass
class Api:
    """An API server on loopback, spoken to as its administrator."""

    port: int
    token: str
    certificate: Path
    _connection: http.client.HTTPSConnection | None = None
    _kinds: dict[str, list[Kind]] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> tuple[int, Any]:
        """One request: the HTTP status and the decoded answer. TransientError while the server is away.

        Each may be sent twice, where the server has closed an idle connection: so only what can be repeated.
        """
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind, "Accept": "application/json"}
        content = None if body is None else json.dumps(body)
        for last in (False, True):
            try:
                connection = self._open()
                connection.request(method, path, content, headers)
                answer = connection.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException) as e:
                self.close()
                if last:
                    raise TransientError(f"{method} {path}: {e}") from e
        # /openapi/v3 is JSON that calls itself plain text.
        is_json = "json" in (answer.headers.get("Content-Type") or "") or text.startswith(b"{")
        return answer.status, json.loads(text) if is_json else text.decode()

    def _open(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            context = ssl.create_default_context(cafile=str(self.certificate))
            self._connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        return self._connection

    def close(self) -> None:
        """End the connection; the next request makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Any:
        """The answer to a request that must succeed; FatalError with the server's words otherwise."""
        status, answer = self.ask(method, path, body, kind)
        if status >= 300:
            message = answer.get("message") if isinstance(answer, dict) else answer
            raise FatalError(f"{method} {path}: {status} {message}")
        return answer

    def kinds(self) -> Iterator[Kind]:
        """Every kind of resource that can be listed, in its group's preferred version."""
        yield from self._served("/api/v1")
        for group in self.call("GET", "/apis")["groups"]:
            yield from self._served(f"/apis/{group['preferredVersion']['groupVersion']}")

    def kind(self, item: Object) -> Kind:
        """The kind of an object. FatalError where the server has none of that name and version."""
        version = item["apiVersion"]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        for kind in self._served(base):
            if kind.kind == item["kind"]:
                return kind
        raise FatalError(f"the API server has no {version} {item['kind']}")

    def _served(self, base: str) -> list[Kind]:
        if base not in self._kinds:
            self._kinds[base] = [
                Kind(base, r["name"], r["kind"], r["namespaced"])
                for r in self.call("GET", base)["resources"]
                if "list" in r["verbs"]
            ]
        return self._kinds[base]

    def apply(self, item: Object, namespace: str = "default", *, dry_run: bool = False) -> Object:
        """Server-side apply, unknown and double fields refused."""
        path = self.kind(item).path(item["metadata"].get("namespace", namespace), item["metadata"]["name"])
        query = f"?fieldManager=chart-test&force=true&fieldValidation=Strict{'&dryRun=All' if dry_run else ''}"
        found: Object = self.call("PATCH", path + query, item, "application/apply-patch+yaml")
        return found

    def list(self, kind: str, namespace: str) -> list[Object]:
        """The objects of a kind that Kubernetes itself brings or `kinds` knows, in a namespace."""
        found = next(k for k in self.kinds() if k.kind == kind)
        items: list[Object] = self.call("GET", found.path(namespace))["items"]
        return items

    def names(self, namespace: str = "") -> set[str]:
        """Kind/name of all that is in a namespace, or in none; not what comes and goes by itself."""
        return {
            f"{kind.kind}/{item['metadata']['name']}"
            for kind in self.kinds()
            if kind.plural not in PASSING and kind.namespaced == bool(namespace)
            for item in self.call("GET", kind.path(namespace))["items"]
        }

    def add_namespace(self, name: str, **labels: str) -> None:
        """A namespace, once its own service account and ConfigMap are in it."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        until(lambda: len(self.names(name)) >= 2, 30, f"what belongs into the namespace {name}")

    def remove_namespace(self, name: str) -> None:
        """Remove a namespace and all that is in it; returns when it is gone."""
        path = f"/api/v1/namespaces/{name}"
        self.call("DELETE", path)
        until(lambda: self.ask("GET", path)[0] == 404, 60, f"the end of the namespace {name}")


def until(met: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for a condition. A server that is away for now is a condition not met."""
    waiting.until(met, seconds, what, not_yet=(TransientError,))
