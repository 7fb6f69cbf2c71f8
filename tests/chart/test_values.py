"""What values do: which are refused, and in what words; what a change replaces, and what it leaves alone."""

import json
import re

import pytest
import yaml

from headrace.runtime.metrics import LAG
from tests.chart.api import Object
from tests.chart.conftest import Render
from tests.chart.helm import CHART, Helm, named, services, templates

ROLES = ("bridge", "ingest", "clean", "archive")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("nonsense=1", "nonsense"),
        ("bridge.replcas=2", "replcas"),
        ("archive.autoscaling.max=3", "max"),
        ("config.kafka.bootstrp=kafka:9092", "bootstrp"),
        ("config.streams.environment.partitons=3", "partitons"),
        ("networkPolicy.enable=false", "enable"),
        ("bundled.kafka.persistence.siez=1Gi", "siez"),
    ],
)
def test_unknown_keys_are_refused_by_name(setting: str, said: str, helm3: Helm, helm4: Helm) -> None:
    for helm in (helm3, helm4):
        message = helm.refused("minimal", "--set", setting)
        assert said in message
        assert setting.rpartition(".")[0].replace("config.", "").split(".")[0] in message


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("store.existingSecret=", "store.existingSecret: name the Secret"),
        ("mqtt.anonymous=false", "mqtt.existingSecret: "),
        ("kafka.anonymous=false", "kafka.existingSecret: "),
        ("config.mqtt.username=headrace", "mqtt.existingSecret: name the Secret"),
        ("config.registry.username=headrace", "registry.existingSecret: name the Secret"),
        ("config.kafka.sasl.mechanism=PLAIN,config.kafka.sasl.username=u", "kafka.existingSecret: name the Secret"),
        ("mqtt.existingSecret=a", "config.mqtt.username: "),
        ("config.mqtt.host=", "config.mqtt.host: "),
        ("config.streams=null", "config.streams: "),
        ("bundled.kafka.enabled=true", "config.kafka.bootstrap and "),
        ("bundled.registry.enabled=true,config.registry.username=u", "the bundled registry has its user"),
        ("archive.terminationGracePeriodSeconds=5", "archive.terminationGracePeriodSeconds: 5 is less than"),
        ("config.store.timeout_seconds=120,archive.terminationGracePeriodSeconds=60", "60 is less than the 140"),
        ("clean.autoscaling.kind=hpa,clean.autoscaling.minReplicas=9", "clean.autoscaling.minReplicas: 9 pods"),
        ("archive.autoscaling.kind=keda", "archive.autoscaling.prometheus: "),
        ("config.bridge.leave=true", "config.bridge.leave: "),
        ("bridge.drain={0}", "bridge.drain: 0"),
        ("bridge.replicas=2", "config.bridge.shared_group: name the group"),
        ("bridge.extraEnv[0].name=HEADRACE_KAFKA__SASL__PASSWORD,bridge.extraEnv[0].value=x", "a secret in plain"),
        ("mqtt.tls.existingSecret=t,mqtt.tls.certKey=tls.crt", "mqtt.tls: certKey and keyKey go together"),
        ("mqtt.tls.certManager=true", "certManager.issuerRef.name: "),
    ],
)
def test_values_that_do_not_hold_are_refused(settings: str, said: str, helm4: Helm) -> None:
    assert said in helm4.refused("minimal", "--set", settings)


def test_pods_whose_identity_is_missing_are_named(helm4: Helm) -> None:
    """Kafka and Blob take the pods' Workload Identity: each pod has to have one, or another way in."""
    for component in ("bridge", "clean", "archive", "provision"):
        message = helm4.refused("shipped-aks", "--set", f"{component}.podLabels=null")
        assert f"{component}.podLabels: azure.workload.identity/use" in message
        assert message.count("podLabels: ") == 1
    keys = "store.existingSecret=account,config.kafka.sasl.token.client_secret_file=/secret"
    helm4.render("shipped-aks", "--set", f"{keys},bridge.podLabels=null")


