"""The database behind hub: SQLite for one process, PostgreSQL for several. Writers come one after another.

A change that was answered is on the disk: SQLite runs with synchronous=FULL, PostgreSQL as it ships.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from headrace.errors import ConfigError, FatalError, TransientError

KINDS = "sqlite:////PATH, or postgresql://USER:PASSWORD@HOST/NAME"
# Held by a writer for its transaction, so that numbers are committed in the order in which they were given.
_WRITERS = 0x4865_6164_0001
PUBLISHER, WATCHER = 0x4865_6164_0002, 0x4865_6164_0003  # held by the one hub that publishes, that sees devices
_LIMITS = "-c lock_timeout=15s -c statement_timeout=120s"  # of PostgreSQL
_PRAGMAS = (
    "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON", "PRAGMA busy_timeout=10000"
)  # fmt: skip


class Database:
    """Connections to one database. ConfigError for a URL that can't be used. `close` it at the end."""

    def __init__(self, url: str) -> None:
        self._writing = threading.Lock()
        self._engine = _engine(url)
        self._lite = self._engine.dialect.name == "sqlite"

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's own."""
        return self._engine

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one moment of the database. TransientError while it is away."""
        with _translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction of the one writer, committed at the end of the block, undone when the block raises.

        TransientError while the database is away; then nothing is committed, or, when it went away while it committed,
        perhaps all of it.
        """
        with self._writing, _translated(), self._engine.connect() as plain:
            connection = plain.execution_options(writes=True)
            with connection.begin():
                if not self._lite:
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")
                yield connection

    @contextmanager
    def lead(self, lock: int) -> Iterator["Lead"]:
        """The right that `lock` stands for, to be asked for with `held`, until the end of the block."""
        if self._lite:
            yield Lead(None, lock)
            return
        with _translated(), self._engine.connect() as connection:
            lead = Lead(connection.execution_options(isolation_level="AUTOCOMMIT"), lock)
            try:
                yield lead
            finally:
                connection.invalidate()  # the lock ends with the session, not with its return to the pool

    def migrate(self, revision: str = "head") -> None:
        """Bring the tables up to date, or to a revision of hub/migrations. FatalError when a newer hub made them."""
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        with self.write() as connection:
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, revision)
            except CommandError as e:
                raise FatalError(
                    f"the database is not this hub's: {e}. A newer hub has used it: run that version again"
                ) from None


class Lead:
    """One session's wish for a lock. `connection`: None where there is only one hub anyway."""

    def __init__(self, connection: Connection | None, lock: int) -> None:
        self._connection, self._lock, self._held = connection, lock, connection is None

    def held(self) -> bool:
        """Whether this session has the lock, having tried for it. TransientError when the session has ended."""
        if self._connection is None:
            return True
        with _translated():
            wish = "SELECT 1" if self._held else f"SELECT pg_try_advisory_lock({self._lock})"
            self._held = bool(self._connection.exec_driver_sql(wish).scalar())
        return self._held


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
            raise ConfigError(f"hub.serve.database: {parsed.drivername} is not supported. Give {KINDS}")
        if parsed.get_backend_name() == "sqlite":
            _make_place(parsed.database or "")
        asked = {"connect_timeout": 5, "options": _LIMITS} if parsed.get_backend_name() == "postgresql" else {}
        engine = create_engine(parsed, pool_pre_ping=True, pool_timeout=10.0, connect_args=asked)
    except (ArgumentError, NoSuchModuleError):
        raise ConfigError(f"hub.serve.database: not a database's URL. Give {KINDS}") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _connected)
        event.listen(engine, "begin", _begin)
    return engine


def _make_place(path: str) -> None:
    """The folder and the file, for this user only."""
    if not path.startswith("/"):
        raise ConfigError(f"hub.serve.database: sqlite:///{path}: give an absolute path, with four slashes: {KINDS}")
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
    except OSError as e:
        raise ConfigError(f"hub.serve.database: {e.filename or file}: {e.strerror}. Give a file in a folder of its own"
                          ) from None  # fmt: skip


def _connected(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says so, not where sqlite3 thinks fit
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as e:
        raise TransientError(f"hub's database: {str(e.orig).strip().splitlines()[0]}") from e
    except SQLAlchemyError as e:
        raise TransientError(f"hub's database: {type(e).__name__}: {str(e).splitlines()[0]}") from e
