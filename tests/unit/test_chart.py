"""The chart's files that are made from others, or have to say what others say. What Helm makes of it: tests/chart."""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace import kafka
from headrace.config import Config, chartschema
from headrace.config.base import fields_of
from headrace.config.connect import Kafka
from headrace.stack import kafka as stack_kafka
from headrace.stack import mosquitto, plan
from headrace.stack import registry as stack_registry
from headrace.stack.state import State

CHART = chartschema.CHART
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
SHIPPED = sorted(CHART.glob("values-*.yaml"))


def test_the_schema_is_up_to_date() -> None:
    assert (CHART / "values.schema.json").read_text() == chartschema.text(), "run: make chart-schema"


def test_every_mapping_of_the_schema_is_closed() -> None:
    def look(node: Any, path: str) -> None:
        if isinstance(node, list):
            for one in node:
                look(one, path)
        if not isinstance(node, dict):
            return
        if isinstance(node.get("properties"), dict):
            assert node["additionalProperties"] is False, path
        for key, inner in node.items():
            look(inner, f"{path}.{key}")

    look(SCHEMA, "")


def test_what_the_services_may_be_told_is_what_the_models_know_without_secrets() -> None:
    def names(model: Any) -> set[str]:
        return set(fields_of(model))

    definitions = SCHEMA["$defs"]
    assert set(SCHEMA["properties"]["config"]["properties"]) == names(Config)
    assert set(definitions["Mqtt"]["properties"]) == names(Config.model_fields["mqtt"].annotation) - {"password"}
    assert set(definitions["Store"]["properties"]) == names(Config.model_fields["store"].annotation) - {
        "access_key", "secret_key",
    }  # fmt: skip
    assert "password" not in json.dumps(definitions).replace("password_file", "")
    assert {"type": "string"} in definitions["Stream"]["properties"]["routes"]["items"]["anyOf"]


def test_a_default_that_tells_no_type_is_refused() -> None:
    with pytest.raises(ValueError, match=r"new\.list: no type follows from the default \[\]"):
        chartschema.schema({"config": {}, "new": {"list": []}})


def settings(text: str) -> dict[str, str]:
    """Mosquitto's settings that have one value, but for places."""
    lines = [line.split(" ", 1) for line in text.splitlines() if " " in line and not line.startswith("{{")]
    places = {
        "listener",
        "password_file",
        "acl_file",
        "persistence_location",
        "user",
        "log_type",
        "certfile",
        "keyfile",
        "tls_version",
        "pid_file",
        "psk_file",
        "cafile",
        "crlfile",
    }
    return {key: value for key, value in lines if key not in places}


@pytest.fixture
def local(tmp_path: Path) -> plan.StackPlan:
    ports = dict.fromkeys([*plan.DEFAULT_PORTS, *plan.INNER_PORTS], 1883)
    secrets = {"kafka": "$(PASSWORD)", "kafka_broker": "$(BROKER_PASSWORD)"}
    return plan.StackPlan(State(tmp_path), ports, secrets, Config(), None, None)


def test_the_bundled_mosquitto_is_set_up_as_the_local_one(local: plan.StackPlan) -> None:
    template = (CHART / "templates/bundled/mosquitto.yaml").read_text()
    conf = template.partition('{{- define "headrace.mosquittoConf" -}}\n')[2]
    assert settings(conf) == settings(mosquitto.configuration(local))
    assert conf.count("log_type") == mosquitto.configuration(local).count("log_type")
    rules = template.partition("  services.acl: |\n")[2].partition("  #")[0]
    assert textwrap.dedent(rules) == mosquitto.SERVICES_ACCESS


def test_the_bundled_kafka_is_set_up_as_the_local_one(local: plan.StackPlan) -> None:
    template = (CHART / "templates/bundled/kafka.yaml").read_text()
    found = {k: v.strip("\"'") for k, v in re.findall(r"\{name: KAFKA_([A-Z_]+), value: (.*)\}", template)}
    places = {"LISTENERS", "ADVERTISED_LISTENERS", "CONTROLLER_QUORUM_VOTERS", "LOG_DIRS"}
    wanted = dict(line.split("=", 1) for line in stack_kafka.properties(local).splitlines())
    for name, value in wanted.items():
        variable = name.upper().replace(".", "_")
        assert variable in places or found[variable] == value, name
    logging = template.partition("  log4j2.yaml: |\n")[2].partition("---\n")[0]
    assert yaml.safe_load(logging) == yaml.safe_load(stack_kafka.LOGGING)


