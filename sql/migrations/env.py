"""Alembic's entry: runs the migrations on the connection that ``visitas init`` hands over.

Only the hand-over belongs here, and what makes a migration that died go on where it was; the URL, its secrets and the
engine stay with the platform.
"""

import sqlalchemy as sa
from alembic import context
from alembic.operations import Operations
from alembic.operations.ops import BulkInsertOp, CreateIndexOp, CreateTableOp


# MySQL and MariaDB commit at every DDL statement, so a death leaves part of a revision behind. What of it is there
# already is left as it is: MySQL knows IF NOT EXISTS for tables only, so the database is asked.
@Operations.implementation_for(CreateTableOp, replace=True)
def _create_table(operations: Operations, operation: CreateTableOp) -> sa.Table:
    table = operation.to_table(operations.migration_context)
    if not sa.inspect(operations.get_bind()).has_table(table.name):
        operations.impl.create_table(table)
    return table


@Operations.implementation_for(CreateIndexOp, replace=True)
def _create_index(operations: Operations, operation: CreateIndexOp) -> None:
    there = sa.inspect(operations.get_bind()).get_indexes(operation.table_name)
    if operation.index_name not in {index["name"] for index in there}:
        operations.impl.create_index(operation.to_index(operations.migration_context))


@Operations.implementation_for(BulkInsertOp, replace=True)
def _bulk_insert(operations: Operations, operation: BulkInsertOp) -> None:
    """Fill a table that has just been made."""
    if not operations.get_bind().execute(sa.select(sa.func.count()).select_from(operation.table)).scalar():
        operations.impl.bulk_insert(operation.table, operation.rows, multiinsert=operation.multiinsert)


connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="visitas_version", transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
