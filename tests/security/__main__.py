"""`make security-test`: the tests of each clause of clauses.py. What is given on the command line goes to pytest."""

import subprocess
import sys

from tests.security.clauses import marked
from tests.stack import ROOT


def main(args: list[str]) -> int:
    """Returns pytest's exit code."""
    files = dict.fromkeys(file for cases in marked().values() for file, _ in cases)
    argv = [sys.executable, "-m", "pytest", "-p", "tests.security.clauses", "-m", "", "-rs", *files, *args]
    return subprocess.run(argv, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
