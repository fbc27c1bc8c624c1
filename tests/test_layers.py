import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "thrifty"


def test_the_layers_import_only_what_they_may():
    pytest.importorskip("importlinter")
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def packages() -> list[Path]:
    return sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


@pytest.mark.parametrize("folder", packages(), ids=lambda folder: str(folder.relative_to(PACKAGE)))
def test_the_init_of_a_folder_is_a_docstring(folder):
    (only,) = ast.parse((folder / "__init__.py").read_text()).body
    assert isinstance(only, ast.Expr)
    assert isinstance(only.value, ast.Constant)


def test_every_folder_of_code_is_a_package():
    assert [str(path.parent) for path in PACKAGE.rglob("*.py") if not (path.parent / "__init__.py").exists()] == []
