import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thrifty.core.errors import DataError
from thrifty.data.formats import csv_text

HERE = Path("data.csv")


def read(data: bytes, path: Path = HERE) -> csv_text.Read:
    return csv_text.read_csv(data, path)


def cells(data: bytes, path: Path = HERE) -> dict[str, list[str | None]]:
    return read(data, path).arrow.to_pydict()


def test_cells_come_out_as_the_text_that_stood_there():
    assert cells(b"a,b\n0012,1.0\n,x y\n") == {"a": ["0012", None], "b": ["1.0", "x y"]}


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_of_every_system_are_read(end: bytes):
    assert cells(end.join([b"a,b", b"1,2", b"3,4", b""])) == {"a": ["1", "3"], "b": ["2", "4"]}


def test_a_byte_order_mark_is_no_part_of_the_first_name():
    assert cells(b"\xef\xbb\xbfa,b\n1,2\n") == {"a": ["1"], "b": ["2"]}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read_when_its_mark_says_so(encoding: str):
    data = "a,b\n1,ü\n".encode(encoding)
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    assert cells(mark + data) == {"a": ["1"], "b": ["ü"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a;b\n1;x,y\n2;z\n", {"a": ["1", "2"], "b": ["x,y", "z"]}),
        ("a\tb\n1\tx,y\n2\tz\n", {"a": ["1", "2"], "b": ["x,y", "z"]}),
        ("a|b\n1|x\n", {"a": ["1"], "b": ["x"]}),
        ("sep=;\na;b\n1;2\n", {"a": ["1"], "b": ["2"]}),
        ('a,b\n1,"x;y;z"\n2,"p;q;r"\n', {"a": ["1", "2"], "b": ["x;y;z", "p;q;r"]}),
        ("text\nhello, you\nbye, you, too\n", None),
    ],
)
def test_the_delimiter_is_found(text: str, expected: dict[str, list[str]] | None):
    found = read(text.encode())
    if expected is None:
        assert found.arrow.column_names == ["text"]
    else:
        assert found.arrow.to_pydict() == expected


def test_decimal_commas_become_points_where_commas_do_not_separate():
    assert cells(b"x;y\n1,5;a\n2;b,c\n-3,25;d\n")["x"] == ["1.5", "2", "-3.25"]
    assert cells(b"x;y\n1,5;a\n2;b,c\n-3,25;d\n")["y"] == ["a", "b,c", "d"]


def test_marks_of_missing_numbers_do_not_hide_decimal_commas():
    assert cells(b"x;y\n1,5;a\nN/A;b\n\\N;c\n?;d\n2;e\n")["x"] == ["1.5", "N/A", "\\N", "?", "2"]
    assert cells(b"x;y\n1,5;a\nabout 2,5;b\n")["x"] == ["1,5", "about 2,5"]


@pytest.mark.parametrize("data", [b"x\ty\n1,234\ta\n980\tb\n12,500\tc\n", b"x;y\n1,234;a\n980;b\n"])
def test_commas_between_thousands_are_no_decimal_commas(data: bytes):
    assert cells(data)["x"][:2] == ["1,234", "980"]


def test_commas_before_three_decimals_are_decimal_commas_where_other_numbers_tell():
    assert cells(b"x\ty\n1,234\ta\n0,980\tb\n")["x"] == ["1.234", "0.980"]
    assert cells(b"x;y\n1,234;a\n2,500;b\n")["x"] == ["1.234", "2.500"]
    assert cells(b"x\ty\n1,234\ta\n1234\tb\n")["x"] == ["1.234", "1234"]


def test_ragged_lines_are_bad_with_their_numbers_and_the_rest_is_kept():
    found = read(b"a,b,c\n1,2,3\n1,2\n4,5,6\n1,2,3,4\n7,8,9\n")
    assert found.arrow.to_pydict() == {"a": ["1", "4", "7"], "b": ["2", "5", "8"], "c": ["3", "6", "9"]}
    assert [bad.row for bad in found.bad] == [2, 4]
    assert "line 3: ragged: 2 cells where the header has 3" in found.bad[0].reason


def test_spare_empty_cells_at_the_end_of_a_line_do_not_matter():
    assert cells(b"a,b\n1,2,\n3,4,,\n") == {"a": ["1", "3"], "b": ["2", "4"]}


def test_an_unclosed_quote_costs_one_row_and_not_the_rest_of_the_file():
    lines = [b"a,b,c", *(b"%d,x,y" % i for i in range(50))]
    lines[11] = b'10,"x,y'
    found = read(b"\n".join(lines) + b"\n")
    assert found.arrow.num_rows == 49
    assert [(bad.row, bad.reason) for bad in found.bad] == [(11, "line 12: a quote is opened and not closed")]


def test_an_unclosed_quote_before_quoted_cells_costs_one_row():
    lines = [b"a,b", *(b'%d,"x %d"' % (i, i) for i in range(50))]
    lines[11] = b'10,"x'
    found = read(b"\n".join(lines) + b"\n")
    assert [bad.row for bad in found.bad] == [11]
    assert found.arrow.num_rows == 49


