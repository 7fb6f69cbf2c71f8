"""Who issues tokens: an OAuth 2 token endpoint and the keys to check them by, which can be short, away or unwilling."""

import base64
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa


@dataclass
class Issuer:
    """Answers on 127.0.0.1:`port`. `status` other than 200 refuses; `away` hangs up."""

    life: float = 60.0  # seconds that a token holds
    audience: str = "kafka"
    status: int = 200
    away: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)  # the forms that came
    port: int = 0

    def __post_init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        handler = type("Handler", (_Handler,), {"issuer": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def token(self) -> str:
        """A signed token (JWT, RS256) for the client `headrace`."""
        now = time.time()
        claims = {"sub": "headrace", "iss": self.url, "aud": self.audience, "scope": "kafka"}
        header = {"alg": "RS256", "kid": "one", "typ": "JWT"}
        words = f"{_part(header)}.{_part({**claims, 'iat': int(now), 'exp': int(now + self.life)})}"
        return f"{words}.{_text(self._key.sign(words.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def keys(self) -> dict[str, Any]:
        """The key set (JWKS)."""
        n = self._key.public_key().public_numbers()
        modulus, exponent = (_text(i.to_bytes((i.bit_length() + 7) // 8, "big")) for i in (n.n, n.e))
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one", "n": modulus, "e": exponent}]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    issuer: Issuer

    def do_GET(self) -> None:
        self._answer(200, self.issuer.keys())

    def do_POST(self) -> None:
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        it = self.issuer
        if it.away:
            self.close_connection = True
            return
        it.asked.append(form)
        if it.status != 200:
            self._answer(it.status, {"error": "invalid_client", "error_description": "no such client here"})
            return
        self._answer(200, {"access_token": it.token(), "token_type": "Bearer", "expires_in": int(it.life)})

    def _answer(self, status: int, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
        """Nothing."""


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _part(data: dict[str, Any]) -> str:
    return _text(json.dumps(data).encode())


@contextmanager
def issuing(**settings: Any) -> Iterator[Issuer]:
    """An issuer for as long as the block lasts."""
    it = Issuer(**settings)
    try:
        yield it
    finally:
        it.close()
