"""The README and docs/: their Python runs, their flags exist, their links resolve, what is generated is up to date.

Python blocks of a file run in order in one namespace, in an empty folder that holds what `files` makes. A comment line
right before a block says what is special about it:
    <!-- test: slow -->        run by `make check` alone
    <!-- test: file a/b.py -->  the block is the source file src/thrifty/a/b.py; it becomes importable as one
"""

from __future__ import annotations

import ast
import csv
import importlib.util
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import thrifty
from thrifty import recipe
from thrifty.automl.candidates import candidate
from thrifty.data.encode import registry
from thrifty.evaluation import metrics, resampling
from thrifty.tuning.policies import named

ROOT = Path(__file__).parents[1]
PAGES = [
    p.relative_to(ROOT).as_posix()
    for p in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
]
_BLOCK = re.compile(r"^(?:<!-- test: (?P<mark>[^>]*?) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    mark: str
    line: int


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str, language: str | None = None) -> list[Block]:
    text = text_of(page)
    found = [
        Block(m["language"], m["code"], m["mark"] or "", text.count("\n", 0, m.start("code")))
        for m in _BLOCK.finditer(text)
    ]
    return [block for block in found if language in (None, block.language)]


WITH_PYTHON = [page for page in PAGES if blocks_of(page, "python")]
SLOW = [page for page in WITH_PYTHON if any(block.mark == "slow" for block in blocks_of(page, "python"))]


# ---- what the examples find in their folder


def wine_rows() -> list[dict[str, Any]]:
    """178 wines with their cultivar and what was measured of each, from scikit-learn."""
    from sklearn.datasets import load_wine

    data = load_wine()
    names = [name.split("/")[0] for name in data.feature_names]
    return [
        {**dict(zip(names, map(float, values))), "kind": f"cultivar {kind + 1}"}
        for values, kind in zip(data.data, data.target, strict=True)
    ]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a linear model on the wines, made in this process to save time."""
    from thrifty.data.prepare import prepare
    from thrifty.engines.classical import fit
    from thrifty.exporting.artifact import Member, assemble
    from thrifty.testing.executors import RecordingChannel

    folder = tmp_path_factory.mktemp("wine")
    write_csv(folder / "wine.csv", wine_rows())
    dataset = prepare(str(folder / "wine.csv"), "kind", folder=folder / "data").dataset
    (folder / "trial").mkdir()
    made = recipe.to_json(recipe.Recipe(recipe.Preparation(("numbers",)), recipe.Linear()))
    arguments = {"data": str(folder / "data"), "folder": str(folder / "trial"), "recipe": made, "metric": "accuracy"}
    fit(arguments, RecordingChannel())
    return assemble(
        [Member(folder / "trial/model")], dataset.schema, folder / "artifact", card={"title": "Predicts kind"}
    )


@pytest.fixture
def files(tmp_path: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that examples run in: wine.csv, and runs/wine-1 with an artifact."""
    import shutil

    write_csv(tmp_path / "wine.csv", wine_rows())
    shutil.copytree(artifact, tmp_path / "runs/wine-1/artifact")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THRIFTY_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def registries() -> Iterator[None]:
    """Takes back what examples add to the registries."""
    import thrifty.engines.features as features

    kept = [(r, dict(r)) for r in (recipe.MODELS, metrics.METRICS, registry.REGISTRY, named.POLICIES, features._BLOCKS)]
    names, functions = candidate.NAMES, (metrics.of_counts, resampling.of_counts)
    yield
    for live, before in kept:
        live.clear()  # type: ignore[attr-defined]
        live.update(before)  # type: ignore[attr-defined]
    candidate.NAMES, (metrics.of_counts, resampling.of_counts) = names, functions


# ---- Python


def run_blocks(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, slow: bool) -> dict[str, Any]:
    """Runs a page's blocks; a failure names the page and the line."""
    namespace: dict[str, Any] = {"__name__": "docs"}
    for block in blocks_of(page, "python"):
        if block.mark == "slow" and not slow:
            continue
        source = "\n" * block.line + block.code  # so that tracebacks have the page's lines
        if block.mark.startswith("file "):
            add_module(Path(block.mark.removeprefix("file ")), block.code, folder, monkeypatch)
        else:
            exec(compile(source, str(ROOT / page), "exec", dont_inherit=True), namespace)
    return namespace


