"""Confluent's client of schema registries, imported without the library that logs in by OAuth.

There is no setting for such logins, and the library takes more than half of the time of this import, in every service.
"""

import sys
from types import ModuleType

_OAUTH = "authlib.integrations.httpx_client"

_given = sys.modules.get(_OAUTH)
_nothing = ModuleType(_OAUTH)
_nothing.OAuth2Client = _nothing.AsyncOAuth2Client = None  # type: ignore[attr-defined]  # the names that it asks for
sys.modules[_OAUTH] = _nothing
try:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
    from confluent_kafka.schema_registry.common._httpx_compat import httpx
    from confluent_kafka.schema_registry.error import SchemaRegistryError
finally:
    del sys.modules[_OAUTH]  # whoever else imports it gets it
    if _given is not None:
        sys.modules[_OAUTH] = _given

__all__ = ["Schema", "SchemaRegistryClient", "SchemaRegistryError", "httpx"]
