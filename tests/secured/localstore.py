"""The SeaweedFS of a local stack as `headrace up` runs it, without the rest of the stack."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.config import Config
from headrace.errors import HeadraceError
from headrace.stack import plan, store
from headrace.stack.process import launch
from headrace.stack.state import State
from headrace.store.base import ObjectStore
from headrace.store.open import open_store
from tests import ownports
from tests.waiting import stop_process, until


class LocalStore:
    """It can be stopped and started again; its state folder stays."""

    def __init__(self, folder: Path, more: dict[str, Any] | None = None) -> None:
        """`more` goes into its s3.json."""
        self.state, self._more = State(folder), more or {}
        self.plan = plan.make(self.state, ownports.wishes())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Config:
        """The configuration that the stack's services would read."""
        return self.plan.config

    @property
    def ports(self) -> dict[str, int]:
        """Its ports, and those of the other servers, by the stack's names."""
        return self.plan.ports

    def open(self, **over: Any) -> ObjectStore:
        """Its S3, with the settings in `over` instead of the stack's own."""
        return open_store(self.config.store.model_copy(update=over))

    def start(self) -> None:
        """Start it as the runner does, and wait until it is ready."""
        spec = store.spec(self.plan, store.find())
        spec.prepare()
        if self._more:
            file = self.state.conf / "s3.json"
            file.write_text(json.dumps({**json.loads(file.read_text()), **self._more}))
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "WEED_"))}
        with self.state.log_file("store").open("ab") as log:
            hurry = {"WEED_TLS_CERT_REFRESH_INTERVAL": "1s"}
            self._process = launch(spec.argv(), {**env, **spec.env, **hurry}, self.state.tmp, log)

        def ready() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, self.log[-3000:]
            spec.probe()
            return True

        until(ready, 90, lambda: self.log[-3000:], not_yet=(HeadraceError,))

    def stop(self) -> None:
        """Stop it; its data stays."""
        if self._process is not None:
            stop_process(self._process, 30)
            self._process = None
            store.tidy(self.ports)

    def again(self, **secrets: str) -> None:
        """Stop it and start it, with these secrets instead of those that it had."""
        self.stop()
        self.plan = replace(self.plan, secrets={**self.plan.secrets, **secrets})
        self.start()

    @property
    def log(self) -> str:
        """What it has printed."""
        return self.state.log_file("store").read_text(encoding="utf-8", errors="replace")


@contextmanager
def running(folder: Path, more: dict[str, Any] | None = None) -> Iterator[LocalStore]:
    """A SeaweedFS for as long as the block lasts."""
    it = LocalStore(folder, more)
    try:
        it.start()
        yield it
    finally:
        it.stop()
