"""The rows of uploaded files in SQL: which upload and row each is, those that count, those that came live as well."""

from collections.abc import Collection

from headrace.lake.remote import literal, name
from headrace.lake.rows import Numbering
from headrace.protocol.names import DEVICE

RETIRED = "_uploads/retired/*.json"
UPLOAD, ROW = "_upload", "_row"
# As headrace.uploads.order makes event ids: 8 bytes of the upload, 4 of the redrive, 4 of the row.
_HEX = "lower(hex(_event_id))"
_COLUMNS = f"substr({_HEX}, 1, 16) AS {UPLOAD}, ('0x' || substr({_HEX}, 25, 8))::BIGINT AS {ROW}"


def rows(body: str, retired: Collection[str]) -> str:
    """The SELECT of the rows of a stream of files with `_upload` and `_row`, without those of retired uploads."""
    out = f"SELECT *, {_COLUMNS} FROM ({body})"  # noqa: S608 - our own SQL
    if not retired:
        return out
    listed = ", ".join(map(literal, sorted(retired)))
    return f"SELECT * FROM ({out}) WHERE {UPLOAD} NOT IN ({listed})"  # noqa: S608 - quoted


def none(body: str) -> str:
    """The SELECT of rows that are of no file, with the same columns."""
    return f"SELECT *, NULL::VARCHAR AS {UPLOAD}, NULL::BIGINT AS {ROW} FROM ({body})"  # noqa: S608 - our own SQL


def beside(filed: str, live: str, numbering: Numbering | None) -> str:
    """The rows of files `filed` without those that came live too: by device, boot and number, where rows have them."""
    if numbering is None:
        return filed
    keys = [DEVICE, *filter(None, (numbering.boot, numbering.sequence))]
    same = " AND ".join(f"f.{name(key)} IS NOT DISTINCT FROM l.{name(key)}" for key in keys)
    chosen = ", ".join(map(name, keys))
    numbered = f"{name(numbering.sequence)} IS NOT NULL"
    return f"SELECT f.* FROM ({filed}) f ANTI JOIN (SELECT {chosen} FROM ({live}) WHERE {numbered}) l ON {same}"  # noqa: S608 - quoted
