"""An S3 server as small as a test needs it, for what no real one here does: to ignore what it is asked."""

from dataclasses import dataclass, field
from urllib.parse import unquote

from headrace.config.connect import Store
from tests.secured.answers import Answer, Request

_SSE = "x-amz-server-side-encryption"


@dataclass
class Bucket:
    """The bucket `lake`; `answer` is what `answering` wants. `objects` are (bytes, headers) by path."""

    encrypts: bool = True
    conditional: bool = True
    refuses: str = ""  # the error code that every PUT of an object meets
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)

    def answer(self, request: Request) -> Answer:
        """As S3 would."""
        path = request.path.partition("?")[0]
        if request.method == "PUT":
            return self._put(path, request)
        if request.method == "DELETE":
            self.objects.pop(path, None)
            return 204, {}, b""
        if path == "/lake":
            keys = [unquote(path.removeprefix("/lake/")) for path in self.objects]
            found = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
            return 200, {}, f"<ListBucketResult><Name>lake</Name>{found}</ListBucketResult>".encode()
        if path not in self.objects:
            return _error(404, "NoSuchKey")
        data, headers = self.objects[path]
        return 200, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "ETag": '"x"', **headers}, data

    def _put(self, path: str, request: Request) -> Answer:
        if self.refuses:
            return _error(501, self.refuses)
        if self.conditional and "if-none-match" in request.headers and path in self.objects:
            return _error(412, "PreconditionFailed")
        if request.headers.get("if-match", '"x"') != '"x"':
            return _error(412, "PreconditionFailed")
        asked = request.headers.get(_SSE)
        told = {_SSE: asked} if asked and self.encrypts else {}
        self.objects[path] = request.body, told
        return 200, {"ETag": '"x"', **told}, b""


def settings(port: int) -> Store:
    """A store there, whose objects are to be encrypted."""
    keys = {"access_key": "a", "secret_key": "b" * 8}
    return Store.model_validate(
        {"endpoint": f"127.0.0.1:{port}", "bucket": "lake", "sse": {"kind": "kms", "key": "k"}, **keys}
    )


def _error(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>words</Message><Resource>/</Resource></Error>"
    return status, {"Content-Type": "application/xml"}, body.encode()
