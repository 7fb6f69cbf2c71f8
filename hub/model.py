"""What hub is asked and answers about devices: shapes and limits."""

import re
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from headrace.protocol.names import is_identity

_LABEL = re.compile(r"[\w.:@/+-]{1,64}\Z")
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
MOST_LABELS, MOST_ATTRIBUTE_BYTES = 64, 16 * 1024


class Kind(StrEnum):
    """What a credential speaks for."""

    DEVICE = "device"
    GATEWAY = "gateway"


class State(StrEnum):
    """Where a device is in its life. Only an active one gets in at the broker."""

    PENDING = "pending"  # not approved yet
    ACTIVE = "active"
    QUARANTINED = "quarantined"  # shut out for now
    REVOKED = "revoked"  # shut out, and its credentials have ended
    ERASED = "erased"


def _plain(text: str) -> str:
    if not text.isprintable():
        raise ValueError("control characters can't be part of it")
    return text


def _identity(text: str) -> str:
    if not is_identity(text):
        raise ValueError(
            f"{text[:70]!r} can't name a device: use 1 to 64 of A-Z, a-z, 0-9, _ and -, and do not begin with headrace"
        )
    if text.startswith("-"):
        raise ValueError(f"{text[:70]!r} can't name a device: commands would take it for an option")
    return text


def _label(text: str) -> str:
    if _LABEL.match(text) is None:
        raise ValueError(f"{text[:70]!r}: use 1 to 64 letters, digits and _ . : @ / + -")
    return text


def _attributes(found: dict[str, JsonValue]) -> dict[str, JsonValue]:
    for name in found:
        if _ATTRIBUTE.match(name) is None:
            raise ValueError(f"{name[:70]!r} can't name an attribute: begin with a letter, then letters, digits, _ . -")
    try:
        text = orjson.dumps(found)
    except TypeError as e:
        raise ValueError(f"no database takes it: {e}") from None
    if orjson.loads(text) != found or b"\\u0000" in text:
        raise ValueError("no database takes it: NaN, infinity or the character 0")
    if len(text) > MOST_ATTRIBUTE_BYTES:
        raise ValueError(f"more than {MOST_ATTRIBUTE_BYTES:,} bytes in all")
    return found


Identity = Annotated[str, AfterValidator(_identity)]
Text = Annotated[str, Field(max_length=200), AfterValidator(_plain)]
Word = Annotated[str, Field(max_length=64), AfterValidator(_plain)]
Labels = Annotated[list[Annotated[str, AfterValidator(_label)]], Field(max_length=MOST_LABELS)]
Attributes = Annotated[dict[str, JsonValue], AfterValidator(_attributes)]
Days = Annotated[float, Field(gt=0, le=3650)]
Csr = Annotated[str, Field(max_length=4096)]
Signature = Annotated[str, Field(max_length=400)]
Calibration = Annotated[dict[date, Attributes | None], Field(max_length=200)]


class Asked(BaseModel):
    """What a request says: closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NewDevice(Asked):
    """A device or gateway to be added. `calibration`: values by the date from which they count.

    `credential`: what it gets at once; token: with which it asks for a certificate; none: it gets one otherwise.
    """

    id: Identity
    kind: Kind = Kind.DEVICE
    state: Literal[State.ACTIVE, State.PENDING] = State.ACTIVE
    credential: Literal["password", "psk", "token", "none"] = "password"
    token_days: Days = 30.0
    serial: Text = ""
    model: Text = ""
    firmware: Text = ""
    owner: Text = ""
    tags: Labels = []
    groups: Labels = []
    attributes: Attributes = {}
    calibration: Calibration = {}


class Changes(Asked):
    """What is to change. An attribute, or the calibration of a date, that is null is removed; others stay."""

    state: State | None = None
    serial: Text | None = None
    model: Text | None = None
    firmware: Text | None = None
    owner: Text | None = None
    tags: Labels | None = None
    groups: Labels | None = None
    attributes: Attributes | None = None
    calibration: Calibration | None = None

    def plain(self) -> dict[str, Any]:
        """The columns that were given."""
        return {
            name: value
            for name in ("serial", "model", "firmware", "owner", "tags", "groups")
            if (value := getattr(self, name)) is not None
        }


class Fleet(Asked):
    """Many devices to be added at once; each is looked at as a NewDevice of its own, so that every fault is told."""

    devices: Annotated[list[dict[str, JsonValue]], Field(min_length=1, max_length=10_000)]


class NewCertificate(Asked):
    """The key for which a certificate is asked, in PEM: a request (CSR), or the public key alone."""

    csr: Annotated[str, Field(max_length=16_384)] = ""
    public_key: Annotated[str, Field(max_length=16_384)] = ""

    @model_validator(mode="after")
    def _one(self) -> "NewCertificate":
        if bool(self.csr) == bool(self.public_key):
            raise ValueError("give a csr or a public_key")
        return self


class NewEnrolment(Asked):
    """A one-time token for a device: for how many `days` it may be used first. `serial`: the device's, if given."""

    days: Days = 30.0
    serial: Text | None = None


class Enrol(Asked):
    """A device asks for its first certificate, with a one-time `token`, or with the `signature` of its batch's `claim`.

    `csr`: the request, in PEM. `serial`: the device's serial number, where the registry has one.
    """

    csr: Csr
    id: Word = ""
    serial: Text = ""
    token: Word = ""
    claim: Word = ""
    signature: Signature = ""

    @model_validator(mode="after")
    def _one(self) -> "Enrol":
        if bool(self.token) == bool(self.claim) or bool(self.claim) != bool(self.signature):
            raise ValueError("give a token, or a claim and its signature")
        return self


class Renew(Asked):
    """A device asks for the next certificate: `signature` is made with the key of the one that it has."""

    id: Word
    csr: Csr
    signature: Signature


class NewClaim(Asked):
    """A certificate, in PEM, for all devices of the group `name`, with which they ask for their own.

    `at_once`: these get it without a person's approval.
    """

    name: Annotated[str, AfterValidator(_label)]
    certificate: Annotated[str, Field(max_length=16_384)]
    at_once: bool = False


class NewToken(Asked):
    """A token for a person or a program."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,64}$")]
    role: Annotated[str, Field(pattern="^(viewer|operator|admin|broker)$")]


class Applied(Asked):
    """The version that the broker has now. `unproven`: it has the files, and does not go by the list of revoked
    certificates.
    """

    version: Annotated[int, Field(ge=0)]
    unproven: bool = False
