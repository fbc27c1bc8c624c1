"""What is said of a space's file."""

import pytest

from thrifty.core.space import Choice, Float, Int, Space
from thrifty.tuning.space_file import read_space


@pytest.mark.parametrize(
    ("written", "said", "meant"),
    [
        ("[-5.0, 5.0]", "a choice of -5.0 and 5.0", Float(-5, 5)),
        ("[5, -5.5]", "a choice of 5 and -5.5", Float(-5.5, 5)),
        ("[16, 512]", "a choice of 16 and 512", Int(16, 512)),
        ("[1e-5, 1e-1]", "a choice of 1e-5 and 1e-1", Float(1e-5, 1e-1)),
    ],
)
@pytest.mark.parametrize("form", ["x: {}\n", "parameters:\n  x: {}\n"])
def test_two_numbers_stay_a_choice_and_the_range_between_them_is_offered(tmp_path, capsys, written, said, meant, form):
    path = tmp_path / "space.yaml"
    path.write_text(form.format(written))
    space = read_space(path)
    assert isinstance(space["x"], Choice)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"x is {said}; for the range between them write x: {{")
    assert Space.from_yaml(line.split(" write ")[1])["x"] == meant


def test_nothing_is_said_of_what_can_only_be_a_choice_or_is_written_as_one(tmp_path, capsys):
    path = tmp_path / "space.yaml"
    path.write_text(
        "near: [1, 2]\nbits: [0, 1]\nmany: [1.0, 2.0, 5.0]\nwords: [a, b]\nflags: [true, false]\nnone: [1.0, null]\n"
        "quoted: ['1', '9']\noptions: {options: [-5.0, 5.0]}\nrange: {low: -5.0, high: 5.0}\none: [3]\nfixed: 3.0\n"
    )
    read_space(path)
    assert capsys.readouterr().err == ""
