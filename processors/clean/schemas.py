"""What clean needs to know of a schema id: how its readings are read, and their contract's rules."""

from typing import NamedTuple

from headrace.contracts.model import Field, parse
from headrace.errors import ConfigError
from headrace.transforms.table import fields_of
from processors.avro.codec import Codec
from processors.clean.rules.contract import ContractRules


class Known(NamedTuple):
    """A schema that is a contract."""

    codec: Codec
    rules: ContractRules
    fields: list[Field]  # those that a transform sees


def known_of(schema_id: int, text: str) -> Known:
    """The schema in `text`, as a registry has it. ConfigError if it is not a contract."""
    try:
        contract = parse(f"schema-{schema_id}", text, f"schema {schema_id}")
        return Known(Codec(contract.schema), ContractRules(contract), fields_of(contract))
    except ConfigError as e:
        raise ConfigError(f"the schema is not a contract: {e}") from e
