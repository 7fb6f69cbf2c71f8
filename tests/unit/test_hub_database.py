"""Hub's database: its tables, whole changes or none, and what is refused at the start."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select, text

from headrace.errors import ConfigError, FatalError
from hub import credentials, registry, tables
from hub.changes import change, counter
from hub.credentials import CredentialKind
from hub.database import Database
from hub.model import NewDevice
from hub.search import Query, page
from tests.hubworld import lite


@pytest.fixture
def database(tmp_path: Path) -> Database:
    it = Database(lite(tmp_path))
    it.migrate()
    return it


def test_the_migrations_make_the_tables_that_the_code_knows(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        assert set(connection.execute(select(tables.meta.c.name)).scalars()) == set(tables.COUNTERS)
    database.migrate()
    database.close()


def test_an_older_database_is_brought_up_to_date_with_what_is_in_it(tmp_path: Path) -> None:
    url = lite(tmp_path)
    old = Database(url)
    old.migrate("0001")
    row = {
        "id": "a",
        "kind": "device",
        "state": "active",
        "tags": '["t"]',
        "groups": '["g", "g"]',
        "words": "\na\nred\n",
    }
    with old.write() as connection:
        texts = dict.fromkeys(("serial", "model", "firmware", "owner"), "")
        every = {**row, **texts, "attributes": "{}", "created": 1, "changed": 1}
        names = ", ".join(f'"{name}"' for name in every)
        values = ", ".join(f":{name}" for name in every)
        connection.execute(text(f"INSERT INTO devices ({names}) VALUES ({values})"), every)
    old.migrate()
    with old.read() as connection:
        for query in (Query(text="red"), Query(tag="t"), Query(group="g", tag="t")):
            assert [r["id"] for r in page(connection, query).rows] == ["a"], query
        assert page(connection, Query(tag="g")).rows == []
    old.close()


def test_what_was_answered_is_on_the_disk(database: Database) -> None:
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL
    database.close()


def test_a_change_that_fails_leaves_nothing(database: Database) -> None:
    def failing() -> None:
        with change(database, "joe") as c:
            registry.add(c, [NewDevice(id="a")])
            c.record("add", "a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    with database.read() as connection:
        for table in (tables.devices, tables.credentials, tables.outbox, tables.audit):
            assert connection.execute(select(func.count()).select_from(table)).scalar() == 0, table
        assert {counter(connection, name) for name in tables.COUNTERS if name != "identity"} == {0}
    database.close()


def test_a_reader_sees_one_moment_while_others_write(database: Database) -> None:
    with database.read() as connection:
        assert credentials.secrets_of(connection, CredentialKind.PASSWORD) == {}
        with change(database, "joe") as c:
            registry.add(c, [NewDevice(id="a")])
        assert counter(connection, "broker") == 0
        assert credentials.secrets_of(connection, CredentialKind.PASSWORD) == {}
    with database.read() as connection:
        assert list(credentials.secrets_of(connection, CredentialKind.PASSWORD)) == ["a"]
    database.close()


@pytest.mark.clause("CR 3.10")
def test_a_database_of_a_newer_hub_is_not_touched(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(FatalError, match="A newer hub has used it"):
        database.migrate()
    database.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://host/x", "mysql is not supported"),
        ("nonsense", "not a database's URL"),
        ("sqlite:///relative.sqlite", "an absolute path"),
        ("sqlite://", "an absolute path"),
        ("sqlite:////proc/none/hub.sqlite", "/proc/none"),
    ],
)
def test_a_database_that_can_not_be_used_is_refused_with_the_remedy(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"hub\.serve\.database: ") as e:
        Database(url)
    assert words in str(e.value)
    assert "Give" in str(e.value) or "give" in str(e.value)
