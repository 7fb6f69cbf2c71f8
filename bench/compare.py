"""Two checkouts side by side: what bridge, clean and archive cost a reading in each, alternated in one run.

    .venv/bin/python -m bench.compare OLD NEW --rounds 3

OLD and NEW are folders of checkouts, each with its own .venv. The stacks of both are started, on free ports and in
folders of their own; then the same load is put on one and the other in turn: readings over MQTT for the bridge
(bench/bridge.py), readings in Kafka for clean and archive (bench/processors.py). What else the machine does disturbs
both alike. A first round, which warms caches and code, is not counted. Prints each round, then medians and ratios.
Linux only.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import bridge, processors
from bench.measure import servers, services

NAMES = ("bridge", "clean", "archive")


class Checkout:
    """A checkout with a stack of its own, from `up` to `down`."""

    def __init__(self, root: Path, state: Path) -> None:
        self.root, self.state = root.resolve(), state

    def up(self) -> None:
        """Start its stack, and wait until it is ready."""
        self._headrace("up", "--detach", "--auto-ports")

    def down(self) -> None:
        """Stop its stack, if it runs."""
        self._headrace("down")

    def costs(self, messages: int, readings: int) -> tuple[float, ...]:
        """CPU microseconds a reading of bridge, clean and archive."""
        it = services(self.state)["bridge"]
        mqtt = servers(self.state).mqtt
        _, cost = asyncio.run(bridge.measure_bridge(mqtt, it, messages))
        return cost, *processors.measure(self.state, readings)

    def _headrace(self, *args: str) -> None:
        command = [str(self.root / ".venv/bin/python"), "-m", "headrace", "--state", str(self.state), *args]
        env = {**os.environ, "PYTHONPATH": str(self.root)}
        subprocess.run(command, cwd=self.root, env=env, stdout=subprocess.DEVNULL, check=True)


def report(old: Sequence[tuple[float, ...]], new: Sequence[tuple[float, ...]]) -> str:
    """The medians of both and their ratios, a line for each service."""
    lines = [f"{'':8} {'OLD':>8} {'NEW':>8}  NEW/OLD   (us of CPU a reading; medians of {len(old)} rounds)"]
    for name, a, b in zip(NAMES, zip(*old, strict=True), zip(*new, strict=True), strict=True):
        one, two = statistics.median(a), statistics.median(b)
        lines.append(f"{name:8} {one:8.2f} {two:8.2f}  {two / one:7.3f}")
    return "\n".join(lines)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="folder of the checkout to compare with")
    parser.add_argument("new", type=Path, help="folder of the checkout to judge")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=30_000, help="over MQTT, in each round")
    parser.add_argument("--readings", type=int, default=300_000, help="in Kafka, in each round")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        both = {"OLD": Checkout(args.old, Path(folder) / "old"), "NEW": Checkout(args.new, Path(folder) / "new")}
        found: dict[str, list[tuple[float, ...]]] = {"OLD": [], "NEW": []}
        try:
            for it in both.values():
                it.up()
            for number in range(args.rounds + 1):
                for name, it in both.items():
                    costs = it.costs(args.messages, args.readings)
                    words = "  ".join(f"{n} {c:.2f}" for n, c in zip(NAMES, costs, strict=True))
                    print(f"{'warm-up' if number == 0 else f'round {number}'}  {name}  {words}", flush=True)
                    if number:
                        found[name].append(costs)
        finally:
            for it in both.values():
                it.down()
    print(report(found["OLD"], found["NEW"]))


if __name__ == "__main__":
    main()
