"""What a search looks through goes into tables of its own: a scan of it reads nothing else."""

import json

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"
branch_labels = depends_on = None


def upgrade() -> None:
    """From 0001."""
    words = op.create_table(
        "words",
        sa.Column("device", sa.String(64), sa.ForeignKey("devices.id"), primary_key=True),
        sa.Column("words", sa.Text, nullable=False),
    )
    labels = op.create_table(
        "labels",
        sa.Column("label", sa.String(65), primary_key=True),
        sa.Column("device", sa.String(64), sa.ForeignKey("devices.id"), primary_key=True),
    )
    op.create_index("labels_by_device", "labels", ["device"])
    connection = op.get_bind()
    for device, text, tags, groups in connection.execute(
        sa.text('SELECT id, words, tags, "groups" FROM devices')
    ).all():
        connection.execute(sa.insert(words).values(device=device, words=text))
        found = {f"#{t}" for t in _list(tags)} | {f"@{g}" for g in _list(groups)}
        if found:
            connection.execute(sa.insert(labels), [{"label": one, "device": device} for one in sorted(found)])
    op.drop_column("devices", "words")


def _list(value: object) -> list[str]:
    """A JSON column, which SQLite gives as text."""
    found: list[str] = json.loads(value) if isinstance(value, str) else value  # type: ignore[assignment]
    return found
