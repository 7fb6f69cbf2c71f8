"""`python -m processors clean|archive --config FILE`."""

import os
import sys

from headrace.service import run_service


def main(argv: list[str]) -> int:
    """Run the service that the first argument names; returns its exit code."""
    os.environ.setdefault("RUST_BACKTRACE", "0")  # the columnar reader tells of bytes it can't take: a line is enough
    name = argv[0] if argv else ""
    if name == "clean":
        from processors.clean.service import run
    elif name == "archive":
        from processors.archive.service import run
    else:
        print("usage: python -m processors clean|archive --config FILE", file=sys.stderr)
        return 2
    return run_service(name, run, argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
