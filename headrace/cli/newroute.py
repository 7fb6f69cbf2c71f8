"""The route that `headrace contracts new` proposes: so that nothing of a payload is lost, and any device gets in."""

from collections.abc import Sequence

from headrace.contracts.guess import is_mac
from headrace.contracts.infer import Draft
from headrace.contracts.naming import field_name
from headrace.contracts.sample import Sample
from headrace.contracts.write import Way, flow
from headrace.protocol.devicenames import fitting
from headrace.protocol.names import DEVICE


def way(topic: str, draft: Draft, identity: str, sample: Sample, devices: Sequence[str]) -> Way:
    """The route for `topic`. `identity`: the capture that says who publishes; `devices`: names that were heard."""
    keys: dict[str, object] = {"unknown_fields": "keep"}
    asides = []
    if identity != DEVICE:
        keys["identity"] = identity
    mac = address(sample)
    rule = _rule(devices, identity, mac)
    if device := {**draft.device, **({"names": rule} if rule else {})}:
        keys["device"] = device
    elif mac:
        asides.append(f"device: {{names: mac}}  # where devices are called as {mac}")
    if draft.mapping:
        keys["fields"] = draft.mapping
    if draft.zone:
        asides.append("time_zone: Europe/Berlin  # where the times name no zone: UTC without this")
    if draft.mark:
        asides.append(f"text_numbers: {draft.mark!r}  # numbers in quotes, for fields that are double in the contract")
    for path, key in draft.lists.items():
        asides.append(
            f"explode: {flow(path)}  # a reading for each object of this list, which is JSON text without this"
        )
        if key and "fields" not in keys:
            name = field_name(key, [])
            first = flow({name: f"{path}[0].{key}"})
            asides.append(f"fields: {first}  # or of its first, for a field {name} of the contract")
    return Way(topic, keys, tuple(asides))


def address(sample: Sample) -> str:
    """The first MAC address among the values of a sample; empty when there is none."""
    return next((str(v) for reading in sample.readings for v in reading.values() if is_mac(v)), "")


def _rule(devices: Sequence[str], identity: str, mac: str) -> str:
    """How the names of devices become ids; empty where they are ids. A gateway may call its devices anything."""
    if identity != DEVICE and not devices:
        return "mac" if mac else "encode"
    rule = fitting(devices)
    return "" if rule == "id" else rule
