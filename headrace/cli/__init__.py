"""The command line. One file for each command; `headrace.cli.group` lists them."""

import gc
import os
import sys

_GARBAGE = 50_000  # objects between two searches for garbage: importing makes many, and none of it


def main() -> None:
    """The console script. A short command costs little more than its imports, so those are kept few."""
    if sys.argv[1:] == ["--version"]:
        from headrace import __version__

        print(f"headrace {__version__}")
        return
    gc.set_threshold(_GARBAGE, 10, 10)
    # pydantic looks through all installed packages for plugins of its own. Whoever has one sets the variable.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from headrace.cli import app

    app.main()
