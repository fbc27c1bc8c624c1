"""What the first signal does, by when it comes."""

import os
import signal

import pytest

from thrifty.core.interruption import Interruption


@pytest.mark.parametrize("early", [False, True])
def test_a_signal_raises_where_nothing_is_to_be_saved(early: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        if early:
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), interruption.raising():
            os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_elsewhere_it_is_noted() -> None:
    with Interruption() as interruption:
        with interruption.raising():
            pass
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.number == signal.SIGINT


def test_an_interruption_by_a_library_of_its_own_counts() -> None:
    interruption = Interruption()
    with pytest.raises(KeyboardInterrupt), interruption.raising():
        raise KeyboardInterrupt
    assert interruption.exit_code == 130
