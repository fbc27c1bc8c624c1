"""The whole line from raw rows to a Dataset on disk, with everything that was noticed on the way."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thrifty.core.budget import Clock
from thrifty.core.errors import DataError, ExternalError
from thrifty.core.seeds import generator
from thrifty.data import checks, media, notes, typed
from thrifty.data.cache import Cache
from thrifty.data.column import MEDIA, Meaning, Schema, Task
from thrifty.data.dataset import Dataset, column_fingerprint
from thrifty.data.findings import Finding, Findings, check_share, counted, reasons_in_brief, write_bad_rows
from thrifty.data.formats.kind import nearest
from thrifty.data.infer import infer
from thrifty.data.read import PART_CODES, Read, read, refuse_ambiguous, with_absolute_paths
from thrifty.data.roles import BAD_WEIGHT, groups_of, weights_of
from thrifty.data.split import ASIDE, TEST, TRAIN, VALIDATION, Splits, Wishes, split, strata_of
from thrifty.data.table import BadRow, Cells, Table, concatenated, file_names, said_of, taken
from thrifty.data.target import MIN_ROWS, Labels, infer_target, read_labels

if TYPE_CHECKING:
    import pyarrow as pa

READING_SHARE = 0.35  # of the time that preparing may take
_LEARNT = ((TEST, "test", (TRAIN, VALIDATION)), (VALIDATION, "validation", (TRAIN,)))  # parts, and those learnt from
MOST_JOINED = 0.5  # of the groups must stay apart when equal rows join some


@dataclass(frozen=True)
class Options:
    """What a person asked for about the data.

    max_bad_share: of the rows of a part that may be set aside. overrides: {column: meaning}.
    """

    group: str | None = None
    time: str | None = None
    weight: str | None = None
    folds: int | None = None
    overrides: Mapping[str, str] | None = None
    max_bad_share: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class Prepared:
    """The dataset and what was noticed."""

    dataset: Dataset
    findings: Findings


class _Deadline:
    """When preparing should end: at a share of the clock's budget."""

    def __init__(self, clock: Clock | None, share: float) -> None:
        self._clock = clock
        self._end = float("inf") if clock is None or clock.budget_seconds is None else share * clock.budget_seconds

    def left(self) -> float:
        return float("inf") if self._clock is None else self._end - self._clock.elapsed()

    def over(self) -> bool:
        return self.left() <= 0


def prepare(
    source: Any,
    target: str | None = None,
    *,
    folder: Path,
    test: Any = None,
    validation: Any = None,
    options: Options | None = None,
    clock: Clock | None = None,
    share: float = 0.25,
    cache: Cache | None = None,
    cores: int = 2,
    bad_rows_file: Path | None = None,
) -> Prepared:
    """Reads, infers, checks, splits and writes a Dataset into `folder`, which is made.

    share: of the clock's budget, counted from its start, after which a sample must do. cache: where what is known of
    images and sounds is kept. bad_rows_file: where rows that were set aside are listed, `folder`/bad_rows.csv if None.
    Raises DataError, UsageError, ExternalError; then nothing but an empty folder is left.
    """
    options = options or Options()
    deadline = _Deadline(clock, share)
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExternalError(f"{folder} cannot be made: {error.strerror or error}") from error
    try:
        work = _Work(folder, options, deadline, cache, cores)
        return work.run(source, target, test, validation, bad_rows_file or folder / "bad_rows.csv")
    except BaseException:
        _clear(folder, existed)
        raise


def _clear(folder: Path, keep: bool) -> None:
    """Removes what a failed preparation left."""
    for item in folder.iterdir():
        shutil.rmtree(item, ignore_errors=True) if item.is_dir() else item.unlink(missing_ok=True)
    if not keep:
        folder.rmdir()


