"""Called by Alembic, which `hub.database.Database.migrate` gives its own connection."""

from alembic import context

from hub.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
