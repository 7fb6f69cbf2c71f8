"""What a device is called becomes its id: 1 to 64 of A-Z, a-z, 0-9, underscore and hyphen. Two names never become one.

There are three rules, and a table {name: id} where they do not fit:

- `id`: the name is the id, or it is refused.
- `mac`: a MAC address or an EUI: its 12 or 16 hexadecimal digits, in small letters, without the `:`, `-` and `.`
  between them. All spellings of one address are one device.
- `encode`: any text. ASCII characters that an id can't have become two underscores and two hexadecimal digits, as
  `%20` in an address of the web: `Living Room` is Living__20Room. Other letters are written as in domain names
  (Punycode, RFC 3492): `Büro` is xn--Bro-hoa. What would be read as one of the two is escaped itself, so that a name
  can be told from its id.
- a table: its names have its ids. Other names stay, if they are ids, and not one of the table's.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from headrace.errors import PoisonError, Reason
from headrace.protocol.names import ALPHABET, DEVICE, LONGEST, is_device_id

Rule = Literal["id", "mac", "encode"]
Naming = Callable[[str], str]  # from a device's name to its id. PoisonError: it has none, with the remedy

_SEPARATORS = str.maketrans("", "", ":-.")
_ADDRESS = re.compile(r"[0-9A-Fa-f](?:[:.-]?[0-9A-Fa-f]){11}(?:(?:[:.-]?[0-9A-Fa-f]){4})?\Z")
_ESCAPED = re.compile(r"[\x00-\x7f](?<![A-Za-z0-9_-])|_(?=_[0-9a-f]{2})|\A(?=xn--)x")
_ESCAPE = re.compile(r"__([0-9a-f]{2})")
_PUNYCODE = "xn--"


def naming(names: Rule | Mapping[str, str]) -> Naming:
    """The function from names to ids for a rule or a table."""
    return _table(names) if not isinstance(names, str) else _RULES[names]


def fitting(names: Iterable[str]) -> Rule:
    """The rule that takes all these names: id where they are ids, mac where they are addresses, else encode."""
    found = set(names)
    if all(map(is_device_id, found)):
        return "id"
    return "mac" if all(map(_ADDRESS.match, found)) else "encode"


def decoded(found: str) -> str:
    """The name that the rule `encode` made this id of."""
    text = found.removeprefix(_PUNYCODE)
    if text != found:
        text = text.encode("ascii").decode("punycode")
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)), text)


def _id(name: str) -> str:
    if is_device_id(name):
        return name
    how = f"add to the route `device: {{names: {fitting([name])}}}`"
    raise _bad(name, f"is not {ALPHABET}. To make ids of such names, {how}")


def _mac(name: str) -> str:
    if not _ADDRESS.match(name):
        raise _bad(
            name, "is no MAC address or EUI: 12 or 16 hexadecimal digits. For other names set the route's device.names "
            "to encode, or to a table {name: id}",
        )  # fmt: skip
    return name.translate(_SEPARATORS).lower()


def _encode(name: str) -> str:
    # What is longer than an id has a longer one: no time is lost with it.
    text = _ESCAPED.sub(lambda m: f"__{ord(m[0]):02x}", name) if len(name) <= LONGEST else name
    if not text.isascii() and len(text) <= LONGEST:
        text = _PUNYCODE + text.encode("punycode").decode("ascii")
    if is_device_id(text):
        return text
    raise _bad(
        name,
        f"has no id of {ALPHABET} by the rule encode. Give it one in a table: `device: {{names: {{NAME: ID}}}}`",
    )


def _table(ids: Mapping[str, str]) -> Naming:
    owners = {found: name for name, found in ids.items()}

    def name_of(name: str) -> str:
        if name in ids:
            return ids[name]
        if name in owners:
            raise _bad(
                name, f"is the id that device.names gives to {owners[name][:80]!r}. Give this device another there"
            )
        if not is_device_id(name):
            raise _bad(name, f"is not {ALPHABET}, and device.names has no id for it. Add it there")
        return name

    return name_of


def _bad(name: str, why: str) -> PoisonError:
    return PoisonError(Reason.BAD_NAME, f"{DEVICE}: {name[:80]!r} {why}", field=DEVICE, value=name)


AS_WRITTEN: Naming = _id
_RULES: dict[str, Naming] = {"id": AS_WRITTEN, "mac": _mac, "encode": _encode}
