"""Which values the axes of a study's page show."""

import pytest

from thrifty.evaluation.studies.spans import Span


def test_positive_values_over_many_decades_are_all_seen_on_a_logarithmic_axis():
    values = [0.596, 0.002, 9.9e-5, 3e-9, 36.0]
    span = Span.of(values, values, "minimize")
    assert span.log
    assert span.note == ""
    assert not any(map(span.beyond, values))
    assert span.share(3e-9) == 0
    assert span.share(36.0) == 1
    assert span.named("loss") == "loss, log"
    assert 4 <= len(span.ticks()) <= 6
    assert all(span.low <= place <= span.high for place, _ in span.ticks())


@pytest.mark.parametrize("sign", [1, -1])
def test_values_that_would_flatten_the_rest_are_drawn_at_the_edge_and_that_is_said(sign):
    values = [sign * v for v in (-0.1, 0.0, 0.1, 0.2, 30.0)]
    span = Span.of(values, values, "minimize" if sign == 1 else "maximize")
    assert not span.log
    assert span.edge == pytest.approx(sign * 1.1)
    assert [v for v in values if span.beyond(v)] == [sign * 30.0]
    assert span.share(sign * 30.0) == (1 if sign == 1 else 0)
    assert f"worse than {sign * 1.1:.3g} are drawn at the edge" in span.note


def test_most_values_near_the_best_are_not_squeezed_by_a_logarithm():
    values = [0.5, 0.55, 0.6, 0.7, 1e5]
    span = Span.of(values, values, "minimize")
    assert not span.log
    assert span.edge == pytest.approx(1.1)
    assert not Span.of([0.9, 0.8, 1e-4], [0.9, 0.8, 1e-4], "maximize").log


def test_the_edge_is_written_so_that_it_differs_from_the_best():
    values = [-0.5, -0.499999, -0.499998, -0.4]
    assert Span.of(values, values, "minimize").edge_text == "-0.499988"


def test_equal_values_have_a_span():
    span = Span.of([2.0, 2.0], [2.0, 2.0], "minimize")
    assert (span.low, span.high, span.edge) == (2.0, 2.0, None)
    assert span.share(2.0) == 0
