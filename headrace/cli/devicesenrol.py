"""`headrace devices`: tokens, claims and approval for devices that ask for certificates themselves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

import typer

from headrace import textfile
from headrace.cli import context
from headrace.cli.output import data, printable, say, show
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.hub.client import Hub

claims = typer.Typer(help="Claims: a certificate for a batch of devices, with which each asks for one of its own.")

_Expires = Annotated[
    str, typer.Option(help="For how long it may be used first: 30d, 12h.", metavar="TIME", show_default=True)
]
_Serial = Annotated[
    str | None,
    typer.Option(help="The device's serial number, which it then has to send.", show_default=False),
]
_Device = Annotated[str, typer.Argument(metavar="ID", help="The device.", show_default=False)]
_Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
_Devices = Annotated[list[str], typer.Argument(metavar="ID...", help="The devices.", show_default=False)]
_HOURS = {"d": 24.0, "h": 1.0}


def enrol_token(device: _Device, serial: _Serial = None, expires: _Expires = "30d", json: _Json = False) -> None:
    """Make a one-time token, with which a device that was added asks for a certificate. An earlier one ends."""
    print_token(device, _token(_hub(), device, serial, expires), expires, json=json)


def qr(
    device: _Device,
    out: Annotated[Path, typer.Option(help="New file for the picture (PNG).", show_default=False)],
    url: Annotated[
        str, typer.Option(help="Where the device reaches hub. [hub.url of the configuration]", show_default=False)
    ] = "",
    serial: _Serial = None,
    expires: _Expires = "30d",
) -> None:
    """Draw a QR code with a new one-time token: where hub is, the device's id, and the token. An earlier one ends."""
    import segno

    if out.suffix.lower() != ".png":
        raise ConfigError(f"{out}: name a file that ends in .png")
    with textfile.new(out) as file:
        try:
            token = _token(_hub(), device, serial, expires)
        except BaseException:
            out.unlink()
            raise
        text = claim_url(url or context.config().hub.url, device, token)
        segno.make(text, error="m", micro=False).save(file, kind="png", scale=8)
    say(f"{out}: whoever reads it can enrol as {printable(device)}, once, within {expires}")


def claim_url(url: str, device: str, token: str) -> str:
    """What the QR code says. The token comes after `#`, which a browser that opens it sends to nobody."""
    return f"{url.rstrip('/')}/api/enroll#{urlencode({'id': device, 'token': token})}"


def approve(devices: _Devices) -> None:
    """Let in devices that are pending: each gets its certificate the next time that it asks."""
    _each(devices, "approve", "is let in")


def reject(devices: _Devices) -> None:
    """Shut out devices that are pending: what they have asked for is forgotten, and their tokens end."""
    _each(devices, "reject", "is shut out")


@claims.command("add")
def add_claim(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group of the devices.", show_default=False)],
    out: Annotated[Path, typer.Option(help="New folder for its certificate and key.", show_default=False)],
    days: Annotated[float, typer.Option(min=0.01, max=3650, help="For how long it is good.")] = 365.0,
    at_once: Annotated[bool, typer.Option("--at-once", help="Let the devices in without approval.")] = False,
) -> None:
    """Make a claim for the devices of a group: claim.pem and claim.key, to be put on all of them.

    The key is made here, and hub never has it.
    """
    from headrace.identity import proofs

    hub, pair = _hub(), proofs.claim(group, days)
    try:
        out.mkdir(mode=0o700, parents=True)
    except OSError as e:
        raise ConfigError(f"{out}: {e.strerror}. Name a new folder with --out") from None
    for name, text in (("claim.pem", pair.cert), ("claim.key", pair.key)):
        with textfile.new(out / name) as file:
            file.write(text.encode())
    hub.post("/api/claims", {"name": group, "certificate": pair.cert, "at_once": at_once})
    then = "they get in at once" if at_once else "each then waits for `headrace devices approve`"
    say(f"{out}: claim.pem and claim.key, for devices of the group {printable(group)} that are pending; {then}")


@claims.command("list")
def list_claims() -> None:
    """List the claims that were made."""
    from rich.table import Table

    found = _hub().get("/api/claims")["claims"]
    if not found:
        say("no claims; `headrace devices claims add GROUP` makes one")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("group", "until", "at once", "revoked"):
        table.add_column(name, no_wrap=True)
    for c in found:
        table.add_row(printable(c["name"]), c["ends"][:10], "yes" if c["at_once"] else "", (c["revoked"] or "")[:10])
    show(table)


@claims.command("revoke")
def revoke_claim(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="Its group.", show_default=False)],
) -> None:
    """End a claim, at once. Certificates that it has brought stay good."""
    from urllib.parse import quote

    _hub().post(f"/api/claims/{quote(group, safe='')}/revoke")
    say(f"the claim of {printable(group)} has ended")


def print_token(device: str, token: str, expires: str, *, json: bool) -> None:
    """A token, alone on standard output, or as JSON."""
    import orjson

    data(orjson.dumps({"id": device, "token": token}).decode() if json else token)
    where = context.config().hub.url
    say(f"{printable(device)} can use it once, within {expires}, at {where}. It can't be shown again.")


def days_of(text: str) -> float:
    """Days that a text such as 30d or 12h means. ConfigError for another one."""
    try:
        return float(text[:-1]) * _HOURS[text[-1:]] / 24
    except (ValueError, KeyError):
        raise ConfigError(f"--expires {text}: give days or hours, such as 30d or 12h") from None


def _hub() -> "Hub":
    from headrace.hub.client import Hub

    return Hub(context.config().hub)


def _token(hub: "Hub", device: str, serial: str | None, expires: str) -> str:
    from headrace.hub.client import device_path

    wanted = {"days": days_of(expires), **({} if serial is None else {"serial": serial})}
    return str(hub.post(device_path(device, "enrolment"), wanted)["token"])


def _each(devices: list[str], act: str, done: str) -> None:
    from headrace.hub.client import device_path

    hub = _hub()
    for device in devices:
        hub.post(device_path(device, act))
        say(f"{printable(device)} {done}")
