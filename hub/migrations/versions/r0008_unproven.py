"""Whether the agent has found that the MQTT broker does not go by the list of revoked certificates."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0008", "0007"
branch_labels = depends_on = None


def upgrade() -> None:
    """From 0007."""
    meta = sa.table("meta", sa.column("name"), sa.column("number"))
    op.bulk_insert(meta, [{"name": "unproven", "number": 0}])
