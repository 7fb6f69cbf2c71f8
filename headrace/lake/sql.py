"""SQL over the lake with DuckDB: every stream is a view, read from the object store where it lies."""

import re
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.contracts.sqlnames import is_word, quoted
from headrace.errors import ConfigError
from headrace.lake import remote

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from headrace.config import Config

# Buckets of time in UTC, as time_bucket makes them (from Monday, 2000-01-03), with whole numbers: date_trunc and
# time_bucket ask a calendar for the time zone of each row, and cost 11 and 5 times as much. `//` rounds towards zero,
# so times before the first bucket of 1970 go another way. What is made of `width` alone is computed once.
_ORIGIN = "946857600000000 % epoch_us(width)"
_BUCKET = f"""
CREATE MACRO bucket(t, width) AS CASE
    WHEN extract(month FROM width) + 12 * extract(year FROM width) <> 0
    THEN error('bucket: months and years have no fixed length. Write date_trunc(''month'', event_time)')
    WHEN t >= make_timestamptz({_ORIGIN})
    THEN make_timestamptz((epoch_us(t) - {_ORIGIN}) // epoch_us(width) * epoch_us(width) + {_ORIGIN})
    ELSE make_timestamptz(
        epoch_us(t) - ((epoch_us(t) - {_ORIGIN}) % epoch_us(width) + epoch_us(width)) % epoch_us(width)
    ) END
"""
# DuckDB's errors that mean that the lake is away or refuses us, not that the SQL is wrong.
_AWAY = ("HTTPException", "IOException", "ConnectionException")


def query(sql: str, *, config: "Config | str | Path | None" = None, state: str | Path | None = None) -> "pd.DataFrame":
    """The answer to one SQL query over the lake, as a pandas.DataFrame.

    Every stream is a view: the contract's columns (timestamps in UTC), `date` (the partition, UTC) and the columns
    `_topic`, `_partition`, `_offset`, ... that say where a row came from. Readings that the archive has not stored yet
    are not there. `config` is a Config or the path of one; without it, that of the stack in the folder `state` (else
    HEADRACE_CONFIG, HEADRACE_STATE, or the user's own stack). Raises ConfigError for SQL that is wrong or would change
    something, TransientError while the store is away.
    """
    cfg = settings(config, state)
    with connect(cfg, sql) as lake, explained(cfg):
        return frame(run(lake, sql))


def settings(config: "Config | str | Path | None", state: str | Path | None) -> "Config":
    """The configuration that `query` takes for these arguments."""
    from headrace.config import Config
    from headrace.config.find import find

    if isinstance(config, Config):
        return config
    return find(Path(config) if config is not None else None, Path(state) if state is not None else None)


def frame(answer: "duckdb.DuckDBPyConnection") -> "pd.DataFrame":
    """What `run` gave, as a pandas.DataFrame."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DuckDB's own use of pandas does not concern the caller
        return answer.df()


@contextmanager
def connect(
    cfg: "Config", sql: str, *, empty: Callable[[str], None] = lambda _: None, memory: str | None = None
) -> "Iterator[duckdb.DuckDBPyConnection]":
    """A DuckDB in memory with a view for each stream that `sql` may use, on the store of `cfg`.

    `empty` is called with the name of each stream without rows in the lake; its view has the contract's columns.
    `memory`: how much DuckDB may take, such as 1GB; what is more goes to the folder for temporary files. Rows have no
    order then. Without it DuckDB takes up to 80 % of the machine's memory.
    """
    import duckdb

    from headrace.lake import views

    # Nothing is ever downloaded: what is needed is in the wheels.
    lake = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # The one in the wheel is trusted as DuckDB itself is, beside it. To check its signature takes 0.14 s.
            "allow_unsigned_extensions": True,
            # DuckDB's default is the working folder, which is read-only in a container. It removes what it makes.
            "temp_directory": str(Path(tempfile.gettempdir()) / f"headrace-duckdb-{uuid.uuid4().hex[:12]}"),
            **({"memory_limit": memory, "preserve_insertion_order": False} if memory is not None else {}),
        },
    )
    try:
        with explained(cfg):
            lake.execute("SET TimeZone = 'UTC'")
            lake.execute("SET enable_progress_bar = false")
            lake.execute(_BUCKET)
            remote.attach(lake, cfg.store)
            lake.execute("SET allow_unsigned_extensions = false")
            views.create(lake, cfg, sql, empty)
            lake.execute("SET lock_configuration = true")
        yield lake
    finally:
        lake.close()


def run(lake: "duckdb.DuckDBPyConnection", sql: str) -> "duckdb.DuckDBPyConnection":
    """Run `sql` and return the connection, from which to fetch the last statement's result.

    Raises ConfigError when `sql` holds no query, or a statement that is not a query.
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
    """Turn DuckDB's errors into ours. They keep DuckDB's words, which point at the place in the SQL."""
    import duckdb

    try:
        yield
    except duckdb.Error as e:
        text = str(e).strip()
        if type(e).__name__ in _AWAY:
            raise remote.refused(cfg.store, text) from None
        if text.startswith("Catalog Error: Table with name"):
            from headrace.lake import views

            # DuckDB guesses among its own tables, since there are views only of streams that the SQL names.
            text = re.sub(r'\nDid you mean "[^"]*"\?', "", text)
            text += f"\n\nThis configuration has the tables {', '.join(views.names(cfg)) or '(none)'}"
        elif text.startswith("Parser Error") and (words := [quoted(s) for s in cfg.streams if is_word(s)]):
            text += f"\n\nA table whose name is a keyword of SQL needs double quotes: {', '.join(words)}"
        raise ConfigError(f"this SQL does not run:\n{text}") from None


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
        raise ConfigError(f"only queries are allowed, not {kind.name}: only the archive writes the lake's files")
