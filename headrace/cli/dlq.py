"""`headrace dlq`: dead letters. A file for each of its commands."""

import typer

from headrace.cli.dlqarchive import archive
from headrace.cli.dlqdrop import drop
from headrace.cli.dlqexport import export
from headrace.cli.dlqlist import list_
from headrace.cli.dlqredrive import redrive
from headrace.cli.dlqshow import show

app = typer.Typer(
    help="Dead letters: bytes that could not become a reading, and why. They are kept whole, with their source. "
    "When the contract or the configuration is corrected, they can be redriven: sent again."
)
app.command("list")(list_)
app.command("show")(show)
app.command("redrive")(redrive)
app.command("export")(export)
app.command("drop")(drop)
app.command("archive")(archive)
