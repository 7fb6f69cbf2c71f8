"""The examples of devices on a whole stack: each enrols, publishes and renews."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from headrace.hub.client import Hub, device_path
from headrace.identity import ca
from tests.stack import ROOT, Stack
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1"), pytest.mark.long]


def aged(stack: Stack, device: str) -> None:
    """As far as hub knows, the device's certificate is 61 days old: it is to be renewed."""
    folder = stack.state / "certs" / "devices"
    issuer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(issuer, ec.EllipticCurvePrivateKey)
    ago = timedelta(days=61)
    with sqlite3.connect(stack.state / "data" / "hub" / "hub.sqlite", timeout=20) as database:
        find = "SELECT number, certificate FROM credentials WHERE device = ? AND revoked IS NULL"
        for number, text in database.execute(find, (device,)).fetchall():
            made = x509.load_pem_x509_certificate(text.encode())
            older = (
                x509.CertificateBuilder().subject_name(made.subject).issuer_name(made.issuer)
                .public_key(made.public_key()).serial_number(made.serial_number)
                .not_valid_before(made.not_valid_before_utc - ago).not_valid_after(made.not_valid_after_utc - ago)
                .sign(issuer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
            )  # fmt: skip
            database.execute("UPDATE credentials SET certificate = ? WHERE number = ?", (older, number))
    database.close()


Example = Callable[..., subprocess.CompletedProcess[str]]


def python_device(folder: Path, stack: Stack) -> Example:
    script = [sys.executable, str(ROOT / "examples/device-python/device.py"), str(folder / "device")]
    hub = [stack.config().hub.url, "--ca", str(stack.state / "certs" / "ca.pem")]

    def run(act: str, *words: str) -> subprocess.CompletedProcess[str]:
        more = {"enrol": [*hub, "--token", *words[:1], "--serial", *words[1:]], "publish": list(words), "renew": []}
        return finished([*script, act, *more[act]])

    return run


def c_device(folder: Path, stack: Stack) -> Example:
    """Compiled here. mbedTLS before 3.5 knows no IP addresses in certificates, so servers are called localhost."""
    if shutil.which("cc") is None or not any(
        Path(p, "include/mbedtls/ssl.h").is_file() for p in ("/usr", "/usr/local")
    ):
        pytest.skip("the C example needs a compiler and mbedTLS: apt install gcc libmbedtls-dev")
    program, kept = folder / "program", folder / "device"
    kept.mkdir()
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-g"]
    source = str(ROOT / "examples/device-c/device.c")
    finished(["cc", *flags, "-o", str(program), source, "-lmbedtls", "-lmbedx509", "-lmbedcrypto"]).check_returncode()
    hub = ["localhost", str(urlsplit(stack.config().hub.url).port), str(stack.state / "certs" / "ca.pem")]

    def run(act: str, *words: str) -> subprocess.CompletedProcess[str]:
        more = {"enrol": [*hub, *words], "publish": ["localhost", *words], "renew": hub}
        return finished([str(program), act, str(kept), *more[act]])

    return run


def finished(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env={**os.environ})


@pytest.mark.parametrize(("name", "make"), [("python", python_device), ("c", c_device)])
def test_an_example_enrols_publishes_and_renews(
    name: str, make: Callable[[Path, Stack], Example], stack: Stack, tmp_path: Path
) -> None:
    device, hub = f"example-{name}", Hub(stack.config().hub)
    run = make(tmp_path, stack)
    token = stack.run("devices", "add", device, "--token", "--serial", "S1").stdout.strip()
    wrong = run("enrol", token, "S2")
    assert (wrong.returncode, "serial number" in wrong.stderr) == (1, True), wrong.stderr
    done = run("enrol", token, "S1")
    assert done.returncode == 0, done.stderr
    payload = '{"temperature": 21.5, "humidity": 40}'
    first = run("publish", f"sensors/{device}/environment", payload)
    assert first.returncode == 0, first.stderr
    early = run("renew")
    assert (early.returncode, "to be renewed from" in early.stdout) == (3, True), early.stderr
    aged(stack, device)
    renewed = run("renew")
    assert renewed.returncode == 0, renewed.stderr
    held = [c for c in hub.get(device_path(device))["credentials"] if c["kind"] == "certificate"]
    assert [c["revoked"] for c in held] == [None, None]
    identity = (tmp_path / "device" / "identity.pem").read_text()
    assert f"{ca.facts(identity[identity.index('-----BEGIN CERT') :], 'it').serial:x}" == held[1]["serial"]
    assert (tmp_path / "device" / "identity.pem").stat().st_mode & 0o777 == 0o600
    second = run("publish", f"sensors/{device}/environment", payload.replace("40", "41"))
    assert second.returncode == 0, second.stderr
    sql = f"select count(*) n from environment where device_id = '{device}'"
    until(lambda: stack.json("query", "-f", "json", sql)[0]["n"] == 2, 40, lambda: "readings are missing", pause=1.0)
    stack.run("devices", "revoke", device, "--yes")
    assert run("renew").returncode == 1
