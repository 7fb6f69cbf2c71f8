"""A Kubernetes of one's own on loopback: etcd, API server, controllers and scheduler, and nodes that kwok pretends."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from headrace.errors import FatalError
from headrace.runtime.sockets import listening
from headrace.stack import ports
from tests.chart.api import Api, Object, until
from tests.chart.tools import Tools
from tests.waiting import running

STAGES = Path(__file__).with_name("kwok.yaml")
ZONES = ("a", "b", "c")  # one node in each: enough for every spread and anti-affinity of three replicas


@dataclass(frozen=True)
class Cluster:
    """A running control plane, and how Helm finds it."""

    api: Api
    kubeconfig: Path


@contextmanager
def cluster(folder: Path, tools: Tools) -> Iterator[Cluster]:
    """Starts one in `folder`, with what its servers log; stops it, whatever happens. FatalError where one dies."""
    taken: set[int] = set()
    client, peer, secure = (ports.free(taken) for _ in range(3))
    token = secrets.token_urlsafe(24)
    files = _Files(folder, secure, token)
    with ExitStack() as servers:

        def start(name: str, *flags: str) -> None:
            servers.enter_context(_process(tools.folder / name, [f"--{f}" for f in flags], folder))

        start(
            "etcd",
            f"data-dir={folder / 'etcd'}",
            f"listen-client-urls=http://127.0.0.1:{client}",
            f"advertise-client-urls=http://127.0.0.1:{client}",
            f"listen-peer-urls=http://127.0.0.1:{peer}",
            f"initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"initial-cluster=default=http://127.0.0.1:{peer}",
            "unsafe-no-fsync",
        )
        until(lambda: listening(client), 60, f"etcd (its log is in {folder})")
        start(
            "kube-apiserver",
            f"etcd-servers=http://127.0.0.1:{client}",
            f"secure-port={secure}",
            "bind-address=127.0.0.1",
            f"cert-dir={files.certificate.parent}",
            f"service-account-key-file={files.key}",
            f"service-account-signing-key-file={files.key}",
            "service-account-issuer=https://kubernetes.default.svc",
            f"token-auth-file={files.tokens}",
            "authorization-mode=RBAC",
            "service-cluster-ip-range=10.96.0.0/16",
        )
        api = Api(secure, token, files.certificate)
        servers.callback(api.close)
        ready = "the API server"
        until(lambda: files.certificate.is_file() and api.ask("GET", "/readyz")[0] == 200, 120, f"{ready} ({folder})")
        start(
            "kube-controller-manager",
            f"kubeconfig={files.kubeconfig}",
            f"service-account-private-key-file={files.key}",
            f"root-ca-file={files.certificate}",
            "use-service-account-credentials=true",
            "leader-elect=false",
            "secure-port=0",
            # The pretended nodes send no heartbeat: after 50 s they would be not ready, and their pods neither.
            "node-monitor-grace-period=24h",
        )
        start(
            "kube-scheduler",
            f"kubeconfig={files.kubeconfig}",
            f"authentication-kubeconfig={files.kubeconfig}",
            f"authorization-kubeconfig={files.kubeconfig}",
            "leader-elect=false",
            "secure-port=0",
        )
        start("kwok", f"kubeconfig={files.kubeconfig}", "manage-all-nodes=true", f"config={STAGES}")
        _furnish(api, tools)
        yield Cluster(api, files.kubeconfig)


class _Files:
    """What the servers read: keys, tokens, and where each finds the API server."""

    def __init__(self, folder: Path, port: int, token: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "certificates" / "apiserver.crt"
        self.key, self.tokens, self.kubeconfig = (folder / n for n in ("accounts.key", "tokens.csv", "kubeconfig"))
        for file in (self.key, self.tokens, self.kubeconfig):
            file.touch(mode=0o600)
        private = ec.generate_private_key(ec.SECP256R1())
        self.key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        self.tokens.write_text(f'{token},admin,admin,"system:masters"\n', encoding="ascii")
        server = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(self.certificate)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")


@contextmanager
def _process(program: Path, flags: list[str], folder: Path) -> Iterator[None]:
    log = folder / f"{program.name}.log"
    with running([str(program), *flags], log, cwd=folder) as started:
        yield
        if started.poll() is not None:
            raise FatalError(f"{program.name} ended by itself:\n{log.read_text(errors='replace')[-2000:]}")


def _furnish(api: Api, tools: Tools) -> None:
    """Nodes, storage classes, and the resource types of those whose resources the chart may ask for."""
    for zone in ZONES:
        labels = {"kubernetes.io/hostname": f"node-{zone}", "topology.kubernetes.io/zone": f"zone-{zone}"}
        labels |= {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        api.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{zone}", "labels": labels}})
    api.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "headrace.test/volume",
        }
    )
    documents = [d for f in tools.definitions for d in yaml.load_all(f.read_bytes(), yaml.CSafeLoader) if d]
    for document in documents:
        # Not applied: the server would note an owner for each of their thousands of fields.
        api.call("POST", api.kind(document).path(), document)
    until(lambda: all(_served(api, d["spec"]) for d in documents), 60, "the CustomResourceDefinitions")
    until(lambda: all(_ready(node) for node in api.list("Node", "")), 60, "the nodes")


def _served(api: Api, definition: Object) -> bool:
    versions = [v["name"] for v in definition["versions"] if v["served"]]
    paths = [f"/apis/{definition['group']}/{version}/{definition['names']['plural']}" for version in versions]
    return all(api.ask("GET", path)[0] == 200 for path in paths)


def _ready(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