class _Work:
    """The state of one preparation: findings gather while the steps go on."""

    def __init__(self, folder: Path, options: Options, deadline: _Deadline, cache: Cache | None, cores: int) -> None:
        self.folder, self.options, self.deadline = folder, options, deadline
        self.cache, self.cores = cache, cores
        self.items: list[Finding] = []
        self.bad: list[BadRow] = []
        self.sample: tuple[int, int] | None = None

    def note(self, kind: str, message: str, column: str = "", rows: int = 0) -> None:
        self.items.append(Finding(kind, column, rows, message))

    def run(self, source: Any, target: str | None, test: Any, validation: Any, bad_rows_file: Path) -> Prepared:
        reads = self._read_all(source, test, validation)
        target = _target_name(reads[0][1], target)
        for part, found in reads:  # before the rows that are left are judged
            check_share(found.bad_rows, len(found.table) + len(found.bad_rows), self.options.max_bad_share, part)
        reads[0] = ("train", self._labelled_parts(reads[0][1], target))
        self._note_renamed(reads, target)
        table, given, source_of = _joined(reads)
        learn = np.flatnonzero(given != TEST)
        options = self.options
        inferred_on = table if len(learn) == len(table) else table.take(learn)
        roles = {"weight": options.weight, "group": options.group, "time": options.time}
        schema, _ = infer(inferred_on, target, options.overrides, **roles)
        self.items += notes.of_written_numbers(inferred_on, schema, tuple(options.overrides or ()))
        reasons: dict[int, tuple[str, str]] = {}
        arrow = self._write_typed(table, schema)
        prints = self._check_media(arrow, schema, given, table.root, reasons)
        schema = self._settle_classes(table, schema, given, reasons)
        labels = read_labels(table, target, schema.task, schema.classes)
        reasons.update({row: (target, reason) for row, reason in labels.problems.items() if row not in reasons})
        weights = self._weights(table, reasons)
        self._set_aside(table, given, source_of, reasons, reads)
        self._set_unseen_aside(labels, given, target)
        groups = None if options.group is None else groups_of(table, options.group)
        splits, duplicates = self._split(arrow, table, schema, labels.values, given, prints, groups)
        self.items += notes.of_target(table, schema, labels.values, splits)
        self._look(arrow, schema, labels.values, splits, duplicates, groups)
        fingerprints = {
            name: column_fingerprint(arrow.column(name), meaning in MEDIA) for name, meaning in schema.inputs.items()
        }
        if weights is not None:
            self._check_weights(weights, splits)
            weights = (weights / max(float(weights[splits.development_rows].mean()), 1e-30)).astype(np.float32)
        kept = Table(arrow, None, table.origins, table.file_column)
        dataset = Dataset(self.folder, kept, schema, splits, labels.values, weights, groups, fingerprints)
        findings = Findings(tuple(self.items), tuple(self.bad), self.sample)
        if self.bad:
            write_bad_rows(bad_rows_file, self.bad)
        findings.save(self.folder / "findings.json")
        dataset.save()
        if not schema.names_of(*MEDIA):
            shutil.rmtree(self.folder / "source", ignore_errors=True)
        return Prepared(dataset, findings)

    def _read_all(self, source: Any, test: Any, validation: Any) -> list[tuple[str, Read]]:
        """What each source gave, the main one first."""
        sources = [("train", source), ("validation", validation), ("test", test)]
        reads = []
        for part, given in sources:
            if given is None and part != "train":
                continue
            workspace = self.folder / "source" / part
            workspace.mkdir(parents=True, exist_ok=True)
            left = READING_SHARE * self.deadline.left()
            found = read(given, workspace, part=part, seconds=None if left == float("inf") else max(left, 0.5))
            if not len(found.table):
                named = f" ({given})" if isinstance(given, (str, Path)) else ""
                raise DataError(f"the {part} data{named} has no row" + _first(found.bad_rows))
            for note in found.notes:
                self.note("sample" if "sample of" in note else "reading", note)
            reads.append((part, found))
        return reads

    def _labelled_parts(self, found: Read, target: str) -> Read:
        """What was read without its test and validation parts that have no label at all, which are noted."""
        for code, name in ((TEST, "test"), (VALIDATION, "validation")):
            if found.parts is None or not (found.parts == code).any():
                continue
            labels = found.table.arrow.column(target)
            if taken(labels, np.flatnonzero(found.parts == code)).null_count == (found.parts == code).sum():
                rest = np.flatnonzero(found.parts != code)
                found = replace(found, table=found.table.take(rest), parts=found.parts[rest])
                said = f"the {name} part has no {target!r} and is passed over; `thrifty predict` gives its predictions"
                self.note("reading", said, target)
        return found

    def _note_renamed(self, reads: list[tuple[str, Read]], target: str) -> None:
        """Notes columns whose name came again. Raises DataError where it is not clear which one was asked for."""
        options = self.options
        roles = {"target": target, "weight": options.weight, "group": options.group, "time": options.time}
        for part, found in reads:
            file = Path(file_names(found.table, most=1)).name or f"the {part} data"
            for role, name in roles.items():
                if name in found.renamed.values():
                    raise DataError(
                        f"{file} has more than one column {name!r}, so that it is not clear which is the {role}; "
                        "rename or remove the others"
                    )
            refuse_ambiguous(found, reads[0][1].table.names, f"the {part} data")
            for new, old in found.renamed.items():
                self.note("column", f"{file} has more than one column {old!r}: a later one is called {new!r}", new)

    def _write_typed(self, table: Table, schema: Schema) -> pa.Table:
        arrow, lost = typed.write(self.folder / "table.arrow", table.arrow, schema, table.root)
        self.items += notes.of_lost_cells(table, lost) + notes.of_unread_times(arrow, schema)
        return arrow

    def _check_media(
        self, arrow: pa.Table, schema: Schema, given: np.ndarray, root: Path | None, reasons: dict[int, tuple[str, str]]
    ) -> dict[str, np.ndarray]:
        """Decodes images and sounds; unreadable ones go to `reasons`, those there was no time for are set aside."""
        prints: dict[str, np.ndarray] = {}
        names = schema.names_of(*MEDIA)
        if not names:
            return prints
        order = generator(self.options.seed, "media").permutation(len(given))
        unchecked = np.zeros(len(given), bool)
        for name in names:
            meaning = schema.inputs[name]
            values = Cells(arrow.column(name))
            _check_existence(values, name, root)
            found = media.check(
                values, meaning, cache=self.cache, cores=self.cores, order=order, out_of_time=self.deadline.over
            )
            prints[name] = found.prints
            reasons.update({row: (name, why) for row, why in found.reasons.items() if row not in reasons})
            unchecked |= found.state == media.UNCHECKED
        if unchecked.any():
            given[unchecked] = ASIDE
            used = int((~unchecked).sum())
            self.sample = (used, len(given))
            self.note("sample", f"a sample of {used:,} of {len(given):,} rows is used: there was no time to read all")
        return prints

    def _settle_classes(
        self, table: Table, schema: Schema, given: np.ndarray, reasons: Mapping[int, tuple[str, str]]
    ) -> Schema:
        """The schema with the classes that good rows have; the same when none was lost."""
        good = (given != TEST) & (given != ASIDE)
        good[list(reasons)] = False
        if int(good.sum()) == int((given != TEST).sum()):
            return schema
        if good.sum() < MIN_ROWS:
            said = f"only {int(good.sum())} rows can be read; at least {MIN_ROWS} are needed{_why(reasons)}"
            raise DataError(said_of(table, said))
        override = (self.options.overrides or {}).get(schema.target)
        alone = replace(table, arrow=table.arrow.select([schema.target])).take(np.flatnonzero(good))
        found = infer_target(alone, schema.target, Meaning(override) if override else None)
        return replace(schema, task=found.task, classes=found.classes, target_reason=found.reason)

    def _weights(self, table: Table, reasons: dict[int, tuple[str, str]]) -> np.ndarray | None:
        name = self.options.weight
        if name is None:
            return None
        values, wrong = weights_of(table, name)
        for row in wrong.tolist():
            reasons.setdefault(row, (name, BAD_WEIGHT))
        if not values.any():
            raise DataError(f"the weight column {name!r} holds no positive number")
        return values

    def _check_weights(self, weights: np.ndarray, splits: Splits) -> None:
        """Raises DataError where nothing that is learned from, or validated on, has a weight."""
        parts = [("learn from", train) for train, _ in splits.rounds()]
        for what, rows in (*parts, ("validate on", splits.validation_rows)):
            if len(rows) and not weights[rows].any():
                raise DataError(
                    f"all {len(rows)} rows {'of a fold ' if len(parts) > 1 else ''}to {what} weigh 0 in the column "
                    f"{self.options.weight!r}; split otherwise (--folds, --validation, without --time), or weigh them"
                )

    def _set_aside(
        self,
        table: Table,
        given: np.ndarray,
        source_of: np.ndarray,
        reasons: Mapping[int, tuple[str, str]],
        reads: list[tuple[str, Read]],
    ) -> None:
        """Sets rows with a problem aside, and stops when a source has too many of them."""
        for number, (part, found) in enumerate(reads):
            rows = [row for row in sorted(reasons) if source_of[row] == number]
            bad = list(found.bad_rows)
            for row in rows:
                column, reason = reasons[row]
                bad.append(BadRow(*table.origin(row), column, reason))
            total = int((source_of == number).sum()) + len(found.bad_rows)
            check_share(bad, total, self.options.max_bad_share, part)
            self.bad += bad
            if bad:
                said = f"{len(bad):,} of {total:,} rows of the {part} data are set aside: {reasons_in_brief(bad)}"
                self.note("bad_rows", said, rows=len(bad))
        given[list(reasons)] = ASIDE

    def _set_unseen_aside(self, labels: Labels, given: np.ndarray, target: str) -> None:
        rows = [row for row in labels.unseen if given[row] != ASIDE]
        given[list(labels.unseen)] = ASIDE
        if rows:
            names = ", ".join(sorted({repr(labels.unseen[row]) for row in rows})[:5])
            said = f"{counted(len(rows), 'row has', 'rows have')} a class that no train row has: {names}; not scored"
            self.note("unseen_class", said, target, len(rows))

    def _split(
        self,
        arrow: pa.Table,
        table: Table,
        schema: Schema,
        targets: np.ndarray,
        given: np.ndarray,
        prints: Mapping[str, np.ndarray],
        groups: np.ndarray | None,
    ) -> tuple[Splits, checks.Duplicates | None]:
        options = self.options
        usable = given != ASIDE
        duplicates = None
        clusters = np.arange(len(given))
        if not self.deadline.over():
            duplicates = checks.duplicates(arrow, schema, prints, usable)
            clusters = np.where(usable, duplicates.clusters, -1)
        else:
            self.note("split", "there was no time to look for duplicate rows")
        if groups is not None:
            clusters = groups if options.time is not None else self._joined_groups(groups, clusters, usable)
        elif options.time is not None:
            clusters = np.arange(len(given))
        at = None if options.time is None else self._times(table, given)
        strata = np.zeros(len(given), np.int64)
        strata[usable] = strata_of(schema.task, np.asarray(targets)[usable])
        learn = (given == 0).sum()
        if learn < MIN_ROWS:
            raise DataError(said_of(table, f"only {learn} rows are left to learn from; at least {MIN_ROWS} are needed"))
        return split(given, strata, clusters, Wishes(options.folds, options.seed), at), duplicates

    def _times(self, table: Table, given: np.ndarray) -> np.ndarray:
        """The time of each row, NaN where there is none; notes the rows to split that have none."""
        name = self.options.time or ""
        at = typed.seconds(table.arrow.column(name))
        without = np.flatnonzero((given == TRAIN) & np.isnan(at))
        if len(without):
            self.items.append(notes.of_times(table, name, without, self.options.group is not None))
        return at

    def _joined_groups(self, groups: np.ndarray, duplicates: np.ndarray, usable: np.ndarray) -> np.ndarray:
        """Groups that share equal or nearly equal rows as one; the groups as they are where that would join most."""
        edges = [checks.links(groups), checks.links(duplicates)]
        joined = checks.components(len(groups), *map(np.concatenate, zip(*edges, strict=True)))
        before, after = (len(np.unique(clusters[usable])) for clusters in (groups, joined))
        if after >= MOST_JOINED * before:
            return joined
        said = (
            "rows of different groups are equal or nearly equal, or share a text, an image or a sound: keeping them on "
            f"one side would leave {after:,} of {before:,} groups, so the groups are kept and such rows may be on both"
        )
        self.note("leak", said, self.options.group or "")
        return groups

    def _look(
        self,
        arrow: pa.Table,
        schema: Schema,
        targets: np.ndarray,
        splits: Splits,
        duplicates: checks.Duplicates | None,
        groups: np.ndarray | None,
    ) -> None:
        """Notes duplicates, contradictions, leaks, columns that give the target away, and rare classes."""
        usable = splits.part != ASIDE
        if duplicates is not None:
            self._note_duplicates(duplicates, schema, targets, splits, usable)
        if groups is not None:
            self._note_shared_groups(groups, splits)
        if not self.deadline.over():
            learnt = splits.development_rows
            if duplicates is not None:  # copies would be told from each other
                learnt = np.sort(learnt[np.unique(duplicates.clusters[learnt], return_index=True)[1]])
            given_away = checks.giveaways(arrow, schema, targets, learnt, self.options.seed)
            for name, score in given_away.items():
                measure = "an R2 of" if schema.task is Task.REGRESSION else "an accuracy of"
                said = (
                    f"the column {name!r} alone gives the target away ({measure} {score:.3f}); is it known beforehand?"
                )
                self.note("gives_away", f"{said} If not: --set schema.{name}=ignored", name)
        if schema.classes and schema.task is not Task.MULTILABEL:
            counts = np.bincount(targets[splits.development_rows], minlength=len(schema.classes))
            rare = [schema.classes[i] for i in np.flatnonzero(counts < 10)]
            if rare:
                shown = ", ".join(map(repr, rare[:5])) + (", ..." if len(rare) > 5 else "")
                said = f"{counted(len(rare), 'class has', 'classes have')} fewer than 10 rows to learn from: {shown}"
                self.note("classes", said, schema.target, int(counts[counts < 10].sum()))

    def _note_shared_groups(self, groups: np.ndarray, splits: Splits) -> None:
        for part, name, learnt in _LEARNT:
            shared = checks.leaks(groups, splits.part, part, learnt)
            if shared:
                rows = counted(shared, f"{name} row belongs", f"{name} rows belong")
                self.note("leak", f"{rows} to groups that are also trained on", self.options.group or "", shared)

    def _note_duplicates(
        self, duplicates: checks.Duplicates, schema: Schema, targets: np.ndarray, splits: Splits, usable: np.ndarray
    ) -> None:
        equal, near = duplicates.num_equal, duplicates.num_near
        said = [f"{counted(equal, 'row is', 'rows are')} equal to an earlier one"] if equal else []
        if near:
            alike = counted(near, "row is", "rows are")
            said.append(f"{alike} nearly equal to an earlier one, or the same in an image, a sound or a text")
        if said:
            kept = "; they stay in one part"
            if duplicates.by_chance:
                kept = ", which so few different values bring about by chance; they are split like other rows"
            elif duplicates.repeated:
                kept += f", but for {duplicates.repeated:,} that come again too often"
            self.note("duplicates", " and ".join(said) + kept, rows=equal + near)
        against = checks.conflicts(duplicates.equal, targets, schema.task, usable)
        if against:
            self.note(
                "conflict",
                f"{counted(against, 'row has', 'rows have')} the inputs of others, but another label",
                rows=against,
            )
        for part, name, learnt in _LEARNT:
            leaked = checks.leaks(duplicates.clusters, splits.part, part, learnt)
            if leaked:
                total = int((splits.part == part).sum())
                said_leak = f"{leaked:,} of {total:,} {name} rows are equal or nearly equal to rows learnt from"
                self.note("leak", said_leak + "; the figures may be too good", rows=leaked)


