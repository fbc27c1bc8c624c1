from thrifty.data.encode.sample import some_of


def test_few_values_are_all_there() -> None:
    assert list(some_of("abc", 3)) == ["a", "b", "c"]
    assert list(some_of([], 3)) == []


def test_of_many_values_some_of_each_stretch_are_taken_in_their_order_and_of_no_rhythm() -> None:
    found = list(some_of(range(1000), 100))
    assert found == sorted(set(found)) == list(some_of(range(1000), 100))
    assert [row // 10 for row in found] == list(range(100))
    assert 20 < sum(row % 2 for row in found) < 80
    assert 5 < sum(row % 5 == 0 for row in found) < 40
