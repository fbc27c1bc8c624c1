"""A store over SQLAlchemy Core: an SQLite file (WAL; only the coordinator opens it), or another database by its URL."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thrifty.core.errors import ExternalError, MissingExtraError, StoreError, UsageError
from thrifty.core.events import Event, json_text
from thrifty.core.run_directory import RunDirectory
from thrifty.tuning.store import FORMAT, Change, Opened, Owner, Snapshot, check_format, may_take_over
from thrifty.tuning.trial import Parent, State, Trial

try:
    import sqlalchemy as sa
except ModuleNotFoundError as error:
    raise MissingExtraError("a study in a folder", "tune", "sqlalchemy") from error

BUSY_SECONDS = 10.0
WITH_PARENTS = 4  # the format of a store from its first trial with a parent on
CHANGING = ("state", "cost_seconds", "until_epoch", "why", "extra")

_schema = sa.MetaData()
_study = sa.Table(
    "study",
    _schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("header", sa.Text, nullable=False),
)
_lease = sa.Table(
    "lease",
    _schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("renewed", sa.Float, nullable=False),
)
_trials = sa.Table(
    "trials",
    _schema,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("config", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("cost_seconds", sa.Float, nullable=False),
    sa.Column("until_epoch", sa.Integer),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("inputs", sa.Text, nullable=False),
    sa.Column("extra", sa.Text, nullable=False),
)
_values = sa.Table(
    "metric_values",
    _schema,
    sa.Column("trial", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("value", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)
_others = sa.Table(
    "other_values",
    _schema,
    sa.Column("trial", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)
_parents = sa.Table(
    "parents",
    _schema,
    sa.Column("trial", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("parent", sa.Integer, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
)
_events = sa.Table(
    "events",
    _schema,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time_seconds", sa.Float, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("trial", sa.Integer),
    sa.Column("payload", sa.Text, nullable=False),
)


def read(folder: Path) -> Snapshot:
    """The study in `folder` as it is now, whoever works on it; nothing of it is changed.

    Raises StoreError when there is none, or when it is of a newer version.
    """
    file = folder / "study.sqlite3"
    RunDirectory(folder).check_study()
    if not file.is_file():
        raise StoreError(f"{folder} holds no study: there is no study.sqlite3 in it")
    if not file.stat().st_size:
        raise StoreError(f"{folder} holds no study: {file.name} is empty")
    engine = _engine_of(f"sqlite:///{file.absolute()}")
    try:
        with _translated(folder, opening=True), engine.connect() as connection, connection.begin():
            tables = sa.inspect(connection).get_table_names()
            if "study" not in tables:
                raise _not_a_study(file, tables)
            header = json.loads(connection.execute(sa.select(_study.c.header)).scalar_one())
            check_format(header, folder)
            rows = connection.execute(sa.select(_events).order_by(_events.c.seq)).all()
            events = [Event(r.seq, r.time_seconds, r.kind, r.trial, json.loads(r.payload)) for r in rows]
            return Snapshot(header, _load_trials(connection, header["format"]), events)
    finally:
        engine.dispose()


class DatabaseStore:
    """One study in one database. `where` names it in messages."""

    def __init__(self, url: str, where: object = None) -> None:
        self._where = where or sa.make_url(url).render_as_string(hide_password=True)
        self._engine = _engine_of(url)
        self._sqlite = self._engine.dialect.name == "sqlite"
        self._connection: sa.Connection | None = None
        self._attempt = 0
        self._owner = Owner.this()
        now = "(julianday('now') - 2440587.5) * 86400.0" if self._sqlite else "extract(epoch from clock_timestamp())"
        self._now = sa.literal_column(now, sa.Float)
        self._renew = (
            sa.update(_lease)
            .where(_lease.c.id == 1, _lease.c.attempt == sa.bindparam("mine"))
            .values(renewed=self._now)
        )
        self._change = (
            sa.update(_trials)
            .where(_trials.c.id == sa.bindparam("which"))
            .values({name: sa.bindparam(name) for name in CHANGING})
        )

    @classmethod
    def in_folder(cls, folder: Path) -> DatabaseStore:
        """The store of the study in `folder`, which is made when it is not there.

        Raises StoreError when the folder cannot be made, or has lost the study that was in it.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            RunDirectory(folder).check_study()
        except OSError as error:
            raise StoreError(f"the folder {folder} cannot be made or read: {error.strerror}") from error
        return cls(f"sqlite:///{(folder / 'study.sqlite3').absolute()}", folder)

    def open(self, header: Mapping[str, Any]) -> Opened:
        try:
            with _translated(self._where, opening=True):
                self._connection = self._engine.connect()
                with self._connection.begin():
                    return self._open(self._connection, header)
        except BaseException:
            self._disconnect()
            raise

    def _open(self, connection: sa.Connection, header: Mapping[str, Any]) -> Opened:
        tables = sa.inspect(connection).get_table_names()
        if "study" in tables:
            stored = json.loads(connection.execute(sa.select(_study.c.header)).scalar_one())
            check_format(stored, self._where)
        elif tables:
            raise _not_a_study(self._where, tables)
        else:
            if isinstance(self._where, Path):
                RunDirectory(self._where).check_study(empty=True)
            _schema.create_all(connection)
            stored = {"format": FORMAT, **header}
            connection.execute(sa.insert(_study), {"id": 1, "header": json_text(stored)})
        self._take_lease(connection)
        last = connection.execute(sa.select(_events).order_by(_events.c.seq.desc()).limit(1)).first()
        seq, seconds = (last.seq, last.time_seconds) if last is not None else (0, 0.0)
        return Opened(stored, _load_trials(connection, stored["format"]), seq, seconds)

    def _take_lease(self, connection: sa.Connection) -> None:
        row = connection.execute(sa.select(_lease.c.attempt, _lease.c.owner, self._now - _lease.c.renewed)).first()
        if row is None:
            self._attempt = 1
            connection.execute(
                sa.insert(_lease).values(id=1, attempt=1, owner=self._owner.to_json(), renewed=self._now)
            )
            return
        attempt, owner, idle_seconds = row
        if owner is not None:
            may_take_over(Owner.from_json(owner), idle_seconds, self._where)
        self._attempt = attempt + 1
        connection.execute(
            sa.update(_lease).values(attempt=self._attempt, owner=self._owner.to_json(), renewed=self._now)
        )

    def commit(self, change: Change) -> None:
        connection = self._mine()
        with _translated(self._where), connection.begin():
            self._check_lease(connection)
            if change.new:
                connection.execute(sa.insert(_trials), [_row(trial) for trial in change.new])
            parents = [(trial.id, *trial.parent) for trial in change.new if trial.parent is not None]
            if parents:
                _allow_parents(connection)
                connection.execute(sa.insert(_parents), [dict(zip(_parents.c.keys(), row)) for row in parents])
            for trial in change.changed:
                row = _row(trial)
                connection.execute(
                    self._change,
                    {"which": row["id"]}
                    | {k: row[k] for k in ("state", "cost_seconds", "until_epoch", "why", "extra")},
                )
            if change.values:
                rows = [{"trial": t, "epoch": e, "value": v} for t, e, v in change.values]
                connection.execute(sa.insert(_values), rows)
            if change.others:
                others = [{"trial": t, "epoch": e, "name": n, "value": v} for t, e, n, v in change.others]
                connection.execute(sa.insert(_others), others)
            if change.events:
                connection.execute(sa.insert(_events), [_event_row(event) for event in change.events])

    def events(self, after: int = 0) -> Iterator[Event]:
        connection = self._mine()
        while True:
            query = sa.select(_events).where(_events.c.seq > after).order_by(_events.c.seq).limit(1000)
            with _translated(self._where):
                rows = connection.execute(query).all()
                connection.commit()
            for row in rows:
                yield Event(row.seq, row.time_seconds, row.kind, row.trial, json.loads(row.payload))
            if not rows:
                return
            after = rows[-1].seq

    def renew(self) -> None:
        connection = self._mine()
        with _translated(self._where), connection.begin():
            self._check_lease(connection)

    def close(self) -> None:
        if self._connection is None or self._owner != Owner.this():
            return
        try:
            with _translated(self._where), self._connection.begin():
                mine = sa.update(_lease).where(_lease.c.attempt == self._attempt)
                self._connection.execute(mine.values(owner=None))
        except ExternalError:
            pass  # the lease falls with this process
        finally:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()

    def _mine(self) -> sa.Connection:
        if self._connection is None:
            raise UsageError(f"the study in {self._where} is closed; open it again to go on")
        if self._owner.pid != os.getpid():
            raise UsageError(f"the study in {self._where} was opened by another process; open it in one process alone")
        return self._connection

    def _check_lease(self, connection: sa.Connection) -> None:
        if connection.execute(self._renew, {"mine": self._attempt}).rowcount != 1:
            raise StoreError(f"another process or object has taken over the study in {self._where}; this one must stop")


