"""Revoke 1 % of 2,000 devices that publish with certificates: how long until all are out, and who else notices?

    python -m bench.revocation --devices 10000 --connected 2000 --revoked 20

Real Mosquitto, hub (a process, on SQLite) and agent, on loopback and in a temporary folder. Every device publishes once
in two seconds at QoS 1. A revoked one tries to come back at once, and again and again.
"""

import argparse
import asyncio
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import HeadraceError
from headrace.hub.client import Hub, device_path
from headrace.identity import csr
from headrace.operate import brokerfiles
from headrace.stack import mosquitto, plan
from headrace.stack.plan import HOST, Wishes
from headrace.stack.state import State, plain

EVERY_SECONDS = 2.0
QUIET_SECONDS = 10.0  # for the others to go on, after the last revoked device is out


class Device:
    """A connection with a certificate that publishes. Times are of time.monotonic()."""

    def __init__(self, name: str, port: int, context: ssl.SSLContext) -> None:
        self.name, self.port, self.context = name, port, context
        self.sent = self.acknowledged = self.came_back = self.refused = 0
        self.gone = self.longest = self.asked = 0.0
        self.revoked = False

    async def run(self, ready: asyncio.Semaphore) -> None:
        """Until it is cancelled. Once it is revoked and out, it tries to come back."""
        async with ready:
            reader, writer = await self._connect()
        try:
            await asyncio.gather(self._publish(writer), self._read(reader))
        except (OSError, asyncio.IncompleteReadError):
            self.gone = time.monotonic()
        while self.revoked:
            try:
                _, again = await self._connect()
                self.came_back += 1
                again.close()
            except (OSError, asyncio.IncompleteReadError):
                self.refused += 1
            await asyncio.sleep(0.2)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(HOST, self.port, ssl=self.context, server_hostname=HOST)
        body = b"\0\4MQTT\5\2\0\x3c\0" + _text(self.name)
        writer.write(bytes((0x10, len(body))) + body)
        head = await reader.readexactly(2)
        answer = await reader.readexactly(head[1])
        if head[0] != 0x20 or answer[1] != 0:
            raise ConnectionRefusedError(f"{self.name}: {answer.hex()}")
        return reader, writer

    async def _publish(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(hash(self.name) % 1000 / 1000 * EVERY_SECONDS)
        while True:
            body = _text(f"sensors/{self.name}/imu") + (self.sent % 65_535 + 1).to_bytes(2, "big") + b"\0" + b"x" * 40
            self.sent += 1
            self.asked = time.monotonic()
            writer.write(bytes((0x32, len(body))) + body)
            await writer.drain()
            await asyncio.sleep(EVERY_SECONDS)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            head = await reader.readexactly(2)
            await reader.readexactly(head[1])
            if head[0] == 0x40:
                self.acknowledged += 1
                self.longest = max(self.longest, time.monotonic() - self.asked)


def _text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


@contextmanager
def process(argv: list[str], log: Path, **more: str) -> Iterator[None]:
    """A process, as long as the block lasts."""
    with log.open("ab") as out:
        it = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**os.environ, **more})
    try:
        yield
    finally:
        it.terminate()
        it.wait(20)


@contextmanager
def servers(folder: Path) -> Iterator[tuple[plan.StackPlan, Hub]]:
    """Mosquitto, hub and agent, as the local stack runs them."""
    made = plan.make(State(folder / "state"), Wishes(auto_ports=True))
    binary = mosquitto.find()
    assert binary is not None
    print("Mosquitto", ".".join(map(str, mosquitto.version(binary))))
    broker = mosquitto.spec(made, binary)
    broker.prepare()
    config = folder / "config.yaml"
    made.state.write(config, yaml.safe_dump(plain(made.config)))
    given = ["--config", str(config)]
    agent = ["headrace.operate.brokeragent", *given, "--folder", str(made.state.conf)]
    agent += ["--pid-file", str(made.state.tmp / brokerfiles.PID), "--devices-ca", str(made.devices_ca)]
    agent += ["--certificates", f"{HOST}:{made.ports['mqtt.certificates']}"]
    (made.state.data / "hub").mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(process(broker.argv(), folder / "mosquitto.log"))
        stack.enter_context(process([sys.executable, "-m", "hub", *given], folder / "hub.log"))
        token = made.secrets["hub_broker"]
        log = folder / "agent.log"
        stack.enter_context(process([sys.executable, "-m", *agent], log, HEADRACE_HUB__TOKEN=token))
        hub = Hub(made.config.hub)
        end = time.monotonic() + 60
        while True:
            try:
                broker.probe()
                hub.get("/api/broker/version")
                break
            except HeadraceError:
                if time.monotonic() > end:
                    print((folder / "hub.log").read_text()[-2000:])
                    raise
                time.sleep(0.2)
        yield made, hub