def test_cells_with_line_breaks_are_one_cell():
    found = read(b'a,b\n1,"x\ny, z\n\nw"\n2,"q ""r"" s"\n')
    assert found.arrow.to_pydict() == {"a": ["1", "2"], "b": ["x\ny, z\n\nw", 'q "r" s']}
    assert not found.bad


def test_a_quote_inside_a_cell_is_a_character():
    assert cells(b'a,b\n5" screen,x\n6,7" y\n') == {"a": ['5" screen', "6"], "b": ["x", '7" y']}
    assert cells(b'a\tb\n"5 wide\tx\n6\ty\n', Path("a.tsv")) == {"a": ['"5 wide', "6"], "b": ["x", "y"]}


def test_lines_that_are_not_utf_8_in_a_file_that_is_are_bad():
    found = read(b"a,b\n" + b"1,x\n" * 99 + "1,ü\n".encode() + b"2,f\xf6x\n" + b"3,y\n" * 10)
    assert [(bad.row, "wrong encoding" in bad.reason) for bad in found.bad] == [(101, True)]
    assert found.arrow.num_rows == 110


@pytest.mark.parametrize("num_plain", [1, 1000])
def test_a_file_with_no_other_letters_than_such_is_windows_1252(num_plain: int):
    found = read("a,b\n1,fünf\n".encode("cp1252") + b"2,x\n" * num_plain)
    assert found.arrow.slice(0, 2).to_pydict() == {"a": ["1", "2"], "b": ["fünf", "x"]}
    assert found.arrow.num_rows == 1 + num_plain
    assert "Windows-1252" in found.notes[0]


def test_blank_lines_are_passed_over():
    assert cells(b"\n\na,b\n\n1,2\n   \n3,4\n\n\n") == {"a": ["1", "3"], "b": ["2", "4"]}


def test_names_are_made_unique():
    assert read(b"a,a,,a_2\n1,2,3,4\n").arrow.column_names == ["a", "a_3", "column3", "a_2"]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b"  \r\n"])
def test_an_empty_file_is_an_error(data: bytes):
    with pytest.raises(DataError, match="empty"):
        read(data)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x89PNG\r\n\x1a\nrest", "PNG"),
        (b"PK\x03\x04rest", "zip"),
        (b"PAR1....", "Parquet"),
        (b"a,b\n1\0\0,2\n", "text"),
    ],
)
def test_a_file_that_is_no_text_is_an_error_that_says_what_it_is(data: bytes, name: str):
    with pytest.raises(DataError, match=name):
        read(data)


def test_a_header_alone_gives_no_rows():
    assert cells(b"a,b\n") == {"a": [], "b": []}
    assert cells(b"a,b") == {"a": [], "b": []}


def test_a_long_cell_is_read():
    text = "x" * 3_000_000
    assert cells(f'a,b\n1,"{text}"\n2,"y\nz"\n'.encode())["b"] == [text, "y\nz"]


plain_cell = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(plain_cell, min_size=3, max_size=3), min_size=1, max_size=12),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_the_csv_module_writes_is_read_back(rows: list[list[str]], delimiter: str, quoting: int):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    writer.writerows([["first", "second", "third"], *rows])
    found = read(out.getvalue().encode(), Path("x.tsv" if delimiter == "\t" else "x.csv"))
    if found.arrow.column_names != ["first", "second", "third"]:
        return  # text that looks like another delimiter's
    expected = [
        row for row in rows if any(cell.strip() for cell in row) or quoting == csv.QUOTE_ALL or delimiter != "\t"
    ]
    assert found.arrow.num_rows + len(found.bad) >= len(expected) - sum(not any(r) for r in rows)
    if not found.bad and found.arrow.num_rows == len(rows):
        back = [[cell or "" for cell in row] for row in zip(*found.arrow.to_pydict().values())]
        if delimiter == ",":
            assert back == rows


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_clearly(data: bytes):
    try:
        found = read(b"a,b,c\n1,2,3\n" + data)
    except DataError:
        return
    assert found.arrow.num_rows + len(found.bad) >= 1
    assert len({bad.row for bad in found.bad}) == len(found.bad)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["1,2,3", '1,"x"', '1,"x', '"', '""', 'a,b"c,d', '1,2,"y\n', '"p"q,r,s', ",,", "\r", "\xe9,,"]),
        max_size=12,
    )
)
def test_lines_made_of_traps_never_take_good_rows_with_them(lines: list[str]):
    good = ["7,8,9"] * 3
    data = "\n".join(["a,b,c", *good, *lines, *good]) + "\n"
    found = read(data.encode())
    assert found.arrow.to_pydict()["a"][:3] == ["7", "7", "7"]
    assert sum(row == ("7", "8", "9") for row in zip(*found.arrow.to_pydict().values())) >= 5


def test_names_that_come_again_are_told_with_what_they_became():
    assert read(b"a,b, a ,a,,\n1,2,3,4,5,6\n").renamed == {"a_2": "a", "a_3": "a"}
    assert read(b"a,b\n1,2\nragged\n").renamed == {}
