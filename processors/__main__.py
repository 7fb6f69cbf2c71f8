"""`python -m processors clean` and `python -m processors archive`."""

import sys

from headrace.config import Config
from headrace.service import run_service


def main() -> int:
    """Run the processor that the first argument names. Returns the exit code."""
    import threading

    def clean(config: Config, stop: threading.Event) -> None:
        from processors.clean.service import run

        run(config, stop)

    def archive(config: Config, stop: threading.Event) -> None:
        from processors.archive.service import run

        run(config, stop)

    services = {"clean": clean, "archive": archive}
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in services:
        print(f"usage: python -m processors {'|'.join(services)} [--config FILE]", file=sys.stderr)
        return 2
    return run_service(name, services[name], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