def _first(bad: list[BadRow]) -> str:
    return f": {bad[0].reason}" if bad else ""


def _why(reasons: Mapping[int, tuple[str, str]]) -> str:
    return f": {next(iter(reasons.values()))[1]}" if reasons else ""


def _listed(names: Sequence[str], most: int = 12) -> str:
    """The names, the middle ones left out where they are many: a target is often the first or the last."""
    if len(names) <= most:
        return ", ".join(map(repr, names))
    first, last = (", ".join(map(repr, some)) for some in (names[: most // 2], names[-most // 2 :]))
    return f"{first}, ({len(names) - most:,} more), {last}"


def _target_name(found: Read, target: str | None) -> str:
    """The target's name, given or known from the source. Raises DataError when there is none."""
    names = found.table.names
    if target is None:
        if found.target is None:
            likely = [n for n in names if n.lower() in ("label", "target", "class", "y", "labels", "category")]
            hint = f"; perhaps {' or '.join(map(repr, likely))}" if likely else ""
            raise DataError(f"a table needs --target COLUMN{hint}; the columns are {_listed(names)}")
        return found.target
    if target not in names:
        raise DataError(f"there is no column {target!r} for the target; {nearest(target, names)}")
    return target


def _joined(reads: list[tuple[str, Read]]) -> tuple[Table, np.ndarray, np.ndarray]:
    """All rows in one table, the part that each is given for (0: to be split), and the source that each is from."""
    main = reads[0][1]
    for part, found in reads[1:]:
        for name in main.table.names:
            if name not in found.table.names:
                raise DataError(f"the {part} data has no column {name!r}; {nearest(name, found.table.names)}")
    names = list(main.table.names)
    tables, parts = [], []
    for part, found in reads:
        table = replace(found.table, arrow=found.table.arrow.select(names))
        tables.append(table if len(reads) == 1 else with_absolute_paths(table, force=table.file_column))
        codes = found.parts if part == "train" and found.parts is not None else None
        parts.append(np.full(len(table), PART_CODES[part], np.int8) if codes is None else codes.copy())
    source_of = np.repeat(np.arange(len(reads)), [len(table) for table in tables])
    return concatenated(tables), np.concatenate(parts).astype(np.int8), source_of


def _check_existence(values: Sequence[Any], name: str, root: Path | None) -> None:
    """Raises DataError when the first hundred paths of a column all name files that are not there."""
    paths = list(islice((value for value in values if isinstance(value, str)), 100))
    if paths and not any(Path(path).exists() for path in paths):
        where = f" (relative to {root})" if root is not None else ""
        raise DataError(
            f"the column {name!r} holds names of files, but none of the first {len(paths)} is there: {paths[0]}{where}."
            f" Put them there, or leave the column out with --set schema.{name}=ignored"
        )
