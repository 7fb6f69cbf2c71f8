"""The one configuration that every service and tool reads."""

from headrace.config.load import load
from headrace.config.model import Config

__all__ = ["Config", "load"]