def certify(hub: Hub, made: plan.StackPlan, name: str) -> ssl.SSLContext:
    """A device's TLS, with a new certificate."""
    asked = csr.make(name)
    cert = hub.post(device_path(name, "certificate"), {"csr": asked.csr})["certificate"]
    context = ssl.create_default_context(cafile=str(made.state.certs / "ca.pem"))
    file = made.state.tmp / f"{name}.pem"
    made.state.write(file, cert + asked.key)
    context.load_cert_chain(file)
    file.unlink()
    return context


async def until(met: Callable[[], bool], seconds: float) -> None:
    """Wait until it is so, at most for so long."""
    end = time.monotonic() + seconds
    while not met() and time.monotonic() < end:  # noqa: ASYNC110 - what is waited for is no event
        await asyncio.sleep(0.02)


async def run(hub: Hub, devices: list[Device], revoked: int) -> dict[str, Any]:
    """The figures."""
    ready = asyncio.Semaphore(50)
    tasks = [asyncio.create_task(device.run(ready)) for device in devices]
    begun = time.monotonic()
    await until(lambda: all(device.acknowledged or device.gone for device in devices), 120)
    connected = time.monotonic() - begun
    await asyncio.sleep(5)
    out = devices[:: max(1, len(devices) // revoked)][:revoked]
    rest = [device for device in devices if device not in out]
    before = sum(device.acknowledged for device in rest)
    for device in rest:
        device.longest = 0.0
    begun, version, asked = time.monotonic(), 0, dict[str, float]()
    for device in out:
        device.revoked = True
        asked[device.name] = time.monotonic()
        version = (await asyncio.to_thread(hub.post, device_path(device.name, "revoke")))["broker_version"]
    called = time.monotonic() - begun
    await until(lambda: all(device.gone for device in out), 60)
    in_force = await asyncio.to_thread(hub.in_force, version, 30)
    told = time.monotonic() - begun
    came_back = {device.name: device.came_back for device in out}
    await asyncio.sleep(QUIET_SECONDS)
    during = time.monotonic() - begun
    waits = sorted(device.gone - asked[device.name] for device in out if device.gone)
    figures = {
        "connected, all, seconds": connected, "revoke calls, seconds": called, "out": len(waits),
        "all out after the first call, seconds": max((d.gone for d in out if d.gone), default=0) - begun,
        "out after its own call, median and longest, seconds": (waits[len(waits) // 2], waits[-1]) if waits else (),
        "reported in force": (in_force, told),
        "refused when they came back": sum(device.refused for device in out),
        "let in when they came back, in the end": sum(device.came_back - came_back[device.name] for device in out),
        "let in when they came back, before the list counted": sum(came_back.values()),
        "others disconnected": sum(bool(device.gone) for device in rest),
        "others' messages acknowledged a second": (sum(d.acknowledged for d in rest) - before) / during,
        "others' messages sent and not acknowledged": sum(d.sent - d.acknowledged for d in rest if not d.gone),
        "others' longest wait for an acknowledgement, seconds": max(device.longest for device in rest),
    }  # fmt: skip
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return figures


def main() -> None:
    """Run it once, and print the figures."""
    parser = argparse.ArgumentParser(prog="bench.revocation")
    for name, default in (("devices", 10_000), ("connected", 2_000), ("revoked", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    mosquitto._allow_connections()  # noqa: SLF001 - as the stack does
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as (made, hub):
        begun = time.monotonic()
        names = [f"board-{n:05d}" for n in range(given.devices)]
        fleet = [
            {"id": name, "credential": "none" if n < given.connected else "password"} for n, name in enumerate(names)
        ]
        hub.post("/api/devices/import", {"devices": fleet}, timeout=120)
        print(f"{given.devices:,} imported in {time.monotonic() - begun:.1f} s")
        begun = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            made_for = list(pool.map(lambda name: certify(hub, made, name), names[: given.connected]))
        print(f"{given.connected:,} certificates in {time.monotonic() - begun:.1f} s")
        port = made.ports["mqtt.certificates"]
        devices = [Device(name, port, context) for name, context in zip(names, made_for, strict=False)]
        for name, value in asyncio.run(run(hub, devices, given.revoked)).items():
            print(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")


if __name__ == "__main__":
    main()