def test_keda_asks_prometheus_where_kafka_takes_tokens(helm4: Helm, render: Render) -> None:
    settings = "clean.autoscaling.kind=keda"
    assert "clean.autoscaling.prometheus: " in helm4.refused("shipped-eks", "--set", settings)
    objects = render("shipped-eks", "--set", f"{settings},clean.autoscaling.prometheus=http://prometheus:9090")
    (trigger,) = named(objects, "ScaledObject")["headrace-clean"]["spec"]["triggers"]
    assert trigger["type"] == "prometheus"
    assert LAG._name in trigger["metadata"]["query"]


def test_every_problem_is_said_at_once(helm4: Helm) -> None:
    message = helm4.refused("minimal", "--set", "store.existingSecret=,kafka.anonymous=false")
    assert "store.existingSecret" in message
    assert "kafka.existingSecret" in message


def test_a_type_of_operators_that_are_not_there(helm4: Helm) -> None:
    """Without --api-versions: a cluster without operators."""
    for case, said in {"keda": "no KEDA", "strimzi": "no Strimzi", "observability": "no Prometheus Operator"}.items():
        argv = helm4.rendering(case)
        done = helm4.run(*argv[: argv.index("--api-versions")], ok=False)
        assert done.returncode != 0
        assert said in done.stderr


@pytest.mark.parametrize("case", ["minimal", "external", "dev", "sharing"])
def test_a_changed_limit_replaces_pods_and_makes_new_jobs(case: str, render: Render) -> None:
    before, after = render(case), render(case, "--set", "config.max_message_bytes=1500000")
    assert _replaced(before, after) == {n for n in services(before) if n.rpartition("-")[2] in ROLES}
    assert _jobs(before, "topics").isdisjoint(_jobs(after, "topics"))
    assert _jobs(before, "bucket") == _jobs(after, "bucket")


def test_a_change_for_one_service_leaves_the_others_alone(render: Render) -> None:
    before = render("minimal")
    for role, setting in {
        "bridge": "config.bridge.keepalive_seconds=60",
        "clean": "config.clean.group=other",
        "archive": "config.archive.idle_seconds=7",
    }.items():
        after = render("minimal", "--set", setting)
        assert _replaced(before, after) == {f"headrace-{role}"}
        assert _jobs(before) == _jobs(after)
    moved = render("minimal", "--set", "config.bridge.http.port=9000")
    assert _replaced(before, moved) == {"headrace-bridge", "headrace-hub"}, "hub asks it there"


def test_a_changed_secret_replaces_what_reads_one(render: Render) -> None:
    before, after = render("external"), render("external", "--set", "secretsRevision=2027-01")
    assert _replaced(before, after) == {f"plant-{role}" for role in (*ROLES, "compact", "hub")}
    renamed = render("external", "--set", "mqtt.existingSecret=other")
    assert _replaced(before, renamed) == {"plant-bridge"}


def test_a_job_that_changes_gets_another_name(render: Render) -> None:
    """Kubernetes refuses to change a Job: whatever differs in its pod has to differ in its name."""
    base = render("minimal")
    for setting in ("image.tag=9.9.9", "provision.resources.limits.memory=3Gi", "secretsRevision=2"):
        other = render("minimal", "--set-string", setting)
        old, new = named(base, "Job"), named(other, "Job")
        assert {n: old[n]["spec"]["template"] for n in old.keys() & new.keys()} == {
            n: new[n]["spec"]["template"] for n in old.keys() & new.keys()
        }
        assert old.keys() != new.keys()


@pytest.mark.parametrize(("case", "clean", "archive"), [("hpa", 6, 8), ("keda", 6, 11)])
def test_no_more_pods_than_partitions(case: str, clean: int, archive: int, render: Render) -> None:
    """Clean shares out its widest stream, the archive all partitions; maxReplicas of the values is above both."""
    objects = render(case)
    most = {n: o["spec"]["maxReplicas"] for n, o in named(objects, "HorizontalPodAutoscaler").items()}
    most |= {n: o["spec"]["maxReplicaCount"] for n, o in named(objects, "ScaledObject").items()}
    assert most == {"headrace-clean": clean, "headrace-archive": archive}


