"""What the rows in the lake say: how many a file has, and which are there twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.config import Config
from headrace.lake import manifest, remote
from headrace.lake.manifest import DataFile, Visible
from headrace.lake.remote import literal
from headrace.store.base import ObjectStore

if TYPE_CHECKING:
    import duckdb

MEMORY = "512MB"  # for DuckDB, while it verifies: what is more goes to the folder for temporary files
# One pass over the files gives all that is asked of a topic's rows: to open a small file costs more than to read it.
# Rows have numbers only, beside what devices say: a file, its partition and its incarnation (`log`) are one of `files`,
# an event id is a UUID of the same 16 bytes.
_FILES = """
CREATE OR REPLACE TEMP TABLE files AS
SELECT unnest({schemas})::INT AS schema_id, unnest({places})::INT AS place, unnest({files})::INT AS f,
       unnest({partitions})::INT AS p, unnest({logs})::INT AS log
"""
_ROWS = """
SELECT f, p, log, o, se, so, si, id, device, boot, seq, t
FROM (
    SELECT file_index::INT AS place, _offset AS o, _src_epoch AS se, _src_offset AS so, _src_index AS si,
           _event_id::UUID AS id, {numbers}
    FROM read_parquet([{files}])
) JOIN (FROM files WHERE schema_id = {schema}) USING (place)
"""
_NO_ROWS = """
SELECT NULL::INT AS f, NULL::INT AS p, NULL::INT AS log, NULL::BIGINT AS o, NULL::INT AS se, NULL::BIGINT AS so,
       NULL::INT AS si, NULL::UUID AS id WHERE false
"""
_NUMBERS = 'device_id AS device, {boot}::VARCHAR AS boot, "{sequence}"::BIGINT AS seq, event_time AS t'
_NO_NUMBERS = "{device} AS device, NULL::VARCHAR AS boot, NULL::BIGINT AS seq, {time} AS t"


class _Once(NamedTuple):
    """What no two rows may have in common. Of those that do, the first in `order` is no copy."""

    columns: tuple[str, ...]
    order: str
    where: str = "true"


# A source is one reading within one incarnation (`log`) of the topic: positions begin again when the raw topic is made
# anew, and the clean one with it. Copies across two incarnations of a clean topic are recognised by event id only.
_ONCE = (
    _Once(("log", "p", "o"), "f, row"),
    _Once(("log", "p", "se", "so", "si"), "o, f, row", "so IS NOT NULL"),
    _Once(("id",), "o, log, p, f, row", "id IS NOT NULL"),
)
_TWICE = """
CREATE OR REPLACE TEMP TABLE twice AS SELECT {columns} FROM found WHERE {where} GROUP BY {columns} HAVING count(*) > 1
"""
_AGAIN = """
INSERT INTO again SELECT row, p FROM (
    SELECT row, p, row_number() OVER (PARTITION BY {columns} ORDER BY {order}) AS nth
    FROM (SELECT rowid AS row, * FROM found WHERE {where}) AS found SEMI JOIN twice ON ({same})
) WHERE nth > 1
"""
_EXCESS = "SELECT p, count(*) FROM (SELECT DISTINCT row, p FROM again) GROUP BY p"


@dataclass(frozen=True)
class Rows:
    """A topic's rows. Counts are by partition; `files` by object key, of those that count."""

    visible: Visible
    files: dict[str, int] = field(default_factory=dict)
    stored: dict[int, int] = field(default_factory=dict)
    duplicates: dict[int, int] = field(default_factory=dict)  # rows beyond the first of a reading or an offset
    numbered: bool = False  # whether the table `found` has the devices' own numbers


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
        if not visible.files:
            self._lake.execute(f"CREATE OR REPLACE TEMP TABLE found AS {_NO_ROWS}")
            return Rows(visible)
        by_schema = visible.by_schema()
        self._number(visible, by_schema)
        parts = []
        for schema, of_schema in by_schema.items():
            # As a parameter the list of files would import pandas first.
            files = [literal(self._root + f.key) for f in of_schema]
            numbers = self._numbers(files[0], numbering)
            parts.append(_ROWS.format(numbers=numbers, files=", ".join(files), schema=schema))
        self._lake.execute(f"CREATE OR REPLACE TEMP TABLE found AS {' UNION ALL '.join(parts)}")
        return Rows(
            visible,
            {visible.files[f].key: n for f, n in self.all("SELECT f, count(*) FROM found GROUP BY f")},
            dict(self.all("SELECT p, count(*) FROM found GROUP BY p")),
            self._duplicates(),
            numbered=numbering is not None,
        )

    def _number(self, visible: Visible, by_schema: Mapping[int, Sequence[DataFile]]) -> None:
        """Make the table of files: with the place that each has among those of its schema, in which they are read."""
        numbers = {f.key: i for i, f in enumerate(visible.files)}  # in order of their keys
        logs = {log: i for i, log in enumerate(sorted({f.topic_id for f in visible.files}))}
        placed = [(schema, place, f) for schema, files in by_schema.items() for place, f in enumerate(files)]
        columns = {
            "schemas": [schema for schema, _, _ in placed],
            "places": [place for _, place, _ in placed],
            "files": [numbers[f.key] for _, _, f in placed],
            "partitions": [f.partition for _, _, f in placed],
            "logs": [logs[f.topic_id] for _, _, f in placed],
        }
        self._lake.execute(_FILES.format(**columns))

    def _duplicates(self) -> dict[int, int]:
        """How many rows of a partition are there again: by their offset, their source or their event id.

        Only rows that have something in common are put in order: these are few, or memory would be the least worry.
        """
        self._lake.execute("CREATE OR REPLACE TEMP TABLE again (row BIGINT, p INT)")
        for once in _ONCE:
            columns = ", ".join(once.columns)
            self._lake.execute(_TWICE.format(columns=columns, where=once.where))
            if self.all("SELECT 1 FROM twice LIMIT 1"):
                same = " AND ".join(f"found.{c} IS NOT DISTINCT FROM twice.{c}" for c in once.columns)
                self._lake.execute(_AGAIN.format(columns=columns, where=once.where, order=once.order, same=same))
        return dict(self.all(_EXCESS))

    def _numbers(self, file: str, numbering: Numbering | None) -> str:
        """The further columns to select from files of the same schema as `file`, an SQL literal."""
        if numbering is None:
            return _NO_NUMBERS.format(device="NULL::VARCHAR", time="NULL::TIMESTAMPTZ")
        there = {name for name, *_ in self.all(f"DESCRIBE FROM read_parquet({file})")}
        if numbering.sequence not in there:
            return _NO_NUMBERS.format(device="device_id", time="event_time")
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
