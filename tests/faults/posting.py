"""A device that posts its readings over HTTP, each until it is answered, a few at a time."""

import asyncio
import base64
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from headrace.config.model import Ingest

_AT_ONCE = 4
_PAUSE_SECONDS = 0.1  # before the same bytes are sent again
_ANSWER_SECONDS = 15.0


class Poster:
    """As `headrace.simulation.device.Publisher`. A message is in flight until it has an answer with status 200."""

    def __init__(
        self,
        cfg: Ingest,
        device: str,
        password: str,
        *,
        window: int,
        patience: float,
        heard: Callable[[str, bytes], None],
    ) -> None:
        self._cfg, self._patience, self._heard = cfg, patience, heard
        self._login = base64.b64encode(f"{device}:{password}".encode()).decode()
        self._waiting: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(window)
        self._workers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._workers = [asyncio.create_task(self._work()) for _ in range(_AT_ONCE)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            done = asyncio.create_task(self._waiting.join())
            await asyncio.wait([done, *self._workers], return_when=asyncio.FIRST_COMPLETED)
        for worker in self._workers:
            worker.cancel()
        for found in await asyncio.gather(*self._workers, return_exceptions=True):
            if isinstance(found, Exception):
                raise found

    async def send(self, topic: str, payload: bytes) -> None:
        """Post a message; waits while too many are in flight."""
        await self._waiting.put((topic, payload))

    async def _work(self) -> None:
        lines: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while True:
                topic, payload = await self._waiting.get()
                end = time.monotonic() + self._patience
                while True:
                    status = 0
                    with suppress(OSError, EOFError, ValueError, TimeoutError):
                        async with asyncio.timeout(_ANSWER_SECONDS):
                            lines = lines or await asyncio.open_connection(self._cfg.host, self._cfg.port)
                            status = await self._ask(*lines, topic, payload)
                    if status == 200:
                        break
                    if lines is not None:
                        lines[1].close()
                        lines = None
                    assert status in {0, 401, 429, 500, 503}, f"HTTP {status}"
                    assert time.monotonic() < end, f"no answer in {self._patience:.0f} s"
                    await asyncio.sleep(_PAUSE_SECONDS)
                self._heard(topic, payload)
                self._waiting.task_done()
        finally:
            if lines is not None:
                lines[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, topic: str, payload: bytes) -> int:
        head = f"POST /readings/{topic} HTTP/1.1\r\nHost: ingest\r\nAuthorization: Basic {self._login}\r\n"
        writer.write(f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
        await writer.drain()
        status = int((await reader.readuntil(b"\r\n")).split()[1])
        length = 0
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        await reader.readexactly(length)
        return status
