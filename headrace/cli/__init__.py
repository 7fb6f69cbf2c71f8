"""The command line. One file for each command; `headrace.cli.group` lists them."""

from headrace.cli.app import main

__all__ = ["main"]
