"""JSON schemas for kubeconform, made from what an API server says of itself: its own types and the operators'."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.chart.api import Api, Object

# For kubeconform's --schema-location: apps/v1 Deployment is apps_v1_deployment.json, v1 Service v1_v1_service.json.
LOCATION = "{{ .Group }}_{{ .ResourceAPIVersion }}_{{ .ResourceKind }}.json"


def write(api: Api, kinds: Iterable[tuple[str, str]], folder: Path) -> None:
    """A schema for each (apiVersion, kind), in which a property that the server does not know is an error."""
    served = api.call("GET", "/openapi/v3")["paths"]
    for version in sorted({version for version, _ in kinds}):
        group, _, number = version.rpartition("/")
        place = f"apis/{version}" if group else f"api/{version}"
        schemas: Object = api.call("GET", served[place]["serverRelativeURL"])["components"]["schemas"]
        for schema in schemas.values():
            _close(schema)
        for name, schema in schemas.items():
            for known in schema.get("x-kubernetes-group-version-kind", []):
                if (version, known["kind"]) in kinds and known["group"] == group and known["version"] == number:
                    whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
                    file = folder / f"{group or number}_{number}_{known['kind'].lower()}.json"
                    file.write_text(json.dumps(whole), encoding="utf-8")


def _close(schema: Any) -> None:
    """Refuse unknown properties wherever the server does: not where it keeps them, or an object's keys are free."""
    if not isinstance(schema, dict):
        return
    if schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    for part in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        _close(part)
