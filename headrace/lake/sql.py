"""SQL over the lake with DuckDB: every stream is a view, read from the object store where it lies."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigError, TransientError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from headrace.config import Config
    from headrace.config.connect import Store

EXTENSION = "httpfs.duckdb_extension"
# DuckDB's errors that mean the lake is away, or let nobody in, rather than that the SQL is wrong.
_THREADS = 8
_AWAY = ("HTTPException", "IOException", "ConnectionException")
_REFUSED = ("(HTTP 401", "(HTTP 403")


def query(sql: str, *, config: "Config | str | Path | None" = None, state: str | Path | None = None) -> "pd.DataFrame":
    """The answer to one SQL query over the lake, as a pandas.DataFrame.

    Every stream is a view: the contract's columns (timestamps in UTC), `date` (the partition, UTC) and the columns
    `_topic`, `_partition`, `_offset`, ... that say where a row came from. What the archive has not stored yet is not
    there. `config` is a Config or the path of one; without it, that of the stack in the folder `state` (else
    HEADRACE_CONFIG, HEADRACE_STATE, or the user's own stack). Raises ConfigError for SQL that is wrong or that would
    change something, TransientError when the store is away.
    """
    from headrace.config import Config
    from headrace.config.find import find

    if not isinstance(config, Config):
        config = find(Path(config) if config is not None else None, Path(state) if state is not None else None)
    with connect(config, sql) as lake, explained(config), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DuckDB's own use of pandas is no caller's concern
        return run(lake, sql).df()


@contextmanager
def connect(
    cfg: "Config", sql: str, *, empty: Callable[[str], None] = lambda _: None
) -> "Iterator[duckdb.DuckDBPyConnection]":
    """A DuckDB in memory with a view for each stream that `sql` may mean, on the store of `cfg`.

    `empty` is called with the name of each that has no rows in the lake; its view has the contract's columns.
    """
    import duckdb

    from headrace.lake import views

    # Nothing is ever downloaded: what is needed is in the wheels.
    lake = duckdb.connect(
        ":memory:", config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )
    try:
        with explained(cfg):
            lake.execute("SET TimeZone = 'UTC'")
            lake.execute("SET enable_progress_bar = false")
            if cfg.store.kind == "s3":
                _open_s3(lake, cfg.store)
            elif cfg.store.folder is None or cfg.store.folder.is_file():  # one that is not there yet: nothing is stored
                raise ConfigError(f"store.folder: {cfg.store.folder} is not a folder. Name the one that holds the lake")
            views.create(lake, cfg, sql, empty)
            lake.execute("SET lock_configuration = true")
        yield lake
    finally:
        lake.close()


def run(lake: "duckdb.DuckDBPyConnection", sql: str) -> "duckdb.DuckDBPyConnection":
    """Run `sql` and return the connection, from which the last statement's result can be fetched.

    Raises ConfigError when it holds no query, or a statement that is not one.
    """
    statements = lake.extract_statements(sql)
    if not statements:
        raise ConfigError("no SQL given")
    for statement in statements:
        _refuse_changes(lake, statement, sql)
    for statement in statements:
        lake.execute(statement)
    return lake


@contextmanager
def explained(cfg: "Config") -> Iterator[None]:
    """Turn DuckDB's errors into ours, in its own words, which point at the place in the SQL."""
    import duckdb

    try:
        yield
    except duckdb.Error as e:
        text = str(e).strip()
        if type(e).__name__ in _AWAY:
            where = cfg.store.endpoint if cfg.store.kind == "s3" else cfg.store.folder
            text = text.partition("\n\nLINE ")[0]  # of our own SQL
            if any(code in text for code in _REFUSED):
                words = text.partition("\n\nAuthentication Failure")[0]
                raise ConfigError(
                    f"the lake at {where} refused store.access_key or store.secret_key: {words}. Correct them"
                ) from None
            if "NoSuchBucket" in text:
                raise ConfigError(
                    f"the lake at {where} has no bucket {cfg.store.bucket!r}: `headrace provision` makes it, "
                    "or correct store.bucket"
                ) from None
            raise TransientError(
                f"the lake at {where} can't be read: {text}. Start the store, or correct `store`"
            ) from None
        raise ConfigError(f"this SQL does not run:\n{text}") from None


def _open_s3(lake: "duckdb.DuckDBPyConnection", store: "Store") -> None:
    if store.access_key is None or store.secret_key is None:
        raise ConfigError("store.access_key and store.secret_key: both are needed for kind: s3")
    lake.load_extension(str(_extension()))
    options = {
        "KEY_ID": store.access_key.get_secret_value(),
        "SECRET": store.secret_key.get_secret_value(),
        "ENDPOINT": store.endpoint,
        "REGION": store.region,
        "URL_STYLE": "path",
        "USE_SSL": store.tls.enabled,
    }
    words = ", ".join(f"{k} {literal(v)}" for k, v in options.items())
    try:
        lake.execute(f"CREATE SECRET lake (TYPE s3, {words})")
    except Exception as e:  # noqa: BLE001 - whatever it is, its text holds the keys
        raise ConfigError(f"DuckDB does not take the store's settings ({type(e).__name__})") from None
    # Reading small objects is waiting: more threads than cores keep more requests under way.
    lake.execute(f"SET threads = {max(_THREADS, os.cpu_count() or 1)}")
    lake.execute(f"SET http_timeout = {max(1, int(store.timeout_seconds))}")
    if store.tls.ca_file is not None:
        lake.execute(f"SET ca_cert_file = {literal(str(store.tls.ca_file))}")


def _extension() -> Path:
    """The httpfs extension that the wheel duckdb-extension-httpfs brings, for this DuckDB's version."""
    import duckdb
    import duckdb_extension_httpfs as package

    path = Path(package.__file__).parent / "extensions" / f"v{duckdb.__version__}" / EXTENSION
    if not path.is_file():
        raise ConfigError(
            f"duckdb {duckdb.__version__} and duckdb-extension-httpfs do not fit each other: install the same version"
        )
    return path


def _refuse_changes(lake: "duckdb.DuckDBPyConnection", statement: Any, sql: str) -> None:
    import duckdb

    kinds = duckdb.StatementType
    kind = statement.type
    if kind == kinds.EXPLAIN:
        # `explain analyze` runs what follows: look at that.
        words = statement.query.split(None, 2)
        rest = words[2] if len(words) == 3 and words[1].lower() == "analyze" else " ".join(words[1:])
        for inner in lake.extract_statements(rest):
            _refuse_changes(lake, inner, sql)
    elif kind not in (kinds.SELECT, kinds.CREATE):  # CREATE: of PIVOT; it stays in memory
        raise ConfigError(f"only queries are run, not {kind.name}: the lake's files are written by the archive alone")


def literal(value: object) -> str:
    """A value as SQL text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + str(value).replace("'", "''") + "'"
