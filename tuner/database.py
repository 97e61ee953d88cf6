"""The record's database: looked at before anything is written to it, and its errors as sentences.

A SQLite file that is damaged, or is not ours, stays as it is, byte for byte.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb.models import BaseModel
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from trainers.settings import Mistake
from tuner.lock import take_from_server
from tuner.secrets import why, without_password

_MAGIC = b"SQLite format 3\0"
_VERSION = "alembic_version"  # the table that says which version of Optuna made the others
_BUSY = 60.0  # seconds that SQLite waits for another writer
# So a machine that is lost is noticed within a minute: by us, and by the server, which then frees its lock.
_ALIVE = {
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "options": "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
}
# What an error of SQLite's means, by the beginning of its name.
_OF_SQLITE = {
    "SQLITE_FULL": "cannot be written ({why}): free room there, and `resume`",
    "SQLITE_READONLY": "cannot be written ({why}): give back the right to write it, and `resume`",
    "SQLITE_CANTOPEN": "cannot be opened ({why}): mend its folder or its rights, and `resume`",
    "SQLITE_PERM": "cannot be opened ({why}): mend its folder or its rights, and `resume`",
    "SQLITE_IOERR": "cannot be read or written ({why}): mend or free its disk, and `resume`",
    "SQLITE_BUSY": "is held by another process ({why}): end that process, and `resume`",
    "SQLITE_LOCKED": "is held by another process ({why}): end that process, and `resume`",
}
_BROKEN = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")


def damaged(url: str, reason: str) -> RuntimeError:
    """The refusal of a record that cannot be trusted."""
    return RuntimeError(
        f"the record {_place(url)} is damaged ({reason}): put back a copy of it; nothing was written to it"
    )


def holds_tables(url: str) -> bool:
    """Whether a database holds a record's tables, all of them; nothing is written to it.

    Raises:
        RuntimeError: it is damaged, or does not answer.
        Mistake: the tables are another program's, or the address is none.
    """
    path = _file(url)
    with _told(url):
        if path is None:
            names, version = _on_server(url)
        elif not path.exists():
            return False
        else:
            names, version = _in_file(url, path)
    ours = set(BaseModel.metadata.tables)
    others = names - ours - ({_VERSION} if path is None or names & ours else set())
    if not ours <= names and (others if path is not None else _VERSION in names and not names & ours):
        raise Mistake(
            f"the database {_place(url)} holds the tables of another program "
            f"({', '.join(sorted(names)[:3])}): give the record one of its own"
        )
    return ours <= names and version is not None


def storage(url: str, *, create: bool, hold: str | None = None) -> BaseStorage:
    """Optuna's storage in the database; its tables are made only with `create`.

    Args:
        url: an SQLAlchemy address, `sqlite:///…` or PostgreSQL.
        create: whether tables that are not there are made.
        hold: on a server, the name of the study that this process holds from now on, until `close`. The
            lock belongs to the one connection through which all is written: where that is lost the lock is
            too, and no second connection is made.

    Raises:
        RuntimeError: the database is damaged, does not answer, or has no room; later calls raise it too.
        Mistake: another process holds the study, or the tables are another program's or another version's.
    """
    there = holds_tables(url)
    if not there and not create:
        raise Mistake(f"there is no record in {_place(url)}: start the study with `search`")
    with _told(url):
        pool = _pool(url, hold)
        pool.connect().close()  # with `hold`, from here on
        if not there:  # Optuna takes two connections for that, and the one that holds is single
            close(_storage(url, _pool(url, None)))
        made = _storage(url, pool)
        _same_version(made, url)

    @sqlalchemy.event.listens_for(made.engine, "handle_error")
    def tell(context: ExceptionContext) -> None:
        if not context.is_pre_ping:
            meaning = _meaning(url, context.original_exception)
            if meaning is not None:
                raise meaning from context.original_exception

    return optuna.storages.get_storage(made)


def _storage(url: str, pool: sqlalchemy.Pool) -> RDBStorage:
    return RDBStorage(
        url.replace("{", "{{").replace("}", "}}"),  # Optuna formats what it is given
        engine_kwargs={"pool": pool},
        skip_compatibility_check=True,  # it takes a second connection; see _same_version
    )


def close(opened: BaseStorage) -> None:
    """Let go of a storage's connections, and with them of the study that it holds."""
    backend: Any = getattr(opened, "_backend", opened)
    backend.remove_session()
    backend.engine.dispose()


def _place(url: str) -> str:
    return str(_file(url) or without_password(url))


def _file(url: str) -> Path | None:
    """The file of a SQLite address; None for a server's."""
    try:
        found = make_url(url)
    except ArgumentError:
        raise _no_address(url) from None
    return Path(str(found.database)) if found.get_backend_name() == "sqlite" else None


def _no_address(url: str) -> Mistake:
    return Mistake(
        f"database is {without_password(url)!r}, but it must be an address such as postgresql://host/name, "
        "whose driver comes with the extra `cluster`"
    )


