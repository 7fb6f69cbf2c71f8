"""What the rows in the lake themselves say: how many a file has, and which are there twice."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.config import Config
from headrace.lake import layout, remote
from headrace.lake.remote import literal
from headrace.store.base import ObjectStore

if TYPE_CHECKING:
    import duckdb

_LOAD = """
CREATE OR REPLACE TEMP TABLE found AS
SELECT filename AS file, regexp_extract(filename, '-p(\\d+)-o\\d+-s\\d+\\.parquet$', 1)::INT AS p,
       regexp_replace(filename, '^.*/(.*)-p\\d+-o\\d+-s\\d+\\.parquet$', '\\1') AS log,
       _offset AS o, _src_epoch AS se, _src_offset AS so, _src_index AS si, _event_id AS id
FROM read_parquet([{files}], filename = true)
"""
_NUMBERED = """
SELECT device_id AS device, {boot} AS boot, "{sequence}"::BIGINT AS seq, event_time AS t,
       regexp_replace(filename, '^.*/(.*)-p\\d+-o\\d+-s\\d+\\.parquet$', '\\1') AS log, _partition AS p, _offset AS o
FROM read_parquet([{files}], filename = true)
"""
# A source is one reading within one incarnation (`log`) of the topic: positions begin again where the raw topic was
# made anew, and the clean one with it. What came again in a clean topic made anew is told by its event id alone.
_TWICE = (
    "SELECT 1 FROM found GROUP BY log, p, o HAVING count(*) > 1",
    "SELECT 1 FROM found WHERE so IS NOT NULL GROUP BY log, p, se, so, si HAVING count(*) > 1",
    "SELECT 1 FROM found WHERE id IS NOT NULL GROUP BY id HAVING count(*) > 1",
)
_EXCESS = """
SELECT p, count(*) FROM (
    SELECT p, row_number() OVER (PARTITION BY log, p, o ORDER BY file) > 1
        OR (so IS NOT NULL AND row_number() OVER (PARTITION BY log, p, se, so, si ORDER BY o) > 1)
        OR (id IS NOT NULL AND row_number() OVER (PARTITION BY id ORDER BY o) > 1) AS again
    FROM found
) WHERE again GROUP BY p
"""


@dataclass(frozen=True)
class Rows:
    """A topic's rows. Counts are by partition; `files` by object key."""

    files: dict[str, int] = field(default_factory=dict)
    stored: dict[int, int] = field(default_factory=dict)
    duplicates: dict[int, int] = field(default_factory=dict)  # rows beyond the first of a reading or an offset


class Source:
    """Reads provenance columns with DuckDB, where the files lie. `lake` is from `sql.connect`."""

    def __init__(self, lake: "duckdb.DuckDBPyConnection", cfg: Config, store: ObjectStore) -> None:
        self._lake, self._store = lake, store
        self._root = f"{remote.root(cfg.store)}/"

    def load(self, topic: str) -> Rows:
        """Read a topic's rows; what `sources_between` and `held` ask is about the topic loaded last."""
        keys = [i.key for i in self._store.list(f"{layout.folder(topic)}/") if layout.parse_data_key(i.key, topic)]
        self._lake.execute("DROP TABLE IF EXISTS found")
        if not keys:
            self._lake.execute(
                "CREATE TEMP TABLE found (file TEXT, p INT, log TEXT, o BIGINT, se INT, so BIGINT, si INT, id BLOB)"
            )
            return Rows()
        names = ", ".join(literal(self._root + key) for key in keys)
        self._lake.execute(_LOAD.format(files=names))  # as a parameter it would import pandas first
        files = {
            file.removeprefix(self._root): n for file, n in self.all("SELECT file, count(*) FROM found GROUP BY 1")
        }
        twice = any(self.all(f"{sql} LIMIT 1") for sql in _TWICE)
        return Rows(
            files,
            dict(self.all("SELECT p, count(*) FROM found GROUP BY 1")),
            dict(self.all(_EXCESS)) if twice else {},
        )

    def sources_between(self, partition: int, start: int, end: int) -> int:
        """How many different readings the rows of a partition hold that came from raw offsets [start, end)."""
        some = f"FROM found WHERE p = {partition} AND so >= {start} AND so < {end}"
        sql = f"SELECT count(*) FROM (SELECT DISTINCT se, so, si {some})"  # noqa: S608 - numbers
        return int(self.all(sql)[0][0])

    def held(self, sources: Sequence[tuple[int, int, int, int]]) -> int:
        """How many of the given (partition, epoch, offset, item) of the raw topic are rows."""
        if not sources:
            return 0
        values = ", ".join(f"({p}, {epoch}, {offset}, {item})" for p, epoch, offset, item in sources)
        asked = f"(VALUES {values}) AS asked (p, se, so, si)"
        sql = f"SELECT count(*) FROM (SELECT DISTINCT * FROM {asked} SEMI JOIN found USING (p, se, so, si))"  # noqa: S608 - numbers
        return int(self.all(sql)[0][0])

    def scan(self, topic: str, sequence: str, boot: str | None) -> str:
        """A SELECT of a topic's device, boot, seq, t (event time), log, p and o; empty where no row is numbered.

        Files of a schema that has no such field are left out. `sequence` and `boot` are fields' names.
        """
        by_schema: dict[int, list[str]] = {}
        for found in self._store.list(f"{layout.folder(topic)}/"):
            key = layout.parse_data_key(found.key, topic)
            if key is not None:
                by_schema.setdefault(key.schema_id, []).append(literal(self._root + found.key))
        parts = []
        for files in by_schema.values():
            there = {name for name, *_ in self.all(f"DESCRIBE FROM read_parquet({files[0]})")}
            if sequence in there:
                parts.append(
                    _NUMBERED.format(
                        files=", ".join(files),
                        sequence=sequence,
                        boot=f'"{boot}"::VARCHAR' if boot in there else "NULL::VARCHAR",
                    )
                )
        return " UNION ALL ".join(parts)

    def all(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL over the lake; all rows of its answer."""
        return self._lake.execute(sql).fetchall()
