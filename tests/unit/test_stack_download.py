import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headrace.errors import ConfigError, FatalError, TransientError
from headrace.stack import download


@dataclass
class Server:
    """Serves `files`; cuts a connection after `cut` bytes, as often as `cuts` says; may ignore Range."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut: int = 0
    cuts: int = 0
    ranges: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    it = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            it.asked.append((self.path[1:], wanted))
            if self.path[1:] not in it.files:
                self.send_error(404)
                return
            data = it.files[self.path[1:]]
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and it.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            if it.cuts > 0:
                it.cuts -= 1
                self.wfile.write(data[start : start + it.cut])
            else:
                self.wfile.write(data[start:])

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setattr(download, "PAUSE", 0.001)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        it.url = f"http://127.0.0.1:{httpd.server_address[1]}/"
        thread = threading.Thread(target=lambda: httpd.serve_forever(0.01))
        thread.start()
        yield it
        httpd.shutdown()
        thread.join()


def part(server: Server, cache: Path, files: dict[str, bytes], name: str = "kafka") -> download.Part:
    server.files.update(files)
    pinned = tuple(download.File(path, hashlib.sha256(data).hexdigest(), len(data)) for path, data in files.items())
    return download.Part(name, "1", server.url, pinned, cache / f"{name}-1")


def got(wanted: download.Part) -> int:
    """Fetch it; the bytes that were reported."""
    counts: list[int] = []
    download.fetch([wanted], lambda _, count: counts.append(count))
    return sum(counts)


def test_files_arrive_whole_and_a_second_fetch_asks_for_nothing(server: Server, tmp_path: Path) -> None:
    wanted = part(server, tmp_path, {"a/one.jar": b"1" * 1000, "b/two.jar": b"2" * 500_000})
    assert got(wanted) == wanted.size
    assert (wanted.folder / "two.jar").read_bytes() == b"2" * 500_000
    asked = len(server.asked)
    assert got(wanted) == 0
    assert len(server.asked) == asked


def test_a_cut_connection_is_resumed_where_it_was(server: Server, tmp_path: Path) -> None:
    wanted = part(server, tmp_path, {"one.jar": bytes(range(256)) * 100})
    server.cut, server.cuts = 1000, 2
    assert got(wanted) == wanted.size
    assert [r for _, r in server.asked] == ["", "bytes=1000-", "bytes=2000-"]
    assert (wanted.folder / "one.jar").read_bytes() == server.files["one.jar"]


def test_what_arrived_before_the_program_ended_is_kept(server: Server, tmp_path: Path) -> None:
    wanted = part(server, tmp_path, {"one.jar": bytes(range(256)) * 100})
    server.cut, server.cuts = 100, download.ATTEMPTS
    with pytest.raises(TransientError, match="run the command again"):
        got(wanted)
    assert not wanted.present
    assert got(wanted) == wanted.size
    assert server.asked[-1] == ("one.jar", f"bytes={100 * download.ATTEMPTS}-")


def test_a_server_that_does_not_resume_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    wanted = part(server, tmp_path, {"one.jar": bytes(range(256)) * 100})
    server.cut, server.cuts, server.ranges = 1000, 1, False
    assert got(wanted) == wanted.size
    assert (wanted.folder / "one.jar").read_bytes() == server.files["one.jar"]


@pytest.mark.clause("CR 3.10")
def test_other_bytes_than_the_pinned_ones_are_refused(server: Server, tmp_path: Path) -> None:
    wanted = part(server, tmp_path, {"one.jar": b"good" * 100})
    server.files["one.jar"] = b"evil" * 100
    with pytest.raises(FatalError, match="not the pinned"):
        got(wanted)
    assert not wanted.present


def test_a_damaged_rest_of_an_earlier_run_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    wanted = part(server, tmp_path, {"one.jar": b"good" * 100})
    rest = tmp_path / ".kafka-1.partial" / "one.jar.part"
    rest.parent.mkdir()
    rest.write_bytes(b"evil" * 50)
    assert got(wanted) == wanted.size
    assert (wanted.folder / "one.jar").read_bytes() == b"good" * 100


def test_a_missing_file_is_said_at_once(server: Server, tmp_path: Path) -> None:
    wanted = part(server, tmp_path, {"one.jar": b"x"})
    server.files.clear()
    with pytest.raises(ConfigError, match="404"):
        got(wanted)
    assert len(server.asked) == 1


@pytest.fixture(params=["this Python", "3.11.2"])
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, and without the filters that tarfile has since 3.11.4."""
    if request.param == "3.11.2":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)


@pytest.mark.usefixtures("python")
def test_an_archive_is_unpacked(server: Server, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("lib/main.jar")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"jar"))
    wanted = part(server, tmp_path, {"app.tar.gz": packed.getvalue()}, "apicurio")
    got(wanted)
    assert (wanted.folder / "lib" / "main.jar").read_bytes() == b"jar"
    assert not (wanted.folder / "app.tar.gz").exists()


@pytest.mark.clause("CR 3.10")
@pytest.mark.usefixtures("python")
def test_an_archive_that_leads_out_of_its_folder_is_refused(server: Server, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(tarfile.TarError):
        got(part(server, tmp_path, {"app.tar.gz": packed.getvalue()}, "apicurio"))
    assert not (tmp_path / "outside").exists()


@pytest.mark.clause("CR 3.10")
def test_the_lock_pins_every_file_by_its_hash() -> None:
    for wanted in download.parts(Path("/nowhere")).values():
        assert wanted.base.startswith("https://")
        assert all(len(f.sha256) == 64 and f.size > 0 for f in wanted.files)
        assert len({f.name for f in wanted.files}) == len(wanted.files)


def test_another_lock_means_another_folder(tmp_path: Path) -> None:
    lock = json.loads(download.LOCK.read_text())
    lock["kafka"]["files"][0]["sha256"] = "0" * 64
    (tmp_path / "lock.json").write_text(json.dumps(lock))
    assert download.parts(tmp_path)["kafka"].folder != download.parts(tmp_path, tmp_path / "lock.json")["kafka"].folder
