"""Engine, transactions, migrations."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from server.jobs import database
from server.jobs.database import Database, StoreError, make_engine
from server.jobs.store import open_store
from server.jobs.table import metadata
from tests.unit.server.jobs.rows import settings_in


def open_at(path: Path) -> Database:
    found = Database(f"sqlite:///{path}")
    found.migrate(path.parent / "migrate.lock")
    return found


def test_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    found = open_at(tmp_path / "x.db")
    with found.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    found.close()


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    open_at(tmp_path / "x.db").close()
    before = (tmp_path / "x.db").read_bytes()
    open_at(tmp_path / "x.db").close()
    assert (tmp_path / "x.db").read_bytes() == before


def test_two_workers_may_open_at_once(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    failed: list[Exception] = []

    def boot() -> None:
        try:
            open_store(settings).close()
        except Exception as error:  # noqa: BLE001 - a thread's border
            failed.append(error)

    threads = [threading.Thread(target=boot) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_sqlite_runs_with_a_write_ahead_log_and_durable_commits(tmp_path: Path) -> None:
    found = open_at(tmp_path / "x.db")
    with found.read() as connection:
        assert connection.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(sa.text("PRAGMA synchronous")) == 2
    found.close()


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    found = open_at(tmp_path / "x.db")
    with found.write(), found.read() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM jobs")) == 0
    found.close()


def test_a_store_that_is_held_by_others_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.1)
    found = open_at(tmp_path / "x.db")
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"x\.db failed: database is locked"), found.write():
        pass
    assert time.monotonic() - began < 2
    other.close()
    found.close()


def test_a_damaged_store_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is no database at all" * 100)
    found = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with pytest.raises(StoreError, match=r"x\.db failed: file is not a database"):
        found.migrate(tmp_path / "migrate.lock")
    found.close()


def test_a_store_of_a_newer_program_is_refused_with_the_remedy(tmp_path: Path) -> None:
    found = open_at(tmp_path / "x.db")
    with found.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="written by a newer program; install that"):
        found.migrate(tmp_path / "migrate.lock")
    found.close()


def test_a_migration_lock_that_is_never_freed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    monkeypatch.setattr(database, "MIGRATE_WAIT_S", 0.1)
    found = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with (
        FileLock(tmp_path / "migrate.lock"),
        pytest.raises(StoreError, match=r"migrate\.lock was held by another process"),
    ):
        found.migrate(tmp_path / "migrate.lock")
    found.close()


@pytest.mark.parametrize("url", ["nonsense", "nosuch://host/db"])
def test_a_url_that_is_none_is_an_error_that_names_the_setting(url: str) -> None:
    with pytest.raises(StoreError, match="DATABASE_URL cannot be used"):
        make_engine(url)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreError, match="folder of the job store cannot be made"):
        open_store(settings_in(tmp_path))


def test_a_data_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with pytest.raises(StoreError, match="DATA_DIR=.*cannot be written"):
        open_store(settings_in(tmp_path, database_url=url))


def test_the_migration_can_be_undone(tmp_path: Path) -> None:
    from alembic.operations import Operations

    from server.jobs.migrations.versions import v0001_jobs

    found = open_at(tmp_path / "x.db")
    with found.write() as connection:
        with Operations.context(MigrationContext.configure(connection)):
            v0001_jobs.downgrade()
        assert "jobs" not in sa.inspect(connection).get_table_names()
    found.close()


def test_running_out_of_connections_is_an_error_and_not_a_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    found = open_at(tmp_path / "x.db")
    held = [found.engine.connect() for _ in range(32)]
    with pytest.raises(StoreError, match="no free connection"), found.read():
        pass
    for connection in held:
        connection.close()
    found.close()
