"""A SeaweedFS of one's own whose S3 has TLS, and a key to encrypt with."""

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.config.connect import Store
from headrace.errors import HeadraceError
from headrace.runtime.sockets import listening
from headrace.stack import ports, store
from headrace.store.base import ObjectStore
from headrace.store.open import open_store
from tests.secured.certs import Pair
from tests.waiting import stop_process, until

HOST = "127.0.0.1"


class Server:
    """A running server: `settings` is the `store` of a configuration, without `tls`."""

    def __init__(self, folder: Path, pair: Pair) -> None:
        taken: set[int] = set()
        chosen = {flag: ports.free(taken) for flag in (*store.PORTS, "s3.port.https")}
        self._chosen = {name: chosen[flag] for flag, name in store.PORTS.items()}
        keys = {"AWS_ACCESS_KEY_ID": "HRTEST", "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(20)}
        flags: dict[str, Any] = {
            "dir": folder / "weed", "ip": HOST, "ip.bind": HOST, **chosen, "s3.cert.file": pair.cert,
            "s3.key.file": pair.key, "s3.port.iceberg": 0, "s3.port.lance": 0, "webdav": "false", "admin.ui": "false",
            "master.telemetry": "false", "filer.localSocket": "filer.sock", "s3.localSocket": "s3.sock",
        }  # fmt: skip
        (folder / "weed").mkdir()
        command = [str(store.find()), "-logtostderr=true", "mini", *(f"-{k}={v}" for k, v in flags.items())]
        environment = {**os.environ, **keys, "WEED_S3_SSE_KEY": secrets.token_hex(32)}
        with (folder / "weed.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        port = chosen["s3.port.https"]
        end = time.monotonic() + 300
        while not listening(port):
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise AssertionError((folder / "weed.log").read_text()[-3000:])
            time.sleep(0.1)
        names = {"access_key": keys["AWS_ACCESS_KEY_ID"], "secret_key": keys["AWS_SECRET_ACCESS_KEY"]}
        self.settings: dict[str, Any] = {"endpoint": f"{HOST}:{port}", "bucket": "lake", **names}

    def stop(self) -> None:
        """Stop it."""
        stop_process(self._process, 30)
        store.tidy(self._chosen)


@contextmanager
def running(folder: Path, pair: Pair) -> Iterator[Server]:
    """A SeaweedFS for as long as the block lasts."""
    it = Server(folder, pair)
    try:
        yield it
    finally:
        it.stop()


def opened(config: Store) -> ObjectStore:
    """The server's store, with a bucket, once it takes objects: it listens before all of it is there."""
    it = open_store(config)

    def takes() -> bool:
        it.ensure_bucket()
        return it.put("first", b"1")

    until(takes, 120, "the S3 server takes objects", pause=0.5, not_yet=(HeadraceError,))
    return it
