"""What every store must do, as tests to inherit.

class TestMine(StoreContract):
    def make(self) -> Callable[[], Store]:
        return lambda: MyStore(where)      # each call opens the same place anew
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from thrifty.core.errors import StoreError
from thrifty.core.events import Event
from thrifty.tuning.store import FORMAT, Change, Store
from thrifty.tuning.trial import Parent, State, Trial

HEADER = {"format": FORMAT, "space": None, "metric": "loss", "direction": "minimize", "max_epochs": 3, "seed": 0}


class StoreContract(ABC):
    """Inherit it in a test class, name the class Test..., and say how the store is made."""

    lasting = True  # whether a store opened again at the same place has what was written

    @abstractmethod
    def make(self) -> Callable[[], Store]:
        """A function that gives a store at one and the same fresh place each time."""

    def test_a_new_store_gives_back_the_header_and_no_trials(self) -> None:
        store = self.make()()
        opened = store.open(HEADER)
        assert opened.header == HEADER
        assert (opened.trials, opened.last_seq, opened.last_seconds) == ([], 0, 0.0)
        store.close()

    def test_events_come_back_as_they_were_written_and_after_a_number(self) -> None:
        store = self.make()()
        store.open(HEADER)
        written = [Event(i, i / 4, "kind", i % 2 or None, {"text": "é\n", "list": [1, None]}) for i in range(1, 6)]
        store.commit(Change(events=written[:2]))
        store.commit(Change(events=written[2:]))
        assert list(store.events()) == written
        assert list(store.events(3)) == written[3:]
        assert list(store.events(5)) == []
        store.close()

    def test_trials_come_back_as_they_were_last_written(self) -> None:
        make = self.make()
        store = make()
        store.open(HEADER)
        first = Trial(0, {"x": 0.1, "kind": None, "on": True}, State.RUNNING, until=3, why="é", extra={"a": [1]})
        second = Trial(1, {"x": 1e-300}, State.RUNNING, inputs=(0,), parent=Parent(0, 2))
        store.commit(Change(new=[first, second], events=[Event(1, 0.5, "started", 0)]))
        paused = Trial(0, first.config, State.PAUSED, (0.1 + 0.2, None, 1e17), 2.5, None, "é", (), {"a": [1], "b": {}})
        store.commit(Change(changed=[paused], values=[(0, 1, 0.1 + 0.2), (0, 3, 1e17)]))
        store.renew()
        store.close()
        if self.lasting:
            again = make()
            opened = again.open({**HEADER, "seed": 7})
            assert opened.header == HEADER
            assert opened.trials == [paused, second]
            assert (opened.last_seq, opened.last_seconds) == (1, 0.5)
            again.close()

    def test_an_owner_whose_lease_was_taken_changes_nothing(self) -> None:
        if not self.lasting:
            return
        make = self.make()
        old, new = make(), make()
        old.open(HEADER)
        new.open(HEADER)  # the same process may open again: the old one is given up
        for write in (lambda: old.commit(Change(new=[Trial(0, {})])), old.renew):
            try:
                write()
            except StoreError:
                continue
            raise AssertionError("an owner without the lease wrote")
        new.commit(Change(new=[Trial(0, {"x": 1})]))
        new.close()
        again = make()
        assert again.open(HEADER).trials == [Trial(0, {"x": 1})]
        again.close()

    def test_a_change_that_fails_leaves_nothing_behind(self) -> None:
        if not self.lasting:
            return
        store = self.make()()
        store.open(HEADER)
        store.commit(Change(new=[Trial(0, {})], events=[Event(1, 0.0, "a")]))
        failed = False
        try:
            store.commit(Change(new=[Trial(1, {})], values=[(1, 1, 0.5)], events=[Event(1, 0.0, "taken")]))
        except Exception:  # noqa: BLE001  whichever error the database has for it
            failed = True
        assert failed
        store.commit(Change(new=[Trial(1, {})], events=[Event(2, 0.0, "b")]))
        assert [event.kind for event in store.events()] == ["a", "b"]
        store.close()
