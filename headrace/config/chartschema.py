"""Writes the chart's values.schema.json from the models and from values.yaml: `python -m headrace.config.chartschema`.

Under `config` the schema allows what the services' own configuration may hold, except secrets, which must not get into
a ConfigMap. The rest has the shape of values.yaml: every mapping is closed, every value has the type of its default.
OWN adds to that where it says too little.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from headrace.config import Config
from headrace.protocol.names import STREAM

CHART = Path(__file__).resolve().parents[2] / "helm" / "headrace"

_TEXT_MAP = {"type": "object", "additionalProperties": {"type": "string"}}
_LIST = {"type": "array", "items": {"type": "object"}}  # Kubernetes' own, which the API server checks
_RESOURCES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {name: {"type": "object"} for name in ("requests", "limits")} | {"claims": _LIST},
}
_COUNT = {"type": "integer", "minimum": 1}
_SECONDS_OR_NULL = {"type": ["integer", "null"], "minimum": 0}
_AUTOSCALING = {"enum": ["none", "hpa", "keda"]}

# By path in values.yaml, `*` for any one key. The first that fits counts.
OWN: dict[str, dict[str, Any]] = {
    "commonLabels": _TEXT_MAP,
    "contracts.files": {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,47}[.]avsc$"},
        "additionalProperties": {"type": "string"},
    },
    "transforms.files": {
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z0-9_-]{1,64}[.](py|csv)$"},
        "additionalProperties": {"type": "string"},
    },
    "formats.files": {
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z0-9_-]{1,64}[.](avsc|desc)$"},
        "additionalProperties": {"type": "string"},
    },
    "image.pullPolicy": {"enum": ["IfNotPresent", "Always", "Never"]},
    "image.pullSecrets": _LIST,
    "*.image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "*.resources": _RESOURCES,
    "*.*.resources": _RESOURCES,
    "*.serviceAccount.annotations": _TEXT_MAP,
    "*.podAnnotations": _TEXT_MAP,
    "*.podLabels": _TEXT_MAP,
    "*.extraEnv": {"type": "array", "items": {"type": "object", "required": ["name"]}},
    "*.extraVolumes": _LIST,
    "*.extraVolumeMounts": _LIST,
    "*.nodeSelector": _TEXT_MAP,
    "*.tolerations": _LIST,
    "*.*.nodeSelector": _TEXT_MAP,
    "*.*.tolerations": _LIST,
    "*.affinity": {"type": "object"},
    "*.terminationGracePeriodSeconds": _SECONDS_OR_NULL,
    "*.replicas": _COUNT,
    "bridge.clientIdPrefix": {"type": "string", "pattern": "^headrace[A-Za-z0-9_-]{0,24}$"},
    "bridge.drain": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 999}, "uniqueItems": True},
    "ingest.autoscaling.kind": {"enum": ["none", "hpa"]},
    "*.autoscaling.kind": _AUTOSCALING,
    "*.autoscaling.minReplicas": _COUNT,
    "*.autoscaling.maxReplicas": _COUNT,
    "*.autoscaling.lag": _COUNT,
    "*.autoscaling.cpuUtilization": _COUNT,
    "*.autoscaling.behavior": {"type": "object"},
    "*.autoscaling.prometheus": {"type": "string", "pattern": "^(https?://.+)?$"},
    "provision.ttlSecondsAfterFinished": _SECONDS_OR_NULL,
    "provision.wait": {"type": "integer", "minimum": 0},
    "provision.backoffLimit": {"type": "integer", "minimum": 0},
    "selftest.wait": _COUNT,
    "verify.wait": {"type": "integer", "minimum": 0},
    "probes.*": _COUNT,
    "topologySpread.keys": {"type": "array", "items": {"type": "string"}},
    "topologySpread.whenUnsatisfiable": {"enum": ["ScheduleAnyway", "DoNotSchedule"]},
    "podDisruptionBudget.maxUnavailable": {
        "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,3}%$"}]
    },
    "networkPolicy.metricsFrom": _LIST,
    "networkPolicy.hubFrom": _LIST,
    "networkPolicy.ingestFrom": _LIST,
    "*.ingress.annotations": _TEXT_MAP,
    "hub.database.port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "networkPolicy.devicesFrom": _LIST,
    "networkPolicy.extraEgress": _LIST,
    "monitoring.kind": {"enum": ["none", "serviceMonitor", "podMonitor"]},
    "monitoring.labels": _TEXT_MAP,
    "monitoring.rulesLabels": _TEXT_MAP,
    "monitoring.dashboardsLabels": _TEXT_MAP,
    "monitoring.dashboardsAnnotations": _TEXT_MAP,
    "certManager.issuerRef.kind": {"type": "string", "minLength": 1},
    "bundled.mosquitto.service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "bundled.mosquitto.service.annotations": _TEXT_MAP,
    "bundled.mosquitto.service.loadBalancerSourceRanges": {"type": "array", "items": {"type": "string"}},
    "bundled.mosquitto.service.externalTrafficPolicy": {"enum": ["Cluster", "Local"]},
    "bundled.mosquitto.tls.dnsNames": {"type": "array", "items": {"type": "string"}},
    "bundled.registry.postgresql.url": {"type": "string", "pattern": "^(jdbc:postgresql://.+)?$"},
}


def schema(values: dict[str, Any]) -> dict[str, Any]:
    """The schema of the chart's values, whose defaults are `values`."""
    config, definitions = _config()
    out = _shape(values, ())
    out["properties"]["config"] = config
    # Helm hands both to a chart that is part of another.
    out["properties"]["global"] = {"type": "object"}
    out["properties"]["enabled"] = {"type": "boolean"}
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart headrace"}
    return {**head, **out, "$defs": definitions}


