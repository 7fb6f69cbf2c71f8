"""`headrace provision`: make what the services of an installation expect to find."""

import typer

from headrace.cli import context


def provision() -> None:
    """Create topics and bucket and register contracts, where they are missing. May be run again at any time."""
    from headrace import provision as steps

    config = context.config()
    made = steps.topics(config)
    typer.echo(f"topics: {', '.join(made) + ' created' if made else 'all there'}", err=True)
    ids = steps.contracts(config)
    typer.echo(f"contracts: {', '.join(f'{stream} has schema id {n}' for stream, n in ids.items())}", err=True)
    steps.bucket(config)
    typer.echo(f"bucket: {config.store.bucket}", err=True)
