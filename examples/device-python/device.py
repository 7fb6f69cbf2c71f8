"""A device that asks for its certificate, publishes with it, and renews it.

    pip install cryptography paho-mqtt
    device.py FOLDER enrol https://hub.example.org --token he_... [--serial S] [--ca ca.pem]
    device.py FOLDER publish TOPIC PAYLOAD
    device.py FOLDER renew

`publish` renews by itself when it is time. FOLDER keeps identity.pem (private key and certificate, replaced as a
whole), next.key (the key that is asked for, until its certificate is there: a lost answer is asked for again with the
same key), hub.json and broker.pem.
"""

import argparse
import base64
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion

PEM, SECONDS = serialization.Encoding.PEM, 20
TOO_EARLY = 3


class Device:
    """What is kept in the folder of one device."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.identity, self.broker = folder / "identity.pem", folder / "broker.pem"

    def known(self) -> dict[str, Any]:
        """Where hub is, and what it has told."""
        if not self.identity.is_file():
            sys.exit(f"{self._folder}: it has no certificate yet; `enrol` gets one")
        found: dict[str, Any] = json.loads((self._folder / "hub.json").read_text(encoding="utf-8"))
        return found

    def next_key(self) -> ec.EllipticCurvePrivateKey:
        """The key that was made and not used yet, or a new one."""
        file = self._folder / "next.key"
        if not file.is_file():
            made = ec.generate_private_key(ec.SECP256R1())
            text = made.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            _save(file, text.decode())
        return _key(file)

    def keep(self, hub: str, ca: str, told: dict[str, Any]) -> None:
        """Become what hub has told: the certificate and its key last, and as a whole."""
        if told["broker"]["authority"]:
            _save(self.broker, told["broker"]["authority"])
        _save(self._folder / "hub.json", json.dumps({"hub": hub, "ca": ca, **told}))
        key = self._folder / "next.key"
        _save(self.identity, key.read_text(encoding="utf-8") + told["certificate"])
        key.unlink()


def enrol(device: Device, hub: str, ca: str, token: str, serial: str) -> int:
    """Ask for the first certificate, again and again as long as it waits for approval."""
    body = {"csr": _csr(device.next_key()), "token": token, "serial": serial}
    while True:
        status, told = _post(hub, ca, "/api/enroll", body)
        if status == 201:
            device.keep(hub, ca, told)
            return 0
        if status != 202:
            sys.exit(f"hub: {told['error']}")
        print("waiting for approval", flush=True)
        time.sleep(told["again_in_seconds"])


def renew(device: Device) -> int:
    """Ask for the next certificate. The present one stays good until its end."""
    known = device.known()
    csr = _csr(device.next_key())
    text = f"headrace reenroll\n{known['id']}\n{csr}".encode()
    signature = base64.b64encode(_key(device.identity).sign(text, ec.ECDSA(hashes.SHA256()))).decode()
    body = {"id": known["id"], "csr": csr, "signature": signature}
    status, told = _post(known["hub"], known["ca"], "/api/reenroll", body)
    if status == 409 and "renew_from" in told:
        print(f"to be renewed from {told['renew_from']}")
        return TOO_EARLY
    if status != 201:
        sys.exit(f"hub: {told['error']}")
    device.keep(known["hub"], known["ca"], told)
    return 0


def publish(device: Device, topic: str, payload: str) -> int:
    """Publish at QoS 1: done when the broker has it."""
    known = device.known()
    if datetime.fromisoformat(known["renew_from"]) <= datetime.now(UTC):
        renew(device)
    broker = known["broker"]
    context = ssl.create_default_context(cafile=str(device.broker) if device.broker.is_file() else None)
    context.load_cert_chain(device.identity)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=known["id"])
    client.tls_set_context(context)
    why = "no answer"
    try:
        client.connect(broker["host"], broker["port"])
        client.loop_start()
        sent = client.publish(topic, payload, qos=1)
        sent.wait_for_publish(SECONDS)
        if sent.is_published():
            return 0
    except (OSError, RuntimeError) as e:  # a certificate that is refused ends the connection after it was made
        why = str(e).rstrip(".")
    finally:
        client.disconnect()
        client.loop_stop()
    sys.exit(f"broker {broker['host']}:{broker['port']}: {why}. Is it up, and is the device active (devices show)?")


def _csr(key: ec.EllipticCurvePrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])  # hub sets the name itself
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return made.public_bytes(PEM).decode()


def _key(file: Path) -> ec.EllipticCurvePrivateKey:
    found = serialization.load_pem_private_key(file.read_bytes(), password=None)
    assert isinstance(found, ec.EllipticCurvePrivateKey)
    return found


def _post(hub: str, ca: str, path: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
    if not hub.startswith("https://"):
        sys.exit(f"{hub}: give an address that begins with https://: others could read the token")
    request = urllib.request.Request(hub.rstrip("/") + path, json.dumps(body).encode())  # noqa: S310 - https: checked
    request.add_header("Content-Type", "application/json")
    context = ssl.create_default_context(cafile=ca or None)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS, context=context) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as e:
        with e:
            return e.code, json.loads(e.read())
    except OSError as e:
        why = getattr(e, "reason", e)
        sys.exit(f"{hub}: {why}. Is this hub's address, and --ca the authority of its certificate?")


def _save(file: Path, text: str) -> None:
    fresh = file.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    acts = parser.add_subparsers(dest="act", required=True)
    first = acts.add_parser("enrol")
    first.add_argument("hub", help="its address, https://...")
    first.add_argument("--token", required=True)
    first.add_argument("--serial", default="")
    first.add_argument("--ca", default="", help="authority of hub's certificate; the system's when left out")
    some = acts.add_parser("publish")
    some.add_argument("topic")
    some.add_argument("payload")
    acts.add_parser("renew")
    given = parser.parse_args()
    given.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    device = Device(given.folder)
    if given.act == "enrol":
        return 0 if device.identity.is_file() else enrol(device, given.hub, given.ca, given.token, given.serial)
    return publish(device, given.topic, given.payload) if given.act == "publish" else renew(device)


if __name__ == "__main__":
    sys.exit(main())
