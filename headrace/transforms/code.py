"""The text of a transform: from a file, or from an installed module. Its digest is its version."""

import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from headrace import textfile
from headrace.errors import ConfigError
from headrace.protocol.names import ENTRY_POINT
from headrace.protocol.versions import SHOWN_DIGITS, digest_of

if TYPE_CHECKING:
    import pandas as pd

Function = Callable[["pd.DataFrame"], "pd.DataFrame"]
FUNCTION = "transform"
MAX_BYTES = 256 * 1024
_SHAPE = "def transform(df: pandas.DataFrame) -> pandas.DataFrame"


@dataclass(frozen=True)
class Code:
    """Python text that defines `transform`. `where` names it for people: the file, or the entry point."""

    text: str
    where: str

    @property
    def digest(self) -> str:
        """By which its version is known."""
        return digest_of(self.text)

    @property
    def name(self) -> str:
        """For messages: `imu.py, version 3f2a9c01`."""
        return f"{Path(self.where).name}, version {self.digest[:SHOWN_DIGITS]}"


def read(setting: Path | str) -> Code:
    """The code that a configuration names: a file, or `package.module:function`. ConfigError if it can't be read."""
    found = re.fullmatch(ENTRY_POINT, str(setting))
    if found is None:
        path = Path(setting)
        return Code(textfile.read(path, "a transform", MAX_BYTES, f"Write it: {_SHAPE}"), str(path))
    module, function = found.groups()
    try:
        spec = importlib.util.find_spec(module)
    except ImportError as e:
        raise ConfigError(f"{setting}: {e}. Install the package where the service runs") from None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ConfigError(f"{setting}: no Python module {module} is installed. Install the package, or name a file")
    text = textfile.read(Path(spec.origin), "a transform", MAX_BYTES)
    return Code(text if function == FUNCTION else f"{text}\n\n{FUNCTION} = {function}\n", str(setting))


def load(code: Code) -> Function:
    """The function that the text defines. ConfigError, with the line, if it does not run or defines none."""
    module = ModuleType(f"headrace_transform_{code.digest}")
    module.__file__ = code.where
    sys.modules[module.__name__] = module  # as an import does: dataclasses look their module up
    try:
        exec(compile(code.text, code.where, "exec"), module.__dict__)  # noqa: S102 - the operator's own code
    except SyntaxError as e:
        raise ConfigError(f"{code.where}, line {e.lineno}: not Python: {e.msg}") from None
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as e:  # noqa: BLE001 - whatever the text raises; a panic of Rust is no Exception
        raise ConfigError(f"{code.where} can't be loaded: {last_line(e, code)}{_import_hint(e)}") from None
    function = getattr(module, FUNCTION, None)
    if not callable(function):
        raise ConfigError(f"{code.where}: it defines no function `{FUNCTION}`. Write {_SHAPE}")
    return function  # type: ignore[no-any-return]


def last_line(error: BaseException, code: Code) -> str:
    """The last line of the error's traceback, with the line of the code that it came from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == code.where]
    text = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    return f"{text} (line {lines[-1]})" if lines else text


def _import_hint(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return ". Install that package where the service runs: a transform is one file, and files beside it are not"
    return ". Import from the package by its full name" if isinstance(error, ImportError) else ""
