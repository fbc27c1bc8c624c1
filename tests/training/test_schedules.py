import pytest

from thrifty.training.schedules import warmup_cosine


def test_the_rate_rises_in_a_line_and_falls_to_zero() -> None:
    assert warmup_cosine(0.05, 0.1) == pytest.approx(0.5)
    assert warmup_cosine(0.1, 0.1) == pytest.approx(1.0)
    assert warmup_cosine(0.55, 0.1) == pytest.approx(0.5)
    assert warmup_cosine(1.0, 0.1) == pytest.approx(0.0, abs=1e-9)
    assert warmup_cosine(0.0, 0.0) == pytest.approx(1.0)
