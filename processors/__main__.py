"""`python -m processors clean|derive|archive|compact|copy --config FILE`."""

import importlib
import os
import sys

from headrace.config.check import Service
from headrace.runtime.service import run_service
from processors import memory

SERVICES = {
    Service.CLEAN: "processors.clean.service",
    Service.DERIVE: "processors.derive.service",
    Service.ARCHIVE: "processors.archive.service",
    Service.COMPACT: "processors.compact.service",
    Service.COPY: "processors.copy.service",
}


def main(argv: list[str]) -> int:
    """Run the service that the first argument names; returns its exit code."""
    os.environ.setdefault("RUST_BACKTRACE", "0")  # the columnar reader tells of bytes it can't take: a line is enough
    name = argv[0] if argv else ""
    if name not in SERVICES:
        print(f"usage: python -m processors {'|'.join(SERVICES)} --config FILE", file=sys.stderr)
        return 2
    service = Service(name)
    if service in {Service.ARCHIVE, Service.CLEAN}:
        memory.settle()
    return run_service(name, importlib.import_module(SERVICES[service]).run, argv[1:], reads=service)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
