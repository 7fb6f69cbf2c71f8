"""Several processes measured as one: python -m bench.several CONFIG... -- COMMAND...

Starts the command once for each configuration, which is its last argument, and ends all when it is told to end.
"""

import signal
import subprocess
import sys
from types import FrameType


def main() -> int:
    """Run them. The worst of their exit codes."""
    place = sys.argv.index("--")
    configs, command = sys.argv[1:place], sys.argv[place + 1 :]
    them = [subprocess.Popen([*command, config]) for config in configs]

    def end(_signal: int, _frame: FrameType | None) -> None:
        for it in them:
            it.terminate()

    signal.signal(signal.SIGTERM, end)
    return max(it.wait() for it in them)


if __name__ == "__main__":
    sys.exit(main())
