"""Finds what a person should mend in a contract that services could use: meaning that is missing or doubtful."""

import difflib
from collections.abc import Iterator, Mapping

from headrace.contracts import sqlnames, units
from headrace.contracts.attributes import ATTRIBUTES, TOP_ONLY
from headrace.contracts.avro import NUMBERS, inner_members
from headrace.contracts.enumerated import pattern_problem
from headrace.contracts.model import Contract, Field
from headrace.contracts.physics import IDENTITIES
from headrace.errors import ConfigError
from headrace.protocol.names import DEVICE, OURS, TIME

WARNING = "warning: "
NO_UNIT = "it has no unit"
_OWN_KEYS = frozenset({"name", "type", "doc", "default", "order", *ATTRIBUTES})


def lint(contract: Contract) -> list[str]:
    """The problems of `contract` in words, in the order of its fields; empty when there are none.

    Those that begin with "warning: " are for a person to judge and stop nothing: `serious` drops them.
    """
    return list(_lint(contract))


def serious(problems: list[str]) -> list[str]:
    """The problems that are more than warnings."""
    return [p for p in problems if not p.startswith(WARNING)]


def require(contract: Contract) -> Contract:
    """`contract`; ConfigError with all its serious problems, before it is put into operation."""
    problems = serious(lint(contract))
    if problems:
        raise ConfigError("\n".join(f"contract {contract.name}: {p}" for p in problems))
    return contract


def lacks_unit(field: Field) -> bool:
    """Whether `field` measures something without naming its unit."""
    return field.unit is None and (field.items or field.kind) in {"float", "double"}


def _lint(contract: Contract) -> Iterator[str]:
    if not str(contract.schema.get("doc", "")).strip():
        yield 'the contract has no doc. Add "doc": what the readings are, and of what'
    record = str(contract.schema["name"]).rpartition(".")[2]
    if record != contract.name:
        yield WARNING + f"the record is called {record!r:.80}, its file {contract.name!r}. Use one name for both"
    for field, raw in zip(contract.fields, contract.schema["fields"], strict=True):
        for problem in _field(field, raw):
            mark = WARNING if problem.startswith(WARNING) else ""
            yield f"{mark}field {field.name}: {problem.removeprefix(WARNING)}"
    yield from _rules(contract)
    roles = [f.role for f in contract.fields if f.role]
    for role in sorted(set(roles)):
        if roles.count(role) > 1:
            yield f"more than one field has the role {role}. Leave it on the one that counts"
    if "sequence" in roles and "boot" not in roles:
        yield (
            WARNING + "a sequence means nothing after a restart of the device unless a field has the role boot. Add one"
        )


def _rules(contract: Contract) -> Iterator[str]:
    for rule in contract.rules:
        for identity, argument, name in rule.expression.uses:
            want, unit = IDENTITIES[identity].arguments[argument], contract.field(name).unit
            if unit != want:
                given = f"is in {unit}" if unit else "has no unit"
                yield (
                    f"{WARNING}rule {rule.name}: {identity} takes {argument} in {want}, but {name} {given}. "
                    "Convert it in the expression, such as (x - 32) * 5 / 9"
                )


def _field(field: Field, raw: dict[str, object]) -> Iterator[str]:
    yield from _keys(raw)
    if field.name not in OURS:
        yield from _docs(field)
    if sqlnames.is_word(field.name):
        yield WARNING + "the name is a word of SQL, and must be written in double quotes in queries"
    yield from _unit(field)
    if field.nullable and "default" not in raw:
        yield 'an optional field needs "default": null, or no older reading can be read'
    if field.name in {DEVICE, TIME} and "default" in raw:
        yield "a default would make up what only the device knows. Leave it out"
    yield from _sentinels(field)
    yield from _max_step(field)
    yield from _enumerated(field)
    if field.name == TIME and field.minimum is None:
        yield 'it has no minimum: without a clock a device would file under 1970. Add "minimum": 946684800000000'
    for path, member in inner_members(field.type, field.name):
        yield from _inner(path, member.attributes)


def _keys(raw: dict[str, object]) -> Iterator[str]:
    for key in raw:
        near = difflib.get_close_matches(key, _OWN_KEYS, n=1, cutoff=0.75)
        if key not in _OWN_KEYS and near:
            yield f"the attribute {key!r:.60} is not known; did you mean {near[0]}?"
        elif key not in _OWN_KEYS:
            yield WARNING + f"the attribute {key!r:.60} is not known, and nothing acts on it"


def _docs(field: Field) -> Iterator[str]:
    if not field.doc.strip():
        yield 'it has no doc. Add "doc": what is measured, and how'


def _unit(field: Field) -> Iterator[str]:
    if field.unit is not None:
        problem = units.problem(field.unit)
        if problem is not None:
            yield problem
    elif lacks_unit(field):
        yield f'{WARNING}{NO_UNIT}. Add "unit", such as "Cel" or "V", or "1" for a plain number'


def _sentinels(field: Field) -> Iterator[str]:
    if field.sentinels and not field.nullable:
        yield (
            WARNING + "it has sentinels and is required: a reading with one is rejected whole. "
            "To keep the rest of it, make the field optional"
        )
    low = field.minimum if field.minimum is not None else float("-inf")
    high = field.maximum if field.maximum is not None else float("inf")
    for value in field.sentinels:
        if isinstance(value, str):
            continue
        if field.kind not in NUMBERS:
            yield f"the sentinel {value} is a number, but the field is not. Write it as text"
        elif low <= value <= high:
            yield (
                WARNING + f"the sentinel {value} lies inside the valid range: a true reading of {value} counts as no "
                "value. Narrow the range, or leave the sentinel out"
            )


def _max_step(field: Field) -> Iterator[str]:
    low, high, step = field.minimum, field.maximum, field.max_step
    if step is not None and low is not None and high is not None and step >= high - low:
        yield WARNING + f"max_step {step} never acts: no two values from {low} to {high} are further apart. Lower it"


def _enumerated(field: Field) -> Iterator[str]:
    low = field.minimum if field.minimum is not None else float("-inf")
    high = field.maximum if field.maximum is not None else float("inf")
    for value in field.allowed:
        if value in field.sentinels:
            yield f"allowed has {value!r:.60}, which is a sentinel too, and so becomes null first. Leave it out of one"
        elif isinstance(value, int) and not low <= value <= high:
            yield f"allowed has {value}, which minimum and maximum never let through. Leave it out, or widen them"
    if field.allowed and field.pattern is not None:
        yield WARNING + "it has allowed and a pattern: allowed alone says as much. Leave the pattern out"
    problem = pattern_problem(field.pattern) if field.pattern is not None else None
    if problem is not None:
        yield problem


def _inner(path: str, field: Mapping[str, object]) -> Iterator[str]:
    if not str(field.get("doc", "")).strip():
        yield f'{path} has no doc. Add "doc": what is measured, and how'
    rules = sorted(set(field) & TOP_ONLY)
    if rules:
        name = path.rpartition(".")[2]
        yield (
            f"{path} has {', '.join(rules)}, but rules act on a contract's own fields only. Move the field to the top, "
            f"and say in the route where the payload has it: fields: {{{name}: {path}}}"
        )
    unit = field.get("unit")
    problem = units.problem(str(unit)) if unit is not None else None
    if problem is not None:
        yield f"{path}: {problem}"
