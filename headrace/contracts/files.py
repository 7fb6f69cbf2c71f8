"""Where contracts are found: the user's folders first, then those that ship with Headrace."""

from collections.abc import Sequence
from pathlib import Path

from headrace import textfile
from headrace.contracts.model import MAX_TEXT, Contract, parse
from headrace.errors import ConfigError
from headrace.protocol.names import check_stream

SUFFIX = ".avsc"


def shipped() -> Path:
    """The folder of the contracts that ship: package data in a wheel, beside the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "schemas"
    return inside if inside.is_dir() else package.parent / "schemas"


def available(folders: Sequence[Path] = ()) -> dict[str, Path]:
    """Every contract's file, by the contract's name. The first folder that has a name wins; the shipped ones come last.

    ConfigError for a folder that does not exist, or a file name that can't name a contract.
    """
    found: dict[str, Path] = {}
    for folder in (*folders, shipped()):
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder. Correct `contracts` in the configuration")
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            try:
                found.setdefault(check_stream(path.name.removesuffix(SUFFIX)), path)
            except ValueError as e:
                raise ConfigError(f"{path}: {e}. Rename the file") from None
    return dict(sorted(found.items()))


def find(name: str, folders: Sequence[Path] = ()) -> Contract:
    """The contract called `name`; ConfigError, with the names that exist, when there is none."""
    known = available(folders)
    if name not in known:
        places = ", ".join(str(f) for f in (*folders, shipped()))
        raise ConfigError(
            f"no contract {name!r} in {places}. There are: {', '.join(known) or 'none'}. "
            f"Write {name}{SUFFIX}, or make it from a sample with `headrace contracts new`"
        )
    return read(known[name])


def read(path: Path) -> Contract:
    """The contract in the file `path`, named as the file; ConfigError when it can't be read or is wrong."""
    text = textfile.read(path, "a contract", 4 * MAX_TEXT)
    return parse(path.name.removesuffix(SUFFIX), text, str(path))