def test_ports_follow_the_configuration(render: Render) -> None:
    objects = render("minimal", "--set", "config.clean.http.port=9123,config.kafka.bootstrap=a:7001\\,b:7002")
    container = services(objects)["headrace-clean"]["spec"]["containers"][0]
    assert [p["containerPort"] for p in container["ports"]] == [9123]
    policy = named(objects, "NetworkPolicy")["headrace-clean"]["spec"]
    assert [p["port"] for rule in policy["ingress"] for p in rule["ports"]] == [9123]
    out = {p["port"] for rule in policy["egress"] for p in rule.get("ports", [])}
    assert {7001, 7002} <= out
    assert 1883 not in out


def test_a_service_gets_the_secrets_of_its_own_connections_only(render: Render) -> None:
    """Only the bridge speaks MQTT: nobody else can read the broker's password."""
    for name, pod in services(render("external")).items():
        text = json.dumps(pod)
        assert ("plant-mqtt" in text) == (name == "plant-bridge"), name
    metrics = json.dumps(services(render("observability"))["headrace-broker-metrics"])
    assert "headrace-mqtt" in metrics
    assert "headrace-store" not in metrics


def test_prometheus_finds_every_job_that_the_alerts_ask_for(render: Render) -> None:
    """By its label `job`: the component, as the monitor has it."""
    asked = {
        job
        for found in re.findall(r'\bjob=~"([^"]+)"', (CHART / "files" / "alerts.yaml").read_text())
        for job in found.split("|")
    }
    for settings in ((), ("--set", "monitoring.kind=podMonitor")):
        objects = render("observability", *settings)
        (monitor,) = [o for o in objects if o["kind"] in ("ServiceMonitor", "PodMonitor")]
        named_ports = {
            job: pod["spec"]["containers"][0]["ports"][0]["name"]
            for pod in services(objects).values()
            if (job := pod["metadata"]["labels"][monitor["spec"]["jobLabel"]])
        }
        assert named_ports == dict.fromkeys(asked, "http")
        (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["authorization"] == {"credentials": {"name": "headrace-metrics", "key": "token"}}
        for pod in services(objects).values():
            (volume,) = (v for v in pod["spec"]["volumes"] if v["name"] == "metrics")
            assert volume["secret"]["secretName"] == "headrace-metrics"
        (chosen,) = monitor["spec"]["selector"]["matchExpressions"]
        assert set(chosen["values"]) == asked
    assert "headrace-broker-metrics" not in services(
        render("observability", "--set", "monitoring.broker.enabled=false")
    )


def test_bundled_servers_go_where_they_are_told_and_are_mended_by_an_upgrade(render: Render) -> None:
    """In order, Kubernetes would wait for a pod that can't start before it replaced it: by hand alone would it go."""
    servers = ("mosquitto", "kafka", "registry", "store")
    told = ",".join(f"bundled.{s}.nodeSelector.disk={s},bundled.{s}.tolerations[0].key={s}" for s in servers)
    found = named(render("dev", "--set", told), "StatefulSet")
    for server in servers:
        spec = found[f"headrace-{server}"]["spec"]
        assert spec["podManagementPolicy"] == "Parallel"
        pod = spec["template"]["spec"]
        assert (pod["nodeSelector"], pod["tolerations"]) == ({"disk": server}, [{"key": server}])
    assert {s["spec"]["podManagementPolicy"] for s in found.values()} == {"Parallel"}


def test_the_rules_and_dashboards_are_the_files(render: Render) -> None:
    objects = render("observability")
    rules = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    assert [r["spec"] for r in named(objects, "PrometheusRule").values()] == [rules]
    boards = [m["data"] for m in named(objects, "ConfigMap").values() if "grafana_dashboard" in m["metadata"]["labels"]]
    assert {name: json.loads(text) for board in boards for name, text in board.items()} == {
        f.name: json.loads(f.read_text()) for f in CHART.glob("files/dashboards/*.json")
    }


def _replaced(before: list[Object], after: list[Object]) -> set[str]:
    """The services whose pods differ, and so are replaced."""
    old, new = services(before), services(after)
    assert old.keys() == new.keys()
    return {name for name in old if old[name] != new[name]}


def _jobs(objects: list[Object], component: str = "") -> set[str]:
    jobs = (o for o, _ in templates(objects) if o["kind"] == "Job")
    wanted = (j for j in jobs if component in ("", j["metadata"]["labels"]["app.kubernetes.io/component"]))
    return {j["metadata"]["name"] for j in wanted}
