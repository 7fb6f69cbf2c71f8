"""The packages of formats that not every installation needs."""

from importlib import import_module
from types import ModuleType

from headrace.errors import ConfigError


def package(name: str, what: str) -> ModuleType:
    """The package that reads `what`. ConfigError where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        raise ConfigError(
            f"{what}: the package that reads it is not installed: pip install 'headrace[files]'"
        ) from None
