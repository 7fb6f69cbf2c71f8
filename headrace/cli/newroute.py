"""The route that `headrace contracts new` proposes: so that nothing of a payload is lost, and any device gets in."""

from dataclasses import dataclass

from headrace.cli.newsample import Taken
from headrace.config.route import Format
from headrace.contracts import guess
from headrace.contracts.captures import filling
from headrace.contracts.infer import Draft
from headrace.contracts.naming import field_name
from headrace.contracts.onevalue import FIELD
from headrace.contracts.sample import Sample
from headrace.contracts.topics import GATEWAY
from headrace.contracts.write import RouteDraft, flow
from headrace.errors import ConfigError
from headrace.protocol import filters, joins, paths
from headrace.protocol.devicenames import fitting
from headrace.protocol.filters import Filter
from headrace.protocol.names import DEVICE


@dataclass(frozen=True)
class Publisher:
    """Who publishes, and what names the device: a level of the topic, several joined, or parts of the payload."""

    topic: Filter
    identity: str
    format: Format
    captured: tuple[str, ...]  # the fields that the topic fills
    paths: tuple[str, ...] = ()  # of the parts of the device's name in the payload
    join: str = ""  # of the levels that are the name together
    devices: tuple[str, ...] = ()  # their names in the sample


def checked(text: str) -> Filter:
    """The topic; ConfigError where it does not say who publishes."""
    topic = filters.parse(text, "--topic")
    if not topic.captures.keys() & {DEVICE, GATEWAY}:
        raise ConfigError(
            f"--topic {text or '(none)'}: it must say which device publishes there. Write {{device_id}} for that "
            "level, as in plant/{device_id}/pump; where a gateway publishes for devices, write {gateway} for its own"
        )
    return topic


def publisher(topic: Filter, taken: Taken) -> Publisher:
    """What names the device in messages on `topic`. ConfigError: nothing does."""
    identity = GATEWAY if GATEWAY in topic.captures else DEVICE
    value = FIELD in topic.captures
    parts: tuple[str, ...] = ()
    join = ""
    if DEVICE not in topic.captures:
        parts = () if value else guess.device_paths(taken.sample.readings)
        levels = [f"{{{name}}}" for name in topic.captures if name not in {GATEWAY, FIELD}]
        join = "" if parts else "/".join(levels)
        if not parts and not join:
            raise ConfigError(
                f"--topic {topic.text}: nothing says which device sent it. Put {{device_id}} into the topic, as in "
                "gw/{gateway}/{device_id}/up, or a key device_id into the payload"
            )
    template = join or (f"{{{DEVICE}}}" if DEVICE in topic.captures else "")
    joined = {DEVICE: joins.parse(template, topic.captures, "--topic")} if template else {}
    devices = [joined[DEVICE].of(topic.values(m.topic)) for m in taken.messages] if joined else []
    for reading in taken.sample.readings if parts else ():
        found = [paths.find(paths.parse(part, "path"), reading) for part in parts]
        devices.append("/".join("" if part is None else str(part) for part in found))
    form: Format = "value" if value else "json"
    captured = filling(topic.captures, form, identity, {DEVICE: joined[DEVICE]} if join else {})
    return Publisher(topic, identity, form, tuple(captured), parts, join, tuple(dict.fromkeys(devices)))


def drafted(publisher: Publisher, draft: Draft, sample: Sample) -> RouteDraft:
    """The route for the messages of a sample."""
    keys: dict[str, object] = {} if publisher.format == "json" else {"format": publisher.format}
    keys["unknown_fields"] = "keep"
    asides = []
    if publisher.identity != DEVICE:
        keys["identity"] = publisher.identity
    mac = address(sample)
    rule = _rule(publisher, mac)
    device: dict[str, object] = dict(draft.device)
    if publisher.paths:
        device["path"] = list(publisher.paths) if len(publisher.paths) > 1 else publisher.paths[0]
    elif publisher.join:
        device["topic"] = publisher.join
    if device := {**device, **({"names": rule} if rule else {})}:
        keys["device"] = device
    elif mac:
        asides.append(f"device: {{names: mac}}  # where devices are called as {mac}")
    if draft.mapping:
        keys["fields"] = draft.mapping
    if draft.zone:
        asides.append("time_zone: Europe/Berlin  # where the times name no zone: UTC without this")
    if draft.mark:
        asides.append(f"text_numbers: {draft.mark!r}  # numbers in quotes, for fields that are double in the contract")
    asides += _lists(draft.lists, mapped="fields" in keys)
    return RouteDraft(publisher.topic.text, keys, tuple(asides))


def _lists(lists: dict[str, str], *, mapped: bool) -> list[str]:
    """Lines to uncomment for lists of objects. Of each kind one has to be chosen, so there is one."""
    out = []
    for i, path in enumerate(lists):
        words = "a reading for each object of this list, which is JSON text without this" if not i else "or of this one"
        out.append(f"explode: {flow(path)}  # {words}")
    first = {field_name(key, []): f"{path}[0].{key}" for path, key in lists.items() if key}
    if first and not mapped:
        names = ", ".join(first)
        fields = "a field" if len(first) == 1 else "fields"
        out.append(f"fields: {flow(first)}  # or of its first, for {fields} {names} of the contract")
    return out


def address(sample: Sample) -> str:
    """The first MAC address among the values of a sample; empty when there is none."""
    return next((str(v) for reading in sample.readings for v in reading.values() if guess.is_mac(v)), "")


def _rule(publisher: Publisher, mac: str) -> str:
    """How the names of devices become ids; empty where they are ids. A gateway may call its devices anything."""
    if publisher.identity != DEVICE and not publisher.devices:
        return "mac" if mac else "encode"
    rule = fitting(publisher.devices)
    return rule if rule != "id" else "encode" if publisher.identity != DEVICE else ""
