"""Run in an image's environment: what no service uses is removed, and the rest compiled to byte code.

Wheels bring their tests, headers and sources of compiled modules along. Licences and notices stay.
"""

import compileall
import py_compile
import shutil
import sys
import sysconfig
from pathlib import Path

PACKAGES = Path(sysconfig.get_path("purelib"))
FOLDERS = (
    "*/tests",
    "*/test",
    "numpy/**/tests",
    "Crypto/SelfTest",
    "pyarrow/include",
    "pyarrow/src",
    "numpy/_core/include",
    "numpy/f2py",
)
SUFFIXES = (".pyx", ".pxd", ".pyi", ".c", ".h", ".hpp", ".cc", ".a")


def main() -> int:
    """Returns the exit code."""
    for pattern in FOLDERS:
        for folder in PACKAGES.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)
    for file in PACKAGES.rglob("*"):
        if file.is_file() and file.suffix in SUFFIXES:
            file.unlink()
    good = compileall.compile_dir(
        PACKAGES, quiet=1, workers=0, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
