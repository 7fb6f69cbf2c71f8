"""CPU seconds of commands, run in turn: `python bench/cpu.py RUNS COMMAND...`. One run before is not counted."""

import os
import subprocess
import sys


def main(runs: int, commands: list[str]) -> None:
    """Print the least and the median of each command, its children included."""
    seconds: dict[str, list[float]] = {command: [] for command in commands}
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # as a user has it
    for number in range(runs + 1):
        for command in commands:
            process = subprocess.Popen(["sh", "-c", command], stdout=subprocess.DEVNULL, env=env)
            _, _, used = os.wait4(process.pid, 0)
            if number:
                seconds[command].append(used.ru_utime + used.ru_stime)
    for command, found in seconds.items():
        print(f"least {min(found):.3f} s, median {sorted(found)[len(found) // 2]:.3f} s  {command}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
