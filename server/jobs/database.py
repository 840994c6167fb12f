"""The way to the database: engine, transactions, migrations.

What it is not: anything about jobs. SQLite is opened in WAL mode; PostgreSQL works through the same
portable SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from filelock import FileLock, Timeout

# How long a write waits for another process's write. A write of ours takes milliseconds, so ten
# seconds mean that something outside holds the file.
BUSY_S = 10.0
MIGRATE_WAIT_S = 120.0
_READ = "mouthpiece_read"


class StoreError(RuntimeError):
    """The job store cannot be used now; the message says which one and why."""


class Database:
    """One engine for all threads of a process."""

    def __init__(self, url: str) -> None:
        self._name = sa.make_url(url).render_as_string(hide_password=True)
        self.engine = make_engine(url)
        self._reader = self.engine.execution_options(**{_READ: True})

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that holds the write lock from its start, so it never fails half-way."""
        with self._explained(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads; it never waits for writers."""
        with self._explained(), self._reader.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections; SQLite folds its journal into the file."""
        self.engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.IntegrityError:
            raise
        except sa.exc.DBAPIError as error:
            raise StoreError(f"the job store {self._name} failed: {error.orig}") from error
        except sa.exc.TimeoutError as error:
            raise StoreError(f"the job store {self._name} has no free connection") from error

    def migrate(self, lock: Path) -> None:
        """Bring the tables to this code's version; one process at a time.

        Raises:
            StoreError: the database is newer than this code, damaged, or held by another process.
        """
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=MIGRATE_WAIT_S), self.write() as connection:
                _upgrade(connection)
        except Timeout:
            raise StoreError(
                f"{lock} was held by another process for {MIGRATE_WAIT_S:.0f} s"
            ) from None
        except CommandError as error:
            raise StoreError(
                f"the job store {self._name} has a version that this program does not know "
                f"({error}): it was written by a newer program; install that, or set DATABASE_URL "
                "to another database"
            ) from error


def make_engine(url: str) -> sa.Engine:
    """An engine for `url`; for SQLite with WAL, durable commits and explicit transactions.

    Raises:
        StoreError: the URL is not one, or its folder cannot be made.
    """
    try:
        parsed = sa.make_url(url)
        _make_folder(parsed)
        engine = sa.create_engine(parsed, pool_size=16, max_overflow=16, pool_timeout=BUSY_S)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise StoreError(f"DATABASE_URL cannot be used: {error}") from error
    except OSError as error:
        raise StoreError(f"the folder of the job store cannot be made: {error}") from error
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _open_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_folder(url: sa.URL) -> None:
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)


def _open_sqlite(connection: Any, _record: object) -> None:
    # The driver must not open transactions by itself: _begin_sqlite does.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={int(BUSY_S * 1000)}",
        "journal_mode=WAL",
        # FULL, not WAL's usual NORMAL: an accepted job must survive a power cut.
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get(_READ, False)
    # A write that starts as a read fails at once when another write came between, whatever the
    # busy timeout; IMMEDIATE waits in line instead.
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _upgrade(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7346981)")
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    heads = set(ScriptDirectory.from_config(config).get_heads())
    if set(MigrationContext.configure(connection).get_current_heads()) != heads:
        command.upgrade(config, "head")
