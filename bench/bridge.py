"""What the bridge's process costs a message, and what aiomqtt's message iterator costs on the same broker.

    .venv/bin/python -m headrace --state DIR up --detach --auto-ports
    .venv/bin/python -m bench.bridge DIR --messages 100000

A raw publisher, written on the mqtt5 codec so that it is not what limits, sends IMU readings of QoS 1 with up to 1,000
in flight. Measured: messages a second from the first PUBLISH until Kafka has acknowledged the last reading, and CPU
time of the bridge's process, idle costs included. Then aiomqtt reads as many (a fifth) with nothing done to
them, in this process, CPU time again. Linux only.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiomqtt

from bench.load import Message, flood
from bench.measure import Service, servers, services
from bench.workloads import WORKLOADS
from headrace.config.connect import Mqtt


def readings(topic: str) -> Callable[[int], Message]:
    """IMU readings as a device sends them, about 150 bytes, to a topic."""
    make = WORKLOADS["imu"].make
    return lambda i: (topic, make(i, time.time_ns() // 1000 + i))


async def measure_bridge(mqtt: Mqtt, it: Service, count: int) -> tuple[float, float]:
    """(messages a second, CPU microseconds a message)."""

    def delivered() -> float:
        return it.total("headrace_bridge_messages_total", stream="imu")

    before, cpu, began = delivered(), it.cpu_seconds(), time.perf_counter()
    publishing = asyncio.create_task(flood(mqtt, readings(f"sensors/bench-{int(time.time())}/imu"), count))
    while await asyncio.to_thread(delivered) - before < count:
        if publishing.done():
            publishing.result()
        await asyncio.sleep(0.1)
    took = time.perf_counter() - began
    await publishing
    return count / took, (it.cpu_seconds() - cpu) / count * 1e6


async def read_with_aiomqtt(mqtt: Mqtt, count: int, ready: asyncio.Event) -> float:
    """CPU microseconds a message of a loop over aiomqtt's messages that does nothing."""
    password = mqtt.password.get_secret_value() if mqtt.password else None
    async with aiomqtt.Client(
        mqtt.host, mqtt.port, username=mqtt.username, password=password, protocol=aiomqtt.ProtocolVersion.V5
    ) as client:
        await client.subscribe("bench/+/imu", qos=1)
        ready.set()
        cpu, seen = time.process_time(), 0
        async for _ in client.messages:
            seen += 1
            if seen == count:
                break
        return (time.process_time() - cpu) / count * 1e6


async def measure_aiomqtt(mqtt: Mqtt, state: Path, count: int) -> float:
    """`read_with_aiomqtt`, while another process publishes."""
    ready = asyncio.Event()
    reading = asyncio.create_task(read_with_aiomqtt(mqtt, count, ready))
    await ready.wait()
    args = ["-m", "bench.bridge", str(state), "--messages", str(count), "--only-publish"]
    publisher = await asyncio.create_subprocess_exec(sys.executable, *args)
    cost = await reading
    await publisher.wait()
    return cost


async def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=Path, help="folder of a running stack")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--only-publish", action="store_true", help="send to a topic that only aiomqtt reads")
    args = parser.parse_args()
    mqtt = servers(args.state).mqtt
    if args.only_publish:
        await flood(mqtt, readings("bench/x/imu"), args.messages)
        return
    it = services(args.state)["bridge"]
    rate, cost = await measure_bridge(mqtt, it, args.messages)
    print(f"bridge, MQTT to Kafka: {rate:,.0f} messages/s, {cost:.1f} us of CPU a message")
    few = args.messages // 5
    print(f"aiomqtt, reading only: {await measure_aiomqtt(mqtt, args.state, few):.1f} us of CPU a message")


if __name__ == "__main__":
    asyncio.run(main())
