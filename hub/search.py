"""Finding devices: by words, tag, group, kind and state, page by page."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Connection, Select, delete, func, insert, select

from hub.tables import devices, labels, words

LABEL = {"tag": "#", "group": "@"}  # how a label begins
MOST = 1000  # devices in a page
_AT_ONCE = 500  # ids in one statement


class Query(NamedTuple):
    """What to look for; empty means any. `after`: the last id of the page before; `before`: the first of the next."""

    text: str = ""
    tag: str = ""
    group: str = ""
    kind: str = ""
    state: str = ""
    after: str = ""
    before: str = ""
    limit: int = 100


class Page(NamedTuple):
    """A page of devices, by id. `more`: there are others beyond it, in the direction that was asked for.

    `total`: on all pages; None unless this is the first one.
    """

    rows: list[dict[str, Any]]
    more: bool
    total: int | None


def remember(connection: Connection, rows: Sequence[dict[str, Any]], *, new: bool) -> None:
    """Have these devices found as they are now."""
    if not new:
        for table in (words, labels):
            connection.execute(delete(table).where(table.c.device.in_([row["id"] for row in rows])))
    connection.execute(insert(words), [{"device": row["id"], "words": _words(row)} for row in rows])
    found = [{"label": label, "device": row["id"]} for row in rows for label in _labels(row)]
    if found:
        connection.execute(insert(labels), found)


def page(connection: Connection, query: Query) -> Page:
    """The page that `query` asks for."""
    most = min(query.limit, MOST)
    filtered = _ids(query, connection.dialect.name)
    first = not query.after and not query.before
    count = func.count().over() if filtered is not None and first else None
    statement: Select[Any] = filtered if filtered is not None else select(devices.c.id)
    if count is not None:
        statement = statement.add_columns(count)
    key = statement.selected_columns[0]
    beyond = (key < query.before, key.desc()) if query.before else (key > query.after, key)
    found = connection.execute(statement.where(beyond[0]).order_by(beyond[1]).limit(most + 1)).all()
    total = None
    if first:
        total = _all(connection) if filtered is None else (found[0][1] if found else 0)
    ids = [row[0] for row in found[:most]]
    return Page(_rows(connection, ids[::-1] if query.before else ids), len(found) > most, total)


def _all(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(devices)).scalar_one())


def _rows(connection: Connection, ids: list[str]) -> list[dict[str, Any]]:
    out = []
    for n in range(0, len(ids), _AT_ONCE):
        part = select(devices).where(devices.c.id.in_(ids[n : n + _AT_ONCE])).order_by(devices.c.id)
        out += [dict(row) for row in connection.execute(part).mappings()]
    return out


def _ids(query: Query, dialect: str) -> Select[Any] | None:
    """The ids of what is looked for; None for all. A label is looked up, words are scanned."""
    chosen = [mark + value for name, mark in LABEL.items() if (value := getattr(query, name))]
    parts: list[ColumnElement[bool]] = []
    tables = []
    if chosen:
        tables.append(labels)
        parts.append(labels.c.label == chosen[0])
        parts += [labels.c.device.in_(select(labels.c.device).where(labels.c.label == other)) for other in chosen[1:]]
    if query.text.split():
        tables.append(words)
        place = func.instr if dialect == "sqlite" else func.strpos  # both faster than LIKE
        parts += [place(words.c.words, word) > 0 for word in query.text.lower().split()]
    if query.kind or query.state:
        tables.append(devices)
        parts += [devices.c[name] == getattr(query, name) for name in ("kind", "state") if getattr(query, name)]
    if not tables:
        return None
    keys = [devices.c.id if table is devices else table.c.device for table in tables]
    joined = [keys[0] == key for key in keys[1:]]
    return select(keys[0]).where(*parts, *joined)


def _words(row: dict[str, Any]) -> str:
    """What a search looks through: a line a value, in lower case."""
    values: Iterable[str] = (row[name] for name in ("id", "serial", "model", "firmware", "owner"))
    more = (f"{k}={v if isinstance(v, str) else orjson.dumps(v).decode()}" for k, v in row["attributes"].items())
    return "\n".join(v.lower().replace("\n", " ") for v in (*values, *more, *row["tags"], *row["groups"]) if v)


def _labels(row: dict[str, Any]) -> list[str]:
    return sorted({f"#{t}" for t in row["tags"]} | {f"@{g}" for g in row["groups"]})
