"""What each reason of a dead letter means, and what to do about it. docs/deadletters.md has the same words."""

from typing import NamedTuple

from headrace.errors import Reason


class Remedy(NamedTuple):
    """What a reason means, and what a person does."""

    meaning: str
    action: str


REMEDIES = {
    Reason.MALFORMED: Remedy(
        "The bytes are not in the route's format, end in the middle, or say one thing twice",
        "Look at the bytes. Correct what the device sends, or the route's `format` or `content_types`, and redrive. "
        "Bytes that can be mended: `dlq export`, mend them, `dlq redrive --from`",
    ),
    Reason.WRONG_TYPE: Remedy(
        "A value has another type than the contract's field",
        "If the device is right, change the field's type in the contract. If the value means that there is none, add "
        "it to the field's `sentinels`. Then redrive",
    ),
    Reason.MISSING_FIELD: Remedy(
        "A field that must have a value has none",
        "If it may be absent, make the field optional in the contract. If the payload has it elsewhere, say where in "
        "the route's `fields`, or add the key to the field's `aliases`. Then redrive",
    ),
    Reason.UNKNOWN_FIELD: Remedy(
        "The payload has a key that the contract does not have",
        "Add the field to the contract, or the key to the `aliases` of one that is there, or name it in the route's "
        "`fields`. Or set the route's `unknown_fields`: `keep` has it in `_extra`, `ignore` drops it. Then redrive",
    ),
    Reason.UNKNOWN_ALIAS: Remedy(
        "A metric of Sparkplug has an alias and no name, and the bridge does not know the birth that names it",
        "The bridge asks the edge node for a birth, and what comes behind it is read. To have these letters too, name "
        "the aliases in the route's `sparkplug.metrics`, as the birth does, and redrive; else drop them",
    ),
    Reason.DEVICE_MISMATCH: Remedy(
        "The payload names another device than the topic",
        "Have each device publish under its own id. For a gateway that publishes for others, correct the route's "
        "filter and `identity`. Then redrive",
    ),
    Reason.BAD_NAME: Remedy(
        "A device id, or a level of the topic, is not 1 to 64 letters, digits, underscores and hyphens",
        "Have the route make ids of such names, by `device: {names: mac}`, `encode` or a table, or take the id from "
        "another place. Then redrive",
    ),
    Reason.CONTRACT_REFUSED: Remedy(
        "The stream's new contract can't read what was written with the registered one",
        "`headrace contracts diff` says what can't follow. Correct the contract; or, where the change is meant, make a "
        "new stream of it with `headrace contracts upgrade`. Start the bridge again, and redrive",
    ),
    Reason.NO_ROUTE: Remedy(
        "No route takes the topic",
        "Correct the topic at the device, or add a route that takes it, and redrive. If nobody needs such messages, "
        "narrow `bridge.unrouted`",
    ),
    Reason.TOO_LARGE: Remedy(
        "The reading, or a list in it, is larger than its limit",
        "Have the device send it in several messages; or raise `max_items` in the contract, or `max_message_bytes` "
        "(the topics take it over when they are made), and redrive",
    ),
    Reason.OUT_OF_RANGE: Remedy(
        "A value is outside its range or at odds with those before (a step, back, stuck), or a list has too many items",
        "If the value can be, widen `minimum`, `maximum`, `max_step` or `max_items` in the contract, and redrive. If "
        "only the value should go, make the field optional with `on_violation` null, and redrive. Else see to the "
        "sensor",
    ),
    Reason.SENTINEL: Remedy(
        "A mark that means no value, on a field that must have one",
        "Make the field optional in the contract, and redrive: the value becomes null. Else see to the sensor",
    ),
    Reason.NOT_FINITE: Remedy(
        "NaN or infinity, on a field that must have a value",
        "Have the device leave the value out. To keep the rest of such readings, make the field optional with "
        "`on_violation` null, and redrive",
    ),
    Reason.NOT_ALLOWED: Remedy(
        "A value is none of those that are allowed, or does not match its pattern",
        "If the device is right, add the value to `allowed` in the contract, or correct the `pattern`, and redrive",
    ),
    Reason.FUTURE_TIME: Remedy(
        "A time lies too far ahead of its arrival",
        "Set the device's clock; or correct the unit (`time_unit`, or `unit` in the route), or widen "
        "`max_ahead_seconds` in the contract, and redrive",
    ),
    Reason.PAST_TIME: Remedy(
        "A time lies too far behind its arrival",
        "If readings may come that late, widen `max_behind_seconds` in the contract, and redrive. Else set the "
        "device's clock, or correct the unit (`time_unit`, or `unit` in the route)",
    ),
    Reason.NO_SYNC: Remedy(
        "A time counts from the device's start, and no sync message has said when that start was",
        "Have the device publish a sync message for that start, retained, or publish it for the device; then redrive. "
        "See the route's `sync`",
    ),
    Reason.TRANSFORM: Remedy(
        "The stream's transform failed on the reading; or the transform or the calibration gave a value that the "
        "contract does not allow",
        "Correct the transform, or the line of the calibration. Try it with `headrace transform test FILE --stream "
        "STREAM --from letters`, start clean again, and redrive",
    ),
    Reason.INCONSISTENT: Remedy(
        "Values of the reading contradict each other, by a rule across fields",
        "If the device is right, correct the rule in the contract, or make it `flag`, and redrive",
    ),
    Reason.UNKNOWN_SCHEMA: Remedy(
        "The registry does not know the schema of the bytes, or it is no contract",
        "Restore the registry from its backup, then redrive. Bytes that somebody else wrote to the topic: drop them",
    ),
}


def remedy(reason: str) -> Remedy | None:
    """The remedy for a letter's reason; None for a text that is no reason of ours."""
    return REMEDIES.get(Reason(reason)) if reason in set(Reason) else None