def _pool(url: str, hold: str | None) -> sqlalchemy.Pool:
    if _file(url) is not None:
        return sqlalchemy.create_engine(url, connect_args={"timeout": _BUSY}).pool
    if hold is None:
        return sqlalchemy.create_engine(url, connect_args=_ALIVE, pool_pre_ping=True).pool
    pool = sqlalchemy.create_engine(url, connect_args=_ALIVE, pool_size=1, max_overflow=0).pool
    taken = False

    @sqlalchemy.event.listens_for(pool, "connect")
    def take(connection: Any, record: object) -> None:
        nonlocal taken
        if taken:
            raise _of_server(url, "the connection was lost, and with it the lock on the study")
        take_from_server(connection, hold)
        taken = True

    return pool


def _same_version(made: RDBStorage, url: str) -> None:
    current, head = made.get_current_version(), made.get_head_version()
    if current != head:
        raise Mistake(
            f"the record {_place(url)} has Optuna's tables in version {current} and the Optuna here, "
            f"{optuna.__version__}, works on {head}: install the Optuna that made them, or bring a copy of "
            "the record up with `optuna storage upgrade`"
        )


def _in_file(url: str, path: Path) -> tuple[set[str], str | None]:
    """The names of a SQLite file's tables, and the version that stands in it; the file is checked first."""
    try:
        with path.open("rb") as file:
            first = file.read(len(_MAGIC))
    except OSError as error:
        raise RuntimeError(f"the record {path} cannot be opened ({why(error)}): mend that") from error
    if not first:  # a creation that was cut off has not come further
        return set(), None
    if first != _MAGIC:
        raise damaged(url, "it does not begin like a SQLite file")
    try:
        with _readable(path) as readable, closing(_read_only(readable)) as connection:
            return _looked_at(url, connection)
    except UnicodeDecodeError as error:  # in a name, which stands in SQLite's own sentence
        raise damaged(url, "it holds text that is none") from error
    except sqlite3.Error as error:  # in a file that begins well, what we do not know is damage too
        raise _meaning(url, error) or damaged(url, why(error)) from error


def _looked_at(url: str, connection: sqlite3.Connection) -> tuple[set[str], str | None]:
    problems = [str(one) for (one,) in connection.execute("PRAGMA integrity_check(1)")]
    if problems != ["ok"]:
        raise damaged(url, " ".join(problems[0].split()) if problems else "SQLite cannot check it")
    names = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    names = {name for name in names if not name.startswith("sqlite_")}
    version = None
    if _VERSION in names and "version_info" in names:
        found = connection.execute(f"SELECT version_num FROM {_VERSION}, version_info").fetchone()
        version = str(found[0]) if found else None
    return names, version


@contextmanager
def _readable(path: Path) -> Iterator[Path]:
    """The file itself, or a copy where a kill left a journal: SQLite would write its way back first."""
    try:
        with closing(_read_only(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        there = True
    except sqlite3.OperationalError as error:
        if not str(getattr(error, "sqlite_errorname", "")).startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
            raise
        there = False
    if there:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        for one in (path, *(path.with_name(path.name + end) for end in ("-journal", "-wal"))):
            if one.exists():
                shutil.copyfile(one, Path(folder) / one.name)
        with closing(sqlite3.connect(Path(folder) / path.name)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # plays the journal back
        yield Path(folder) / path.name


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY)


def _on_server(url: str) -> tuple[set[str], str | None]:
    engine = sqlalchemy.create_engine(url, connect_args=_ALIVE, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        names = set(sqlalchemy.inspect(connection).get_table_names())
        version = None
        if {_VERSION, "version_info"} <= names:
            asked = sqlalchemy.text(f"SELECT version_num FROM {_VERSION}, version_info")
            version = connection.execute(asked).scalar()
        return names, version


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Within it an error of the database is raised as what it means."""
    try:
        yield
    except ImportError as error:
        raise _no_address(url) from error
    except ArgumentError as error:  # an unknown dialect, too
        raise _no_address(url) from error
    except UnicodeDecodeError as error:
        raise damaged(url, "it holds text that is none") from error
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error) as error:
        cause: BaseException | None = error
        while cause is not None:
            origin = cause.orig if isinstance(cause, DBAPIError) else cause
            meaning = _meaning(url, origin)
            if meaning is not None:
                raise meaning from error
            cause = cause.__cause__
        raise


def _meaning(url: str, error: BaseException | None) -> RuntimeError | None:
    """What an error of a database's driver says of the record; None where it is none that we know."""
    if isinstance(error, sqlite3.Error):
        name = str(getattr(error, "sqlite_errorname", ""))
        if name.startswith(_BROKEN) or "decode to UTF-8" in str(error):
            return damaged(url, why(error))
        for begins, meaning in _OF_SQLITE.items():
            if name.startswith(begins):
                return RuntimeError(f"the record {_place(url)} {meaning.format(why=why(error))}")
        return None
    if error is None or "psycopg" not in type(error).__module__ or "Integrity" in type(error).__name__:
        return None
    if getattr(error, "sqlstate", None) == "23505":  # unique_violation: Optuna answers it itself
        return None
    return _of_server(url, why(error))


def _of_server(url: str, reason: str) -> RuntimeError:
    return RuntimeError(
        f"the record's database {_place(url)} does not do what it is asked ({reason}): see that it runs, has "
        "room and lets this user write, and `resume`"
    )
