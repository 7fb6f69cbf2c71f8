"""What the rows in the lake say: how many a file has, and which are there twice."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.config import Config
from headrace.lake import manifest, remote
from headrace.lake.manifest import Visible
from headrace.lake.remote import literal
from headrace.store.base import ObjectStore

if TYPE_CHECKING:
    import duckdb

# One pass over the files gives all that is asked of a topic's rows: to open a small file costs more than to read it.
_ROWS = """
SELECT filename AS file, regexp_extract(filename, '-p(\\d+)-[oc]\\d+[^/]*$', 1)::INT AS p,
       regexp_replace(filename, '^.*/(.*)-p\\d+-[oc]\\d+[^/]*$', '\\1') AS log,
       _offset AS o, _src_epoch AS se, _src_offset AS so, _src_index AS si, _event_id AS id{numbers}
FROM read_parquet([{files}], filename = true)
"""
_NO_ROWS = """
SELECT NULL::VARCHAR AS file, NULL::INT AS p, NULL::VARCHAR AS log, NULL::BIGINT AS o, NULL::INT AS se,
       NULL::BIGINT AS so, NULL::INT AS si, NULL::BLOB AS id WHERE false
"""
_NUMBERS = ', device_id AS device, {boot}::VARCHAR AS boot, "{sequence}"::BIGINT AS seq, event_time AS t'
_NO_NUMBERS = ", device_id AS device, NULL::VARCHAR AS boot, NULL::BIGINT AS seq, event_time AS t"
# A source is one reading within one incarnation (`log`) of the topic: positions begin again when the raw topic is made
# anew, and the clean one with it. Copies across two incarnations of a clean topic are recognised by event id only.
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
    """A topic's rows. Counts are by partition; `files` by object key, of those that count."""

    visible: Visible
    files: dict[str, int] = field(default_factory=dict)
    stored: dict[int, int] = field(default_factory=dict)
    duplicates: dict[int, int] = field(default_factory=dict)  # rows beyond the first of a reading or an offset
    numbered: bool = False  # whether the table `found` has the columns device, boot, seq and t


class Numbering(NamedTuple):
    """The fields in which devices number their readings. `boot` is None where the contract has none."""

    sequence: str
    boot: str | None


class Source:
    """Reads provenance columns with DuckDB, where the files are. `lake` is from `sql.connect`."""

    def __init__(self, lake: "duckdb.DuckDBPyConnection", cfg: Config, store: ObjectStore) -> None:
        self._lake, self._store = lake, store
        self._root = f"{remote.root(cfg.store)}/"

    def load(self, topic: str, numbering: Numbering | None = None) -> Rows:
        """Read a topic's rows into the table `found`, which all other questions are about.

        With `numbering` the table has the devices' numbers too, null in files whose schema has no such field.
        """
        visible = manifest.visible(self._store, topic)
        by_schema = {n: [literal(self._root + f.key) for f in files] for n, files in visible.by_schema().items()}
        numbers = {schema: self._numbers(files[0], numbering) for schema, files in by_schema.items()}
        # As a parameter the list of files would import pandas first.
        parts = [_ROWS.format(numbers=numbers[n], files=", ".join(files)) for n, files in by_schema.items()]
        self._lake.execute(f"CREATE OR REPLACE TEMP TABLE found AS {' UNION ALL '.join(parts) or _NO_ROWS}")
        if not parts:
            return Rows(visible)
        files = self.all("SELECT file, count(*) FROM found GROUP BY 1")
        twice = any(self.all(f"{sql} LIMIT 1") for sql in _TWICE)
        return Rows(
            visible,
            {file.removeprefix(self._root): n for file, n in files},
            dict(self.all("SELECT p, count(*) FROM found GROUP BY 1")),
            dict(self.all(_EXCESS)) if twice else {},
            numbered=numbering is not None,
        )

    def _numbers(self, file: str, numbering: Numbering | None) -> str:
        """The further columns to select from files of the same schema as `file`, an SQL literal."""
        if numbering is None:
            return ""
        there = {name for name, *_ in self.all(f"DESCRIBE FROM read_parquet({file})")}
        if numbering.sequence not in there:
            return _NO_NUMBERS
        boot = f'"{numbering.boot}"' if numbering.boot in there else "NULL"
        return _NUMBERS.format(sequence=numbering.sequence, boot=boot)

    def sources_between(self, partition: int, start: int, end: int) -> int:
        """How many different readings, from raw offsets [start, end), the rows of a partition hold."""
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

    def all(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL over the lake. Returns all rows of the answer."""
        return self._lake.execute(sql).fetchall()