def test_the_bundled_registry_lets_in_whom_the_local_one_does() -> None:
    template = (CHART / "templates/bundled/registry.yaml").read_text()
    found = {k: v.strip('"') for k, v in re.findall(r"\{name: ([A-Z_]+), value: (.*)\}", template)}
    for name, value in stack_registry.logins("password").items():
        variable = name.upper().replace(".", "_").replace("-", "_")
        if value == "password":
            assert f"{{name: {variable}, valueFrom: {{secretKeyRef: " in template
        else:
            assert found[variable] == value


def test_the_bundled_store_is_started_as_composes() -> None:
    """In Compose by the image's entry point, which adds what stands here; in the chart without it, and with TLS."""
    template = (CHART / "templates/bundled/store.yaml").read_text()
    given = template.partition("          args:\n")[2].partition("          env:\n")[0]
    compose = yaml.safe_load((CHART.parents[1] / "docker-compose.yml").read_text())["services"]["store"]["command"]
    added = ["-dir=/data", "-volume.max=0", "-master.volumeSizeLimitMB=1024"]
    added += [f"-s3.{flag}.file=/etc/seaweedfs/store.{end}" for flag, end in (("cert", "pem"), ("key", "key"))]

    def flags(args: list[str]) -> set[str]:
        return {a for a in args if not a.startswith(("-s3.config=", "-logtostderr="))}

    assert flags(yaml.safe_load(given)) == flags([*compose, *added])


@pytest.mark.parametrize("file", SHIPPED, ids=lambda f: f.stem)
def test_librdkafka_takes_the_settings_of_the_shipped_values(file: Path) -> None:
    given = yaml.safe_load(file.read_text())["config"].get("kafka", {})
    config = Kafka.model_validate({"librdkafka": given.get("librdkafka", {})})
    kafka.producer(config)
    kafka.admin(config)
    kafka.consumer(config, "group").close()


def test_the_version_is_the_projects() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = (CHART.parents[1] / "pyproject.toml").read_text()
    assert f'version = "{chart["appVersion"]}"' in project


def described(text: str) -> dict[str, str]:
    """The comment `# -- ...` before each key of values.yaml, on one line, by the key's path."""
    out: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    words: list[str] = []
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("# -- "):
            words = [bare.removeprefix("# -- ")]
        elif bare.startswith("# ") and words and not bare.startswith("# @default"):
            words.append(bare.removeprefix("# "))
        elif found := re.match(r"( *)([A-Za-z]+):", line):
            path = [p for p in path if p[0] < len(found[1])] + [(len(found[1]), found[2])]
            if words:
                out[".".join(name for _, name in path)] = " ".join(words)
            words = []
    return out


def test_the_readme_has_every_value_with_its_default_and_description() -> None:
    """As `make chart-docs` writes it. A key without a description of its own would not be noticed: there is none."""
    text = (CHART / "values.yaml").read_text()
    rows = {
        cells[0]: (cells[2], " | ".join(cells[3:]))
        for line in (CHART / "README.md").read_text().partition("## Values")[2].splitlines()[4:]
        if (cells := line.strip("| ").split(" | "))
    }
    wanted = described(text)
    assert set(rows) == set(wanted), "run: make chart-docs"
    values = yaml.safe_load(text)
    for path, words in wanted.items():
        value = values
        for key in path.split("."):
            value = value[key]
        default = "`nil`" if value is None else f"`{json.dumps(value, separators=(',', ':'), sort_keys=True)}`"
        assert rows[path][1] == words, f"{path}: run: make chart-docs"
        assert rows[path][0] == default or path == "config", f"{path}: run: make chart-docs"


def test_the_readme_says_what_its_template_says() -> None:
    readme = (CHART / "README.md").read_text()
    for line in (CHART / "README.md.gotmpl").read_text().splitlines():
        assert "{{" in line or line in readme, "run: make chart-docs"
