"""SeaweedFS as Compose starts it, with the files that its job `setup` makes: open for S3 alone. And as the chart does,
where S3 has TLS.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from headrace.config import Config
from headrace.config.connect import Store
from headrace.errors import HeadraceError
from headrace.stack import compose, ports, store
from headrace.stack.plan import DEFAULT_CONFIG
from headrace.store.base import Encrypting
from headrace.store.open import open_store
from tests.integration.test_closed_store import anything, asked, refused
from tests.stack import ROOT
from tests.unit.test_compose_setup import NAMES
from tests.waiting import until

pytestmark = pytest.mark.integration
GRPC = ("master", "volume", "filer", "s3")


class Composed:
    """Its ports by name, and its S3."""

    def __init__(self, root: Path, *, secured: bool) -> None:
        files = root / "store"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compose, "SEAWEEDFS_FILES", files)
            patch.setattr(os, "chown", lambda *_: None)
            for name in NAMES:
                (root / name).mkdir()
            (root / "given").mkdir()
            compose.setup(root, root / "given", {}, Config.model_validate(DEFAULT_CONFIG))
        taken: set[int] = set()
        names = ("master", "volume", "filer", "s3", *(f"{n}.grpc" for n in GRPC))
        self.ports = {name: ports.free(taken) for name in names}
        service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["store"]
        command = [c for c in service["command"] if not c.startswith(("-s3.port=", "-s3.config="))]
        places = {"dir": root / "data", "s3.config": files / "s3.json"}
        if secured:
            places |= {"s3.cert.file": files / "store.pem", "s3.key.file": files / "store.key"}
        tls = {"tls": {"enabled": True, "ca_file": files / "ca.pem"}} if secured else {}
        doors = {f"{n.removesuffix('.grpc')}.port{'.grpc' * ('.' in n)}": port for n, port in self.ports.items()}
        flags = [f"-{k}={v}" for k, v in {**doors, **places}.items()]
        (root / "data").mkdir()
        self.log = root / "log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [str(store.find()), "-logtostderr=true", *command, *flags],
                cwd=files, env={**os.environ, "HOME": str(root)}, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        keys = {k: (root / "secrets" / f"s3_{k}").read_text().strip() for k in ("access_key", "secret_key")}
        sse = {"sse": {"kind": "s3"}}
        self.s3 = open_store(Store.model_validate({"endpoint": f"127.0.0.1:{self.ports['s3']}", **keys, **sse, **tls}))
        self.own = anything()
        self.own.load_cert_chain(files / "store.pem", files / "store.key")
        self.secrets = list(keys.values())


@pytest.fixture(scope="module", params=[False, True], ids=["compose", "chart"])
def composed(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Composed]:
    it = Composed(tmp_path_factory.mktemp("composed"), secured=request.param)
    try:

        def stores() -> bool:
            assert it.process.poll() is None
            it.s3.ensure_bucket()
            return it.s3.put("first", b"1")

        until(stores, 120, lambda: it.log.read_text()[-3000:], not_yet=(HeadraceError,))
        yield it
    finally:
        it.process.kill()
        it.process.wait()
        for port in it.ports.values():
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink()


def test_it_stores_and_encrypts(composed: Composed) -> None:
    large = b"a reading that nobody else may read" * 300_000
    composed.s3.put("large", large)
    assert composed.s3.get("large") == large
    assert isinstance(composed.s3, Encrypting)
    assert composed.s3.encryption("large").as_asked


@pytest.mark.parametrize("name", [f"{n}.grpc" for n in GRPC])
def test_its_grpc_is_closed(composed: Composed, name: str) -> None:
    """Of S3's, all containers of the network reach the port."""
    assert refused(composed.ports[name], anything())
    assert not refused(composed.ports[name], composed.own), "else the test would prove nothing"


def test_master_and_filer_answer_nobody(composed: Composed) -> None:
    for name, path in {"master": "/dir/lookup?volumeId=1&read=yes", "filer": "/buckets/headrace/first"}.items():
        assert asked(composed.ports[name], path, "GET", "http") == 400
        assert asked(composed.ports[name], path, "GET", "https") == 0


def test_no_secret_stands_in_its_log(composed: Composed) -> None:
    assert not [s for s in composed.secrets if s in composed.log.read_text()]
