"""The database of jobs: does it answer, is it whole, does this version know it?

What it is not: a migration. It only reads, and makes no file where there is none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

import server.jobs
from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import Look
from server.settings import load_settings

_WAIT_S = 2
_MIGRATIONS = Path(server.jobs.__path__[0]) / "migrations"
_VERSION = "SELECT version_num FROM alembic_version"


def check(look: Look) -> Iterator[Finding]:
    """Look at it by its kind."""
    settings = load_settings()
    try:
        url = sa.make_url(settings.database)
        dialect = url.get_dialect()
        dialect.import_dbapi()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        # SQLAlchemy's message repeats the address, and with it the password.
        text = str(error) if isinstance(error, ImportError) else type(error).__name__
        yield found("database-driver", f"DATABASE_URL cannot be used: {text}", python=look.python)
        return
    if url.get_backend_name() == "sqlite":
        yield from _sqlite(url, quick=look.quick)
    else:
        yield from _remote(url)


def _sqlite(url: sa.URL, *, quick: bool) -> Iterator[Finding]:
    path = Path(url.database or "")
    if not path.exists():
        yield nice(f"SQLite in {path}, made at the start")
        return
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)
        ) as connection:
            damage = [] if quick else _damage(connection)
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            known = "alembic_version" in tables
            version = connection.execute(_VERSION).fetchone() if known else None
    except sqlite3.OperationalError as error:
        locked = "locked" in str(error) or "busy" in str(error)
        code = "database-locked" if locked else "database-unreachable"
        yield found(code, f"{path}: {error}", path=path)
        return
    except sqlite3.DatabaseError as error:
        yield found("database-damaged", f"{path}: {error}", path=path)
        return
    if damage:
        yield found("database-damaged", f"{path}: {damage[0]}", path=path)
        return
    yield _known(f"SQLite in {path}", version[0] if version else "")


def _damage(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("PRAGMA quick_check(1)").fetchall()
    return [str(row[0]) for row in rows if row[0] != "ok"]


def _remote(url: sa.URL) -> Iterator[Finding]:
    name = url.render_as_string(hide_password=True)
    engine = sa.create_engine(url, connect_args=_patience(url))
    try:
        with engine.connect() as connection:
            known = sa.inspect(connection).has_table("alembic_version")
            version = connection.scalar(sa.text(_VERSION)) if known else ""
    except sa.exc.SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().replace("\n", " ")
        text = f"{name}: {_without(cause, url.password)}"
        yield found("database-unreachable", text)
        return
    finally:
        engine.dispose()
    yield _known(name, str(version or ""))


def _patience(url: sa.URL) -> dict[str, int]:
    """How drivers are told not to wait for ever."""
    if url.get_driver_name() in ("psycopg", "psycopg2", "pymysql", "mysqldb"):
        return {"connect_timeout": _WAIT_S}
    return {"timeout": _WAIT_S} if url.get_driver_name() == "pg8000" else {}


def _without(text: str, secret: object) -> str:
    return text.replace(str(secret), "***") if secret else text


def _known(name: str, version: str) -> Finding:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    if version and version not in {each.revision for each in script.walk_revisions()}:
        return found("database-newer", f"{name} has version {version}, unknown to this code")
    heads = ", ".join(script.get_heads())
    if not version:
        return nice(f"{name}: without tables, made at the start")
    text = "up to date" if version == heads else f"brought to {heads} at the start"
    return nice(f"{name}: version {version}, {text}")
