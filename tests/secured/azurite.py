"""Azurite, Microsoft's emulator of Azure Blob, from npm, in the cache; skipped where there is no Node."""

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.runtime.sockets import listening
from headrace.stack import download, ports
from tests.waiting import stop_process

VERSION = "3.37.0"
ACCOUNT = "headrace"
KEY = base64.b64encode(b"a key of thirty-two bytes, nearly").decode()
HOST = "127.0.0.1"


def installed() -> Path:
    """The emulator's script, installed into the cache the first time."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Azurite needs Node with npm, and this machine has none")
    folder = download.cache_dir() / f"azurite-{VERSION}"
    script = folder / "node_modules/azurite/dist/src/blob/main.js"
    if not script.is_file():
        fresh = folder.with_name(f"{folder.name}-{os.getpid()}")  # an interrupted install leaves no half of one
        fresh.mkdir(parents=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(fresh), f"azurite@{VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode != 0:
            shutil.rmtree(fresh)
            pytest.skip(f"Azurite can't be installed with npm: {done.stderr[-300:]}")
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    return script


def signed(method: str, url: str, query: dict[str, str]) -> urllib.request.Request:
    """A request signed with the account's key (Shared Key), which has no body."""
    path = "/" + url.split("/", 3)[3]
    now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = {"x-ms-date": now, "x-ms-version": "2021-12-02"}
    resource = f"/{ACCOUNT}{path}" + "".join(f"\n{k}:{v}" for k, v in sorted(query.items()))
    named = "\n".join(f"{k}:{v}" for k, v in sorted(headers.items()))
    text = "\n".join([method, *[""] * 11, named, resource])
    digest = hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    words = "&".join(f"{k}={v}" for k, v in query.items())
    return urllib.request.Request(f"{url}?{words}", method=method, headers=headers)


@contextmanager
def running(folder: Path, container: str) -> Iterator[str]:
    """The URL of the account on a running Azurite that has the container."""
    script, port = installed(), ports.free(set())
    command = [
        "node", str(script), "--blobHost", HOST, "--blobPort", str(port), "--location", str(folder / "azurite"),
        "--silent", "--skipApiVersionCheck", "--disableTelemetry",
    ]  # fmt: skip
    with (folder / "azurite.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        end = time.monotonic() + 300
        while not listening(port):
            assert process.poll() is None, (folder / "azurite.log").read_text()
            assert time.monotonic() < end, "Azurite does not listen"
            time.sleep(0.1)
        url = f"http://{HOST}:{port}/{ACCOUNT}"
        with urllib.request.urlopen(signed("PUT", f"{url}/{container}", {"restype": "container"}), timeout=60):
            yield url
    finally:
        stop_process(process, 10)
