"""A key server with the Transit API of OpenBao and Vault, as small as SeaweedFS needs it."""

import json
import os
from base64 import b64decode, b64encode
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.secured.answers import Answer, Request


class Transit:
    """Named keys in versions; `answer` is what `answering` wants. What is encrypted names the version of its key."""

    def __init__(self, token: str, *names: str) -> None:
        self.token = token
        self.keys = {name: [os.urandom(32)] for name in names}
        self.used: list[tuple[str, int]] = []  # key and version of each encryption

    def rotate(self, name: str) -> None:
        """Give the key a new version, as `vault write -f transit/keys/NAME/rotate`; the old ones still decrypt."""
        self.keys[name].append(os.urandom(32))

    def answer(self, request: Request) -> Answer:
        """As OpenBao would."""
        if request.headers.get("x-vault-token") != self.token:
            return _json(403, {"errors": ["permission denied"]})
        _, _, _, verb, name = request.path.split("/")
        if name not in self.keys:
            return _json(404 if verb == "keys" else 400, {"errors": ["encryption key not found"]})
        versions, body = self.keys[name], json.loads(request.body or b"{}")
        if verb == "keys":
            return _json(200, {"data": {"name": name, "type": "aes256-gcm96", "latest_version": len(versions)}})
        if verb == "encrypt":
            nonce, number = os.urandom(12), len(versions)
            sealed = nonce + AESGCM(versions[-1]).encrypt(nonce, b64decode(body["plaintext"]), None)
            self.used.append((name, number))
            return _json(200, {"data": {"ciphertext": f"vault:v{number}:{b64encode(sealed).decode()}"}})
        _, version, text = body["ciphertext"].split(":")
        sealed = b64decode(text)
        plain = AESGCM(versions[int(version[1:]) - 1]).decrypt(sealed[:12], sealed[12:], None)
        return _json(200, {"data": {"plaintext": b64encode(plain).decode()}})


def provider(port: int, token: str) -> dict[str, Any]:
    """The part `kms` of SeaweedFS's s3.json. Without its cache, which would keep data keys for an hour."""
    one = {
        "type": "openbao",
        "address": f"http://127.0.0.1:{port}",
        "token": token,
        "transit_path": "transit",
        "cache_enabled": False,
    }
    return {"default_provider": "bao", "providers": {"bao": one}}


def _json(status: int, data: dict[str, Any]) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(data).encode()
