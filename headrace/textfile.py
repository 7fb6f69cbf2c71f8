"""Text files: those that a person has written are read, those of ours are replaced as a whole."""

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from headrace.errors import ConfigError


def read(path: Path, what: str, max_bytes: int, hint: str = "", *, keep_mark: bool = False) -> str:
    """The text of a UTF-8 file, without its byte order mark unless `keep_mark`. ConfigError when the file is missing
    (ending with `hint`), can't be read, or is larger than `max_bytes`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file{f'. {hint}' if hint else ''}") from None
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from None
    if len(data) > max_bytes:
        raise ConfigError(f"{path}: too large for {what}")
    try:
        return data.decode("utf-8" if keep_mark else "utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(
            f"{path}: not UTF-8 text, as {what} must be. Save it as UTF-8; a spreadsheet, as CSV UTF-8"
        ) from None


def new(path: Path) -> BinaryIO:
    """A file that was not there before, mode 0600, to be written. ConfigError when it can't be made."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}. Name a new file") from None


def fresh(target: Path, text: str) -> Path:
    """A new file beside `target` with this text, mode 0600: move it there, and readers find the old text or the new."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # made with mode 0600
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
    return Path(name)
