"""Reading a text file that a person has written."""

from pathlib import Path

from headrace.errors import ConfigError


def read(path: Path, what: str, max_bytes: int, hint: str = "") -> str:
    """The text of a file in UTF-8, without a byte order mark.

    ConfigError when there is none (with `hint`, what to do), when it can't be read, or is larger than `what` may be.
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
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text, as {what} must be") from None
