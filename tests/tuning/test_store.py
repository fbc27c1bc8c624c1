import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import thrifty
from thrifty.core.errors import ExternalError, StoreError, UsageError
from thrifty.core.events import Event
from thrifty.testing.stores import HEADER, StoreContract
from thrifty.tuning.database import DatabaseStore, read
from thrifty.tuning.store import FORMAT, Change, MemoryStore, Owner, Store, may_take_over
from thrifty.tuning.trial import Parent, Trial


class TestMemoryStore(StoreContract):
    lasting = False

    def make(self) -> Callable[[], Store]:
        return MemoryStore


class TestDatabaseStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "new" / "study"

    def make(self) -> Callable[[], Store]:
        return lambda: DatabaseStore.in_folder(self.folder)


def test_a_newer_format_is_refused_with_its_number(tmp_path: Path) -> None:
    store = DatabaseStore.in_folder(tmp_path)
    store.open(HEADER)
    store.close()
    with sqlite3.connect(tmp_path / "study.sqlite3") as db:
        db.execute("UPDATE study SET header = ?", [json.dumps({**HEADER, "format": FORMAT + 1})])
    db.close()
    with pytest.raises(StoreError, match=f"format {FORMAT + 1}"):
        DatabaseStore.in_folder(tmp_path).open(HEADER)


def test_another_programs_database_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "study.sqlite3") as db:
        db.execute("CREATE TABLE cats (name TEXT)")
    db.close()
    with pytest.raises(StoreError, match="another program's database"):
        DatabaseStore.in_folder(tmp_path).open(HEADER)
    (tmp_path / "study.sqlite3").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match=r"cannot be opened.*put back a copy"):
        DatabaseStore.in_folder(tmp_path).open(HEADER)


@pytest.mark.parametrize("how", ["missing", "empty", "without a table"])
def test_a_study_that_lost_its_database_is_refused_and_not_begun_again(tmp_path: Path, how: str) -> None:
    with thrifty.Study({"x": thrifty.Float(0, 1)}, folder=tmp_path) as study:
        study.tell(study.ask().trial, 1.0)
    file = tmp_path / "study.sqlite3"
    file.unlink()
    if how != "missing":
        file.touch()
    if how == "without a table":
        with sqlite3.connect(file) as db:
            db.execute("PRAGMA journal_mode=WAL")
        db.close()
    for look in (
        lambda: thrifty.Study({"x": thrifty.Float(0, 1)}, folder=tmp_path),
        lambda: thrifty.Study.look(tmp_path),
    ):
        with pytest.raises(StoreError, match="missing.*put it back" if how == "missing" else "is empty"):
            look()
    assert how != "missing" or not file.exists()


def test_an_empty_database_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "study.sqlite3").touch()
    with pytest.raises(StoreError, match=r"study.sqlite3 is empty"):
        thrifty.Study.look(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be made"):
        DatabaseStore.in_folder(tmp_path / "file" / "study")
    with pytest.raises(StoreError, match="holds no study"):
        read(tmp_path / "file" / "study")


def test_a_full_disk_is_an_external_error_and_loses_nothing(tmp_path: Path) -> None:
    store = DatabaseStore.in_folder(tmp_path)
    store.open(HEADER)
    store.commit(Change(new=[Trial(0, {"x": 1})], events=[Event(1, 0.0, "first")]))
    connection = store._mine()
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    connection.commit()
    with pytest.raises(ExternalError, match="full"):
        store.commit(Change(new=[Trial(1, {"x": "y" * 100_000})], events=[Event(2, 0.0, "second")]))
    connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    connection.commit()
    store.commit(Change(new=[Trial(1, {"x": 2})], events=[Event(2, 0.0, "second")]))
    store.close()
    opened = DatabaseStore.in_folder(tmp_path)
    assert [trial.config for trial in opened.open(HEADER).trials] == [{"x": 1}, {"x": 2}]
    opened.close()


def test_a_living_process_keeps_its_study_and_a_dead_ones_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from thrifty.tuning.database import DatabaseStore;"
        "from thrifty.testing.stores import HEADER; s = DatabaseStore.in_folder(Path(sys.argv[1])); s.open(HEADER);"
        "print('open', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=f"in use by process {other.pid}"):
            DatabaseStore.in_folder(tmp_path).open(HEADER)
    finally:
        other.kill()
        other.communicate()
    store = DatabaseStore.in_folder(tmp_path)
    store.open(HEADER)
    store.close()


def test_an_owner_on_another_host_holds_the_study_until_its_lease_lapses() -> None:
    far = Owner("elsewhere/boot/pid:[1]", 7, "1")
    with pytest.raises(StoreError, match="process 7 on elsewhere"):
        may_take_over(far, 5.0, "here")
    may_take_over(far, 61.0, "here")
    may_take_over(Owner(Owner.this().host, os.getpid(), "another start"), 0.0, "here")


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = DatabaseStore.in_folder(tmp_path)
    store.open(HEADER)
    store.close()
    store.close()
    with pytest.raises(UsageError, match="closed"):
        store.renew()


def test_a_folder_that_was_moved_is_still_a_study(tmp_path: Path) -> None:
    store = DatabaseStore.in_folder(tmp_path / "a")
    store.open(HEADER)
    store.commit(Change(new=[Trial(0, {})]))
    store.close()
    with tempfile.TemporaryDirectory() as other:
        shutil.move(tmp_path / "a", Path(other) / "b")
        again = DatabaseStore.in_folder(Path(other) / "b")
        assert len(again.open(HEADER).trials) == 1
        again.close()


def test_a_store_of_an_older_format_takes_trials_with_parents_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "study.sqlite3"
    store = DatabaseStore.in_folder(tmp_path)
    store.open({**HEADER, "format": 1})
    store.commit(Change(new=[Trial(0, {"x": 1})]))
    store.close()
    with sqlite3.connect(file) as db:
        db.execute("DROP TABLE parents")
    db.close()
    child = Trial(1, {"x": 2}, inputs=(0,), parent=Parent(0, 3))
    again = DatabaseStore.in_folder(tmp_path)
    assert again.open(HEADER).header["format"] == 1
    again.commit(Change(new=[child]))
    again.commit(Change(new=[Trial(2, {"x": 3}, inputs=(1,), parent=Parent(1, 4))]))
    again.close()
    found = DatabaseStore.in_folder(tmp_path).open(HEADER)
    assert found.header["format"] == FORMAT
    assert [trial.parent for trial in found.trials] == [None, Parent(0, 3), Parent(1, 4)]
    assert read(tmp_path).trials[1] == child
