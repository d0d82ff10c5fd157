"""Alembic's entry: runs the migrations on the connection that ``visitas init`` hands over.

Only the hand-over belongs here; the URL, its secrets and the engine stay with the platform.
"""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="visitas_version", transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
