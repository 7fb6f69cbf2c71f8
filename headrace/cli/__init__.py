"""The command line. One file a command; `headrace.cli.app` says which there are."""

from headrace.cli.app import main

__all__ = ["main"]
