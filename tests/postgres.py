"""A PostgreSQL of the tests' own: found where Debian puts it, run as an unprivileged user, on loopback."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.stack import ports
from tests.waiting import until

ABSENT = "needs PostgreSQL: apt-get install postgresql-15 (initdb and postgres on the PATH, or in /usr/lib/postgresql)"


def program(name: str) -> Path:
    """`initdb` or `postgres`. Skips the test where there is none."""
    if found := shutil.which(name):
        return Path(found)
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / name).is_file():
            return folder / name
    pytest.skip(ABSENT)


class Server:
    """A PostgreSQL with an empty database. `url` names it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._user, self._port = folder, _user(), ports.free(set())
        self.url = f"postgresql://headrace:secret@127.0.0.1:{self._port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None
        folder.chmod(0o711)  # the other user comes in, and sees nothing
        data = folder / "data"
        data.mkdir()
        if self._user is not None:
            shutil.chown(data, self._user)
        word = folder / "password"
        word.write_text("secret")
        word.chmod(0o644)
        argv: list[str | Path] = [
            program("initdb"),
            "-D",
            data,
            "-U",
            "headrace",
            "--auth=scram-sha-256",
            f"--pwfile={word}",
        ]
        subprocess.run([*argv, "--no-sync"], check=True, capture_output=True, cwd="/", user=self._user)

    def start(self, seconds: float = 20) -> None:
        """Start it, again if it ends, and wait until it answers. After a kill its last processes have to end first."""
        data, log = self._folder / "data", self._folder / "log"
        argv: list[str | Path] = [program("postgres"), "-D", data, "-p", str(self._port), "-k", data]
        argv += ["-c", "listen_addresses=127.0.0.1"]

        def answers() -> bool:
            if self._process is None or self._process.poll() is not None:
                with log.open("ab") as out:
                    self._process = subprocess.Popen(argv, stdout=out, stderr=out, cwd="/", user=self._user)
            return _answers(self.url)

        until(answers, seconds, log.read_text, pause=0.2)

    def kill(self) -> None:
        """kill -9: it recovers at its next start."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it, and connections to it."""
        if self._process is not None:
            self._process.send_signal(2)
            self._process.wait(20)


@contextmanager
def running() -> Iterator[Server]:
    """A server that answers, as long as the block lasts, in a folder of its own: each pytest that starts closes its
    own folders to other users.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-postgres-") as name:
        server = Server(Path(name))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database, as long as the block lasts."""
    with running() as server:
        yield server.url


def _user() -> str | None:
    """PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return None
    return "postgres" if "postgres" in {p.pw_name for p in pwd.getpwall()} else "nobody"


def _answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
