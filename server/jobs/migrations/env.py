"""What Alembic runs to apply migrations, on the connection that database.py hands over.

What it is not: a command-line environment; there is no alembic.ini.
"""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    # The caller owns the transaction: either every migration is applied or none.
    transactional_ddl=False,
    transaction_per_migration=False,
)
context.run_migrations()
