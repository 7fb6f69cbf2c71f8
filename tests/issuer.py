"""A small identity provider over HTTP: signs tokens with keys that rotate, and shows the keys."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "headrace"


class Issuer:
    """Its keys by their ids. `away`: it answers 503. `asked`: how often its keys were."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.shown: dict[str, dict[str, Any]] = {}
        self.url, self.named, self.away, self.asked = "", "", False, 0
        self.codes: dict[str, dict[str, str]] = {}  # what each was given for
        self.secret, self.claims, self.access = "", dict[str, Any](), dict[str, Any]()

    def add(self, kid: str, algorithm: str = "ES256", bits: int = 2048) -> str:
        """Make and show a key; returns its id."""
        match algorithm:
            case "ES256":
                key: Any = ec.generate_private_key(ec.SECP256R1())
                page = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
            case "EdDSA":
                key = ed25519.Ed25519PrivateKey.generate()
                page = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
            case _:
                key = rsa.generate_private_key(65537, bits)
                page = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        self.keys[kid], self.shown[kid] = key, {**page, "kid": kid, "use": "sig"}
        return kid

    def token(self, kid: str, algorithm: str = "ES256", headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token for `someone`, who is an operator, valid for a minute; `claims` change that, None leaves one out."""
        now = int(time.time())
        body = {"iss": self.url, "aud": AUDIENCE, "sub": "someone", "roles": ["ops"], "iat": now, "exp": now + 60}
        body = {k: v for k, v in {**body, **claims}.items() if v is not None}
        return jwt.encode(body, self.keys[kid], algorithm, headers={"kid": kid, **(headers or {})})

    def page(self, path: str) -> tuple[int, dict[str, Any]]:
        if self.away:
            return 503, {}
        if path == "/.well-known/openid-configuration":
            ends = {"authorization_endpoint": f"{self.url}/authorize?ui=1", "token_endpoint": f"{self.url}/token"}
            return 200, {"issuer": self.named or self.url, "jwks_uri": f"{self.url}/keys", **ends}
        self.asked += 1
        return 200, {"keys": list(self.shown.values())}

    def authorize(self, address: str) -> str:
        """What the person's browser does there: where it is sent back to, once they have logged in."""
        parts = urlsplit(address)
        asked = dict(parse_qsl(parts.query))
        assert f"{parts.scheme}://{parts.netloc}" == self.url
        assert (asked["response_type"], asked["code_challenge_method"], asked["ui"]) == ("code", "S256", "1")
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def exchange(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Tokens for a code, which counts once, for who has the verifier and the client's secret."""
        asked = self.codes.pop(form["code"], None)
        if self.away:
            return 503, {}
        basic = base64.b64encode(f"{form['client_id']}:{self.secret}".encode()).decode()
        if self.secret and authorization != f"Basic {basic}":
            return 401, {"error": "invalid_client"}
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        right = {
            "client_id": form["client_id"], "redirect_uri": form["redirect_uri"],
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        }  # fmt: skip
        if asked is None or not right.items() <= asked.items() or form["grant_type"] != "authorization_code":
            return 400, {"error": "invalid_grant", "error_description": "<b>no</b>"}
        kid = next(iter(self.keys))
        given = {"aud": asked["client_id"], "nonce": asked["nonce"], **self.claims}
        tokens = {"id_token": self.token(kid, **given), "token_type": "Bearer"}
        return 200, {**tokens, "access_token": self.token(kid, **self.access) if self.access else "opaque"}


@contextmanager
def issuer(port: int = 0) -> Iterator[Issuer]:
    """An issuer, as long as the block lasts."""
    it = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, page = it.page(self.path)
            body = json.dumps(page).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            status, page = it.exchange(form, self.headers.get("Authorization", ""))
            body = json.dumps(page).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    it.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
