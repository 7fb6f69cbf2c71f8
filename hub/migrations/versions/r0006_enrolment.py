"""Enrolment: one-time tokens and claims; the keys of certificates, and these themselves."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0006", "0005"
branch_labels = depends_on = None


def upgrade() -> None:
    """From 0005."""
    op.create_index("devices_by_serial", "devices", ["serial"])
    op.add_column("credentials", sa.Column("key", sa.String(64)))
    op.add_column("credentials", sa.Column("certificate", sa.Text))
    op.create_index("credentials_by_key", "credentials", ["key"])
    op.create_table(
        "enrolments",
        sa.Column("device", sa.String(64), sa.ForeignKey("devices.id"), primary_key=True),
        sa.Column("hash", sa.String(64), unique=True),
        sa.Column("claim", sa.String(64)),
        sa.Column("made", sa.BigInteger, nullable=False),
        sa.Column("ends", sa.BigInteger, nullable=False),
        sa.Column("key", sa.String(64)),
        sa.Column("used", sa.BigInteger),
    )
    op.create_table(
        "claims",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("certificate", sa.Text, nullable=False),
        sa.Column("at_once", sa.Boolean, nullable=False),
        sa.Column("made", sa.BigInteger, nullable=False),
        sa.Column("ends", sa.BigInteger, nullable=False),
        sa.Column("revoked", sa.BigInteger),
    )