def _not_a_study(where: object, tables: Sequence[str]) -> StoreError:
    if not tables:
        return StoreError(f"{where} is empty: it holds no study")
    return StoreError(f"{where} holds another program's database (tables {', '.join(sorted(tables)[:5])})")


def _engine_of(url: str) -> sa.Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url)
    options = {"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False}
    engine = sa.create_engine(url, connect_args=options, poolclass=sa.pool.NullPool)
    sa.event.listen(engine, "connect", _prepare)
    # The driver would begin a transaction at the first write only, after what was read to decide it.
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _prepare(connection: sqlite3.Connection, record: object) -> None:
    """Sets how an SQLite connection writes; WAL with NORMAL keeps every commit through a kill of the process."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _allow_parents(connection: sa.Connection) -> None:
    """Gives a store of an older format the table of parents, and the format that says so."""
    header = json.loads(connection.execute(sa.select(_study.c.header)).scalar_one())
    if header["format"] < WITH_PARENTS:
        _parents.create(connection, checkfirst=True)
        connection.execute(sa.update(_study).values(header=json_text({**header, "format": WITH_PARENTS})))


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "id": trial.id,
        "config": json_text(trial.config),
        "state": trial.state.value,
        "cost_seconds": trial.cost_seconds,
        "until_epoch": trial.until,
        "why": trial.why,
        "inputs": json_text(trial.inputs),
        "extra": json_text(trial.extra),
    }


def _event_row(event: Event) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "time_seconds": event.time_seconds,
        "kind": event.kind,
        "trial": event.trial,
        "payload": json_text(event.payload),
    }


def _load_trials(connection: sa.Connection, form: int) -> list[Trial]:
    """form: the store's format; the first has no table of other metrics, those before the fourth none of parents."""
    curves: dict[int, list[float | None]] = {}
    for trial, epoch, value in connection.execute(sa.select(_values).order_by(_values.c.trial, _values.c.epoch)):
        _extend(curves.setdefault(trial, []), epoch, value)
    others: dict[int, dict[str, list[float | None]]] = {}
    if form > 1:
        rows = sa.select(_others).order_by(_others.c.trial, _others.c.name, _others.c.epoch)
        for trial, epoch, name, value in connection.execute(rows):
            _extend(others.setdefault(trial, {}).setdefault(name, []), epoch, value)
    parents: dict[int, Parent] = {}
    if form >= WITH_PARENTS:
        parents = {row.trial: Parent(row.parent, row.epoch) for row in connection.execute(sa.select(_parents))}
    return [
        Trial(
            id=row.id,
            config=json.loads(row.config),
            state=State(row.state),
            values=tuple(curves.get(row.id, ())),
            cost_seconds=row.cost_seconds,
            until=row.until_epoch,
            why=row.why,
            inputs=tuple(json.loads(row.inputs)),
            extra=json.loads(row.extra),
            others={name: tuple(curve) for name, curve in others.get(row.id, {}).items()},
            parent=parents.get(row.id),
        )
        for row in connection.execute(sa.select(_trials).order_by(_trials.c.id))
    ]


def _extend(curve: list[float | None], epoch: int, value: float) -> None:
    curve += [None] * (epoch - 1 - len(curve))
    curve.append(value)


@contextmanager
def _translated(where: object, opening: bool = False) -> Iterator[None]:
    """Turns the driver's errors into ours: the disk, the permissions, a file that is no database."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        said = str(error.orig) if isinstance(error, sa.exc.DBAPIError) else str(error)
        if "full" in said or "No space" in said or "disk I/O" in said:
            raise ExternalError(
                f"the study in {where} could not be written: {said}. What was told before is kept; make room and go on"
            ) from error
        if "locked" in said:
            raise StoreError(f"the study in {where} is being written by another process; wait for it to end") from error
        if opening:
            damaged = "malformed" in said or "not a database" in said
            todo = "; put back a copy of its study.sqlite3, or start anew in another folder with --out" * damaged
            raise StoreError(f"the study in {where} cannot be opened: {said}{todo}") from error
        raise ExternalError(f"the study in {where} could not be written: {said}") from error
