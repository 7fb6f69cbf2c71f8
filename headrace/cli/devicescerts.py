"""`headrace devices add|rotate --certificate|--psk`: files for a device, and the command that publishes as it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace import textfile
from headrace.cli import context
from headrace.cli.output import data, say
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.hub.client import Hub

WAIT_SECONDS = 10.0  # for the broker to have what is new
Folder = Annotated[
    Path | None,
    typer.Option(
        "--certificate", metavar="DIR",
        help="A certificate. Its key is made here, and nobody else gets it; key, certificate and the broker's "
        "authority are written to DIR.",
        show_default=False,
    ),
]  # fmt: skip
Psk = Annotated[
    bool, typer.Option("--psk", help="A key (PSK), for microcontrollers that can't check certificates. Hub keeps it.")
]


def check(device: str, folder: Path | None, *, psk: bool, new: bool) -> None:
    """ConfigError where the broker has no listener for it, or, with `new`, where a file would be overwritten."""
    devices = context.config().mqtt.devices
    for wanted, where, what in (
        (folder is not None, "certificates", "certificates"), (psk, "psk", "keys (PSK)"),
    ):  # fmt: skip
        if wanted and not (devices and getattr(devices, where)):
            raise ConfigError(
                f"mqtt.devices.{where}: none is given. Give host:port of the broker's listener for {what}"
            )
    if folder is None:
        return
    if psk:
        raise ConfigError("--psk and --certificate: give one")
    for file in _files(folder, device)[:2] if new else ():
        if file.exists():
            raise ConfigError(f"{file} is there already. Name another folder, or use `headrace devices rotate`")


def certificate(hub: "Hub", device: str, folder: Path, *, new: bool, json: bool) -> None:
    """Ask for a certificate with a new key, write the files, and print the command that publishes as the device."""
    from headrace.hub.client import device_path
    from headrace.identity import csr
    from headrace.stack import show

    config = context.config()
    asked = csr.make(device)
    made = hub.post(device_path(device, "certificate"), {"csr": asked.csr})
    key, cert, ca = _files(folder, device)
    texts = {key: asked.key, cert: made["certificate"]}
    if config.mqtt.devices is not None and config.mqtt.devices.ca_file is not None:
        texts[ca] = textfile.read(config.mqtt.devices.ca_file, "a certificate", 1 << 20)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            textfile.fresh(file, text).replace(file)  # mode 0600
    except OSError as e:
        raise ConfigError(
            f"{e.filename or folder}: {e.strerror}. The certificate is lost: ask again with `rotate`"
        ) from None
    line = show.publish_certified(config, device, key, cert, ca if ca in texts else None)
    files = {"key": str(key), "certificate": str(cert), "serial": made["serial"], "ends": made["ends"]}
    _tell(hub, device, made["broker_version"], line, files, json=json)
    if not json:
        say(f"{cert} ends on {made['ends'][:10]}; `headrace devices rotate {device} --certificate {folder}` renews it.")
        if not new:
            say("Of the certificates that it had before one stays good beside it; `headrace devices show` lists them.")


def key(hub: "Hub", device: str, made: dict[str, Any], *, json: bool) -> None:
    """Print the command that publishes as a device with this key (PSK)."""
    from headrace.stack import show

    line = show.publish_keyed(context.config(), device, made["psk"])
    _tell(hub, device, made["broker_version"], line, {"psk": made["psk"]}, json=json)
    if not json:
        say("The key can't be shown again; `headrace devices rotate --psk` makes another.")


def _tell(hub: "Hub", device: str, version: int, line: str, more: dict[str, str], *, json: bool) -> None:
    there = hub.in_force(version, WAIT_SECONDS)
    if json:
        import orjson

        data(orjson.dumps({"id": device, **more, "in_force": there, "command": line}).decode())
    else:
        data(line)
    if not there:
        say("The broker does not know it yet: is the agent beside the broker running?")


def _files(folder: Path, device: str) -> tuple[Path, Path, Path]:
    """Of the key, the certificate, and the broker's authority."""
    return folder / f"{device}.key", folder / f"{device}.pem", folder / "ca.pem"