def text(chart: Path = CHART) -> str:
    """The text of values.schema.json."""
    values = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    return json.dumps(schema(values), indent=1) + "\n"


def _shape(value: Any, path: tuple[str, ...]) -> dict[str, Any]:
    own = _own(path)
    if own is not None:
        return own
    match value:
        case dict() if value or not path or path == ("config",):
            inner = {key: _shape(one, (*path, key)) for key, one in value.items()}
            return {"type": "object", "additionalProperties": False, "properties": inner}
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case str():
            return {"type": "string"}
    raise ValueError(f"values.yaml, {'.'.join(path)}: no type follows from the default {value!r}. Add the path to OWN")


def _own(path: tuple[str, ...]) -> dict[str, Any] | None:
    for pattern, found in OWN.items():
        parts = pattern.split(".")
        if len(parts) == len(path) and all(p in {"*", here} for p, here in zip(parts, path, strict=True)):
            return found
    return None


def _config() -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of `config`, and the definitions that it refers to."""
    whole = Config.model_json_schema()
    definitions = {name: _tidy(d) for name, d in whole.pop("$defs").items()}
    config = _tidy(whole)
    streams = config["properties"]["streams"]
    streams["propertyNames"] = {"pattern": f"^{STREAM}$"}
    streams["type"] = ["object", "null"]  # `streams:` with nothing below: the templates have a better message
    routes = definitions["Stream"]["properties"]["routes"]
    routes["items"] = {"anyOf": [{"type": "string"}, routes["items"]]}  # a route may be its filter alone
    return config, definitions


def _tidy(node: Any) -> Any:
    """The schema without secrets, and without what only readers of Python code need."""
    if isinstance(node, list):
        return [_tidy(n) for n in node]
    if not isinstance(node, dict):
        return node
    out = {}
    for key, value in node.items():
        if key == "properties":  # the keys below are names, and may be `title` or `default`
            out[key] = {name: _tidy(one) for name, one in value.items() if not _is_secret(one)}
        elif key not in {"title", "default"} and (key, value) != ("format", "path"):
            out[key] = _tidy(value)
    return out


def _is_secret(node: dict[str, Any]) -> bool:
    return any(n.get("format") == "password" for n in (node, *node.get("anyOf", ())))


def main() -> None:
    """Write values.schema.json into the chart."""
    (CHART / "values.schema.json").write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
