"""From what was asked to a Dataset on disk; opened again when a resumed run has it already."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from thrifty.automl.request import Request
from thrifty.core.budget import Clock
from thrifty.core.errors import UsageError
from thrifty.core.run_directory import RunDirectory
from thrifty.data import describe
from thrifty.data.cache import Cache, default_folder
from thrifty.data.column import Meaning
from thrifty.data.dataset import Dataset
from thrifty.data.findings import Findings
from thrifty.data.prepare import Options, prepare
from thrifty.execution.resources import usable_cores

MEDIA_SHARE = 0.25  # of the budget, after which a sample must do


def prepared(directory: RunDirectory, request: Request, clock: Clock, watch: Any) -> tuple[Dataset, Findings]:
    """The run's Dataset and what was noticed about it; says the task and every problem."""
    if (directory.data / "dataset.json").exists():
        dataset = Dataset.open(directory.data)
        findings = Findings.open(directory.data / "findings.json", directory.bad_rows)
    else:
        shutil.rmtree(directory.data, ignore_errors=True)
        watch({"kind": "stage", "stage": "reading the data", "elapsed_seconds": clock.elapsed(),
               "budget_seconds": clock.budget_seconds})  # fmt: skip
        found = prepare(
            request.data,
            request.target,
            folder=directory.data,
            test=request.test,
            validation=request.validation,
            options=options_of(request),
            clock=clock,
            share=MEDIA_SHARE,
            cache=Cache(cache_folder(directory.path, request.cache)),
            cores=usable_cores(),
            bad_rows_file=directory.bad_rows,
        )
        dataset, findings = found.dataset, found.findings
    if request.cache and cache_folder(directory.path) != default_folder():
        said = f"the cache {default_folder()} cannot be written: what is computed is kept for this run alone"
        watch({"kind": "said", "text": f"{said}; THRIFTY_CACHE names another"})
    told = describe.describe(dataset, findings)
    watch({"kind": "said", "text": told.task})
    watch({"kind": "said", "text": told.splits_line})
    for problem in told.problems:
        watch({"kind": "said", "text": problem})
    return dataset, findings


def cache_folder(own: Path, shared: bool = True) -> Path:
    """Where what is computed is kept: for later runs too, or where that cannot be written in a run's `own` folder."""
    folder = default_folder()
    if not shared:
        return own / "cache"
    with suppress(OSError):
        (folder / ".locks").mkdir(parents=True, exist_ok=True)
    return folder if all(os.access(each, os.W_OK) for each in (folder, folder / ".locks")) else own / "cache"


def options_of(request: Request) -> Options:
    """What the request says about the data. Raises UsageError for a meaning that there is not."""
    return Options(
        group=request.group,
        time=request.time,
        weight=request.weight,
        folds=request.folds,
        overrides=meanings_of(request.meanings),
        max_bad_share=request.max_bad_share,
        seed=request.seed,
    )


def meanings_of(given: Mapping[str, str]) -> dict[str, Meaning]:
    """{column: meaning} from words. Raises UsageError."""
    known = [str(meaning) for meaning in Meaning]
    for column, word in given.items():
        if word not in known:
            raise UsageError(f"schema.{column}={word}: a meaning is one of {', '.join(known)}")
    return {column: Meaning(word) for column, word in given.items()}


def write_source(source: Any, folder: Path, name: str) -> tuple[Path, str | None]:
    """Writes tables held in memory as Arrow files; returns where, and the target where labels came beside the inputs.

    A source of several parts becomes a folder with one file a part.
    """
    from thrifty.data.formats import arrow_file
    from thrifty.data.formats.memory import from_memory

    found = from_memory(source)
    folder.mkdir(exist_ok=True)
    if len(found) == 1:
        path = folder / f"{name}.arrow"
        arrow_file.write(path, found[0].arrow.schema, found[0].arrow.to_batches())
        return path, found[0].target
    parts = folder / name
    parts.mkdir(exist_ok=True)
    for item in found:
        arrow_file.write(parts / f"{item.part}.arrow", item.arrow.schema, item.arrow.to_batches())
    return parts, found[0].target


def inspect(
    data: Any, target: str | None = None, *, meanings: Mapping[str, str] | None = None, **asked: Any
) -> dict[str, Any]:
    """What is inferred from the data, and every problem in it, as plain values; nothing is kept on disk.

    asked: test, validation, group, time, weight, folds, seed, max_bad_share, as for a run.
    """
    import tempfile

    with tempfile.TemporaryDirectory(prefix="thrifty-inspect-") as name:
        folder = Path(name)
        sources = {"data": data, "test": asked.pop("test", None), "validation": asked.pop("validation", None)}
        paths: dict[str, str | None] = {}
        for part, source in sources.items():
            if source is None or isinstance(source, (str, Path)):
                paths[part] = None if source is None else str(source)
            else:
                written, beside = write_source(source, folder / "input", part)
                paths[part] = str(written)
                target = target or (beside if part == "data" else None)
        request = Request(
            data=paths["data"] or "", target=target, test=paths["test"], validation=paths["validation"],
            meanings=dict(meanings or {}), **asked,
        )  # fmt: skip
        found = prepare(
            request.data, request.target, folder=folder / "data", test=request.test, validation=request.validation,
            options=options_of(request), cache=Cache(cache_folder(folder)), cores=usable_cores(),
        )  # fmt: skip
        told = describe.describe(found.dataset, found.findings)
        return {**told.to_json(), "splits_line": told.splits_line}
