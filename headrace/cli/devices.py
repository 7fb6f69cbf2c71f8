"""`headrace devices`: who may publish."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context, devicescerts
from headrace.cli.devicesenrol import approve, claims, enrol_token, print_token, qr, reject
from headrace.cli.devicesimport import import_
from headrace.cli.output import data, printable, say, show
from headrace.errors import ConfigError, HeadraceError

if TYPE_CHECKING:
    from headrace.hub.client import Hub

app = typer.Typer(
    help="Devices and gateways: each logs in with a password, certificate or key of its own, and publishes as itself."
)
app.command("import")(import_)
for _each in (enrol_token, approve, reject, qr):
    app.command()(_each)
app.add_typer(claims, name="claims")

_PAGE = 1000
_WAIT_SECONDS = 10.0  # for the broker to have a new password
_Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
_Device = Annotated[str, typer.Argument(metavar="ID", help="The device.", show_default=False)]


@app.command()
def add(  # noqa: PLR0913, PLR0917 - each is an option of the command
    device: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="1 to 64 of A-Z, a-z, 0-9, _ and -: also its MQTT user name.", show_default=False
        ),
    ],
    gateway: Annotated[bool, typer.Option("--gateway", help="It publishes for other devices.")] = False,
    model: Annotated[str, typer.Option(help="What it is.", show_default=False)] = "",
    serial: Annotated[str, typer.Option(help="Its serial number.", show_default=False)] = "",
    firmware: Annotated[str, typer.Option(help="Its firmware's version.", show_default=False)] = "",
    owner: Annotated[str, typer.Option(help="Whose it is.", show_default=False)] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag. May be repeated.", show_default=False)] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group. May be repeated.", show_default=False)] = None,
    token: Annotated[
        bool, typer.Option("--token", help="No password: a one-time token, with which it asks for a certificate.")
    ] = False,
    pending: Annotated[bool, typer.Option("--pending", help="It does not get in before it is approved.")] = False,
    certificate: devicescerts.Folder = None,
    psk: devicescerts.Psk = False,
    json: _Json = False,
) -> None:
    """Add a device, and print the command that publishes a reading as it.

    The password in it, or the token, is shown once: hub keeps only its hash.
    """
    if (token or pending) and (certificate or psk):
        raise ConfigError("--certificate and --psk let the device in at once: leave out --token and --pending")
    devicescerts.check(device, certificate, psk=psk, new=True)
    credential = "token" if token else "psk" if psk else "none" if certificate else "password"
    wanted = {
        "id": device, "kind": "gateway" if gateway else "device", "model": model, "serial": serial,
        "firmware": firmware, "owner": owner, "tags": tag or [], "groups": group or [],
        "credential": credential, "state": "pending" if pending else "active",
    }  # fmt: skip
    hub = _hub()
    made = hub.post("/api/devices", wanted)
    if token:
        print_token(device, made["token"], "30d", json=json)
    elif psk:
        devicescerts.key(hub, device, made, json=json)
    elif certificate:
        devicescerts.certificate(hub, device, certificate, new=True, json=json)
    else:
        _print_password(hub, device, made, json=json)


@app.command("list")
def list_(
    text: Annotated[
        str, typer.Argument(metavar="[TEXT]", help="Words in id, serial, model, owner, attributes.", show_default=False)
    ] = "",
    tag: Annotated[str, typer.Option(help="Only those with this tag.", show_default=False)] = "",
    group: Annotated[str, typer.Option(help="Only those in this group.", show_default=False)] = "",
    state: Annotated[
        str, typer.Option(help="Only those that are active, pending, quarantined or revoked.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="Show at most this many; 0 is all.")] = 100,
    json: _Json = False,
) -> None:
    """List devices and gateways, by id."""
    hub, found, after, total = _hub(), list[dict[str, Any]](), "", 0
    while True:
        most = min(_PAGE, limit - len(found)) if limit else _PAGE
        query = {"text": text, "tag": tag, "group": group, "state": state, "after": after, "limit": most}
        page = hub.get("/api/devices", query)
        found += page["devices"]
        total = total or page["count"] or 0
        after = page["next"]
        if not after or (limit and len(found) >= limit):
            break
    if json:
        import orjson

        data(orjson.dumps({"devices": found, "count": total}).decode())
        return
    if not found:
        say("no such device" if text or tag or group or state else "no devices yet; `headrace devices add ID` adds one")
        return
    _table(found)
    if len(found) < total:
        say(f"the first {len(found):,} of {total:,}; --limit 0 shows all")


@app.command("show")
def show_(device: _Device) -> None:
    """All that is known of a device, as JSON."""
    import orjson

    from headrace.hub.client import device_path

    data(orjson.dumps(_hub().get(device_path(device)), option=orjson.OPT_INDENT_2).decode())


@app.command()
def rotate(
    device: _Device, certificate: devicescerts.Folder = None, psk: devicescerts.Psk = False, json: _Json = False
) -> None:
    """Make a new password for a device, or a certificate or key.

    The old password or key ends within seconds, and the connection with it. Of certificates two are good at a time.
    """
    from headrace.hub.client import device_path

    devicescerts.check(device, certificate, psk=psk, new=False)
    hub = _hub()
    if certificate:
        devicescerts.certificate(hub, device, certificate, new=False, json=json)
    elif psk:
        devicescerts.key(hub, device, hub.post(device_path(device, "psk")), json=json)
    else:
        _print_password(hub, device, hub.post(device_path(device, "rotate")), json=json)


@app.command()
def activate(device: _Device) -> None:
    """Let a device in again that is quarantined or revoked."""
    from headrace.hub.client import device_path

    hub = _hub()
    hub.patch(device_path(device), {"state": "active"})
    if not hub.in_force(hub.get("/api/broker/version")["version"], _WAIT_SECONDS):
        raise HeadraceError(
            f"{device} is active, but the broker does not know it yet: is the agent beside the broker running?"
        )
    say(f"{device} gets in")


@app.command()
def revoke(
    device: _Device,
    credential: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", help="End this one alone, by its number in `devices show`, and leave the others.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:  # fmt: skip
    """Shut a device out: its credentials end, and its connection. Its readings stay."""
    from headrace.hub.client import device_path

    what = printable(device) if credential is None else f"credential {credential} of {printable(device)}"
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"{what} would be shut out. Add --yes to do it")
        typer.confirm(f"Shut out {what}?", abort=True, err=True)
    hub = _hub()
    one = [] if credential is None else ["credentials", str(credential)]
    version = hub.post(device_path(device, *one, "revoke"))["broker_version"]
    if not hub.in_force(version, _WAIT_SECONDS):
        raise HeadraceError(
            f"{what} is revoked, but the broker does not know it yet: is the agent beside the broker running?"
        )
    say(f"{what} is shut out")


def _hub() -> "Hub":
    from headrace.hub.client import Hub

    return Hub(context.config().hub)


def _print_password(hub: "Hub", device: str, made: dict[str, Any], *, json: bool) -> None:
    """The command that publishes as the device, or JSON; waits until the broker takes the password."""
    from headrace.stack import show as shown

    there = hub.in_force(made["broker_version"], _WAIT_SECONDS)
    line = shown.publish_as(context.config(), device, made["password"])
    if json:
        import orjson

        data(orjson.dumps({"id": device, "password": made["password"], "in_force": there, "command": line}).decode())
    else:
        data(line)
        say("The password can't be shown again; `headrace devices rotate` makes another.")
    if not there:
        say("The broker does not know it yet: is the agent beside the broker running?")


def _table(found: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "kind", "state", "last seen", "serial", "model", "tags"):
        table.add_column(name, no_wrap=True)
    for d in found:
        seen = (d["last_seen"] or "never")[:19].replace("T", " ")
        state = d["state"] + (f" ({d['quarantine']['rule']})" if d["quarantine"] else "")
        cells = (d["id"], d["kind"], state, seen, d["serial"], d["model"], " ".join(d["tags"]))
        table.add_row(*(printable(v) for v in cells))
    show(table)
