"""`headrace selftest`: one reading from a device to its row."""

import time
from typing import Annotated

import typer

from headrace.cli import context
from headrace.cli.output import data, say
from headrace.errors import ConfigError


def selftest(
    stream: Annotated[str, typer.Argument(metavar="[STREAM]", help="By default the first.", show_default=False)] = "",
    wait: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Wait for the row, at most this long.")] = 120,
    payload: Annotated[
        str,
        typer.Option(metavar="JSON", help="Send this instead of a reading made from the contract.", show_default=False),
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that an installation works: send one reading over MQTT, and look for its row in the lake.

    The reading is a real one, of a device called selftest-..., with the required fields of the contract and no others.
    Exit code 1 when no row comes in time.
    """
    from headrace.operate.selftest import message, run

    cfg = context.config()
    name = stream or next(iter(sorted(cfg.streams)), "")
    if not name:
        raise ConfigError("the configuration has no stream. Add one under `streams`")
    sent = message(cfg, name, payload)
    say(f"sending to {sent.topic}: {sent.payload.decode()}")
    begin = time.monotonic()
    row = run(cfg, sent, wait, say)
    seconds = time.monotonic() - begin
    if json:
        import orjson

        found = {"stream": name, "device_id": sent.device, **row._asdict(), "seconds": round(seconds, 3)}
        data(orjson.dumps(found).decode())
    else:
        say(
            f"the row is in the lake after {seconds:.1f} s: {row.topic}, partition {row.partition}, offset {row.offset}"
        )