def add_module(path: Path, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a file importable as the module of thrifty that it would be in the source tree."""
    import sys

    target = folder / "source" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(code, encoding="utf-8")
    package = importlib.import_module(f"thrifty.{path.parent.as_posix().replace('/', '.')}")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(target.parent)])
    monkeypatch.delitem(sys.modules, f"{package.__name__}.{path.stem}", raising=False)


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_python_of_a_page_runs(page, files, registries, monkeypatch):
    namespace = run_blocks(page, files, monkeypatch, slow=False)
    run_test_classes(namespace)
    check_events(files)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW)
def test_the_slow_python_of_a_page_runs(page, files, registries, monkeypatch):
    run_blocks(page, files, monkeypatch, slow=True)
    check_events(files)


def run_test_classes(namespace: dict[str, Any]) -> None:
    """Runs the test classes that a page defines, as pytest would."""
    for name, value in namespace.items():
        if name.startswith("Test") and isinstance(value, type):
            for method in dir(value):
                if method.startswith("test_"):
                    getattr(value(), method)()


# ---- flags, links, generated pages, tables


@pytest.fixture(scope="session")
def helps() -> dict[str, str]:
    """The output of --help of each command, and of thrifty itself under ""."""
    from typer.testing import CliRunner

    from thrifty.cli.main import app

    runner = CliRunner()
    main = runner.invoke(app, ["--help"], terminal_width=200).output
    commands = re.findall(r"^  (\w+)  ", main.partition("Commands:")[2], re.M)
    return {"": main, **{c: runner.invoke(app, [c, "--help"], terminal_width=200).output for c in commands}}


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_of_a_thrifty_command_is_in_its_help(page, helps):
    text = text_of(page).replace("\\\n", " ")
    for command, rest in re.findall(r"\bthrifty (\w+)\b([^`\n]*)", text):
        for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", rest):
            assert command in helps, f"{page}: there is no command {command!r}"
            assert re.search(rf"{flag}\b", helps[command]), f"{page}: `thrifty {command}` has no {flag}"


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_is_one_of_a_command(page, helps):
    known = set(re.findall(r"--[a-z][\w-]*", " ".join(helps.values())))
    others = {"--extra-index-url", "--index-url"}  # of pip
    lines = [line for line in text_of(page).splitlines() if not re.match(r"\s*(<!--|\|[\s:|-]+\|$)", line)]
    used = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", "\n".join(lines)))
    assert used <= known | others


def test_the_readme_names_every_command(helps):
    text = text_of("README.md")
    assert [c for c in helps if c and f"`thrifty {c}" not in text] == []


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_repository_resolve(page):
    text = _BLOCK.sub("", text_of(page))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.M)
            assert anchor in map(slug, headings), f"{page}: {target} names no heading"


def test_every_page_of_the_docs_is_linked_from_the_readme():
    text = text_of("README.md")
    assert [page for page in PAGES if page.startswith("docs/") and f"({page}" not in text] == []


def test_the_readme_stays_short():
    assert len(text_of("README.md").splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES)
def test_the_json_and_yaml_of_a_page_can_be_read(page):
    for block in blocks_of(page):
        if block.language == "yaml":
            assert yaml.safe_load(block.code) is not None
        elif block.language == "json":
            assert json.loads(block.code) is not None


def test_the_recipe_reference_is_up_to_date():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == text_of("docs/recipes.md"), "run: python docs/generate.py"


def test_the_readme_has_the_extras_and_the_torch_of_the_project():
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    extras = set(project["optional-dependencies"]) - {"dev"}
    text = text_of("README.md")
    assert {e for e in re.findall(r"^\| `\.\[([\w,]+)\]` ", text, re.M) if "," not in e} == extras
    pinned = re.search(r"^torch==[\d.]+", text_of("constraints.txt"), re.M)
    assert pinned is not None
    assert set(re.findall(r"torch==[\d.]*\d", text)) == {pinned[0]}


def test_the_page_on_studies_names_every_policy():
    rows = re.findall(r'^\| `"([\w-]+)"` ', text_of("docs/study.md"), re.M)
    assert set(rows) == {"auto", *named.SAMPLERS, *named.SCHEDULERS, *named.POLICIES}


def test_the_page_on_data_names_every_meaning_and_task():
    from thrifty.data.column import Meaning, Task

    text = text_of("docs/data.md")
    assert [word for word in (*Meaning, *Task) if f"| `{word}` |" not in text] == []


# ---- events


def documented_events() -> dict[str, set[str]]:
    """The fields of each kind that docs/events.md describes."""
    kinds: dict[str, set[str]] = {}
    for kinds_cell, fields_cell in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) \|", text_of("docs/events.md"), re.M):
        for kind in re.findall(r"`(\w+)`", kinds_cell):
            kinds[kind] = set(re.findall(r"`(\w+)`", fields_cell))
    return kinds


def check_events(folder: Path) -> None:
    """Every event in the folder's event logs has a documented kind, and documented fields."""
    known = documented_events()
    for log in folder.rglob("events.jsonl"):
        for number, line in enumerate(log.read_text(encoding="utf-8").splitlines(), 1):
            event = json.loads(line)
            assert event["seq"] == number
            assert event["kind"] in known, f"docs/events.md lacks the kind {event['kind']}"
            fields = set(event) - {"seq", "time_seconds", "kind", "trial"}
            assert fields <= known[event["kind"]], f"docs/events.md lacks fields of {event['kind']}"


def test_every_kind_of_event_that_the_code_records_is_documented():
    known = documented_events()
    for path in (ROOT / "src/thrifty").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if ".record(" not in source:
            continue
        tree = ast.parse(source)
        constants = {
            t.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for t in node.targets
            if isinstance(t, ast.Name)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "record"
                and node.args
            ):
                first = node.args[0]
                kind = first.value if isinstance(first, ast.Constant) else constants.get(getattr(first, "id", ""))
                assert kind is None or kind in known, f"docs/events.md lacks {kind}, which {path} records"


def test_the_example_of_an_event_log_has_documented_events_alone(tmp_path):
    blocks = [b for b in blocks_of("docs/events.md") if b.language == "jsonl"]
    assert blocks
    for number, block in enumerate(blocks):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "events.jsonl").write_text(block.code, encoding="utf-8")
    check_events(tmp_path)


@pytest.mark.slow
def test_the_events_of_a_run_that_is_resumed_are_documented(files):
    made = thrifty.run("wine.csv", "kind", minutes=0.25, out=files / "run")
    thrifty.resume(made.path, minutes=0.2)
    check_events(files)
    kinds = {json.loads(line)["kind"] for line in (made.path / "events.jsonl").read_text().splitlines()}
    assert {"trial_started", "trial_finished", "artifact_written", "study_continued", "run_finished"} <= kinds
