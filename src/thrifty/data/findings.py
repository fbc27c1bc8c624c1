"""Everything that was noticed about the data, for people, the report and `bad_rows.csv`."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from thrifty.core.errors import DataError, ExternalError, StoreError
from thrifty.core.files import read_json, replacing, write_json
from thrifty.data.table import BadRow, Table


class Finding(NamedTuple):
    """One thing worth saying.

    kind: reading, sample, column, target, bad_rows, unseen_class, duplicates, conflict, leak, gives_away, classes,
    split, time.
    column: "" when it is about the rows. rows: how many it concerns, 0 when it is not about a number of rows.
    """

    kind: str
    column: str
    rows: int
    message: str


@dataclass(frozen=True)
class Findings:
    """What was noticed, the rows that were set aside, and the sample: (rows used, rows there are), None for all."""

    items: tuple[Finding, ...] = ()
    bad_rows: tuple[BadRow, ...] = ()
    sample: tuple[int, int] | None = None

    def of(self, kind: str) -> list[Finding]:
        """The findings of one kind."""
        return [item for item in self.items if item.kind == kind]

    def save(self, path: Path) -> None:
        """Writes all but the single bad rows as JSON."""
        sample = list(self.sample) if self.sample else None
        items = [item._asdict() for item in self.items]
        write_json(path, {"items": items, "num_bad_rows": len(self.bad_rows), "sample": sample})

    @staticmethod
    def open(path: Path, bad_rows: Path) -> Findings:
        """What `save` and `write_bad_rows` wrote. Raises StoreError."""
        try:
            value: Mapping[str, Any] = read_json(path)
            items = tuple(Finding(**item) for item in value["items"])
            sample = tuple(value["sample"]) if value["sample"] else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        return Findings(items, tuple(read_bad_rows(bad_rows)), sample)


def write_bad_rows(path: Path, bad_rows: Iterable[BadRow]) -> None:
    """Writes the rows that were set aside as CSV: file, row, column, reason. Raises ExternalError."""
    try:
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="", errors="replace") as file:
            out = csv.writer(file)
            out.writerow(BadRow._fields)
            for bad in bad_rows:
                out.writerow([bad.file, "" if bad.row is None else bad.row, bad.column, " ".join(bad.reason.split())])
    except OSError as error:
        raise ExternalError(f"{path} cannot be written: {error.strerror or error}") from error


def read_bad_rows(path: Path) -> list[BadRow]:
    """What `write_bad_rows` wrote; nothing when there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows, None)
        return [BadRow(row[0], int(row[1]) if row[1] else None, row[2], row[3]) for row in rows]


def check_share(bad: Sequence[BadRow], num_rows: int, max_share: float, what: str) -> None:
    """Raises DataError when more than `max_share` of the rows of a source are bad."""
    if not bad or len(bad) <= max_share * num_rows:
        return
    shown = "; ".join(f"{place(row)}: {row.reason}" for row in bad[:3]) + ("; ..." if len(bad) > 3 else "")
    raise DataError(
        f"{len(bad):,} of {num_rows:,} rows of the {what} data cannot be used ({len(bad) / num_rows:.1%}, more than "
        f"{max_share:.1%}): {shown}. Mend them, or allow more with --max-bad-share"
    )


def place(row: BadRow) -> str:
    """A bad row's place in words."""
    where = row.file if row.row is None else f"{row.file} row {row.row}" if row.file else f"row {row.row}"
    return f"{where}, column {row.column}" if row.column and row.row is not None else where


def places(table: Table, rows: Sequence[int], most: int = 3) -> str:
    """The first rows by their places: `rows 4, 9 of a.csv`."""
    found = [table.origin(row) for row in rows[:most]]
    more = ", ..." if len(rows) > most else ""
    files = {file for file, _ in found}
    if len(files) == 1 and all(number is not None for _, number in found):
        name = Path(next(iter(files))).name
        numbers = ", ".join(f"{number:,}" for _, number in found)
        return f"{'row' if len(rows) == 1 else 'rows'} {numbers}{more}" + (f" of {name}" if name else "")
    return ", ".join(place(BadRow(file, number, "", "")) for file, number in found) + more


def counted(number: int, one: str, many: str) -> str:
    """A number with the word for one or for many: `1 row is`, `2 rows are`."""
    return f"{number:,} {one if number == 1 else many}"


def reasons_in_brief(bad: Sequence[BadRow], most: int = 4) -> str:
    """The reasons of bad rows without their places, with counts."""
    kinds = Counter(_brief(row.reason) for row in bad)
    said = [f"{count:,} {kind}" for kind, count in kinds.most_common(most)]
    return ", ".join(said) + (", ..." if len(kinds) > most else "")


def _brief(reason: str) -> str:
    head, _, tail = reason.partition(": ")
    words = tail if head.startswith(("line ", "row ")) and tail else reason
    return words.partition(":")[0][:60]
