"""Certificates: when a credential ends, and the number of the list of those that ended before that."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0004", "0003"
branch_labels = depends_on = None


def upgrade() -> None:
    """From 0003."""
    op.add_column("credentials", sa.Column("ends", sa.BigInteger))
    meta = sa.table("meta", sa.column("name"), sa.column("number"))
    op.bulk_insert(meta, [{"name": name, "number": 0} for name in ("crl", "authority")])
