import json
import subprocess
import sys

import pytest

FRAMEWORKS = {"torch", "keras", "ray", "transformers", "tensorflow", "jax", "sklearn", "lightgbm"}
HEAVY = FRAMEWORKS | {
    "scipy",
    "sqlalchemy",
    "onnx",
    "onnxruntime",
    "pandas",
    "polars",
    "pyarrow",
    "PIL",
    "soundfile",
    "tokenizers",
}


def modules_after(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has imported after running the code."""
    report = "import json, sys; print(); print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", ["thrifty", "thrifty.cli", "thrifty.cli.main", "thrifty.api"])
def test_importing_the_package_and_its_interfaces_loads_nothing_heavy(name):
    assert modules_after(f"import {name}") & HEAVY == set()


def test_the_help_loads_nothing_heavy():
    code = """
import sys
from thrifty.cli.main import main
sys.argv = ["thrifty", "--help"]
try:
    main()
except SystemExit:
    pass
"""
    assert modules_after(code) & (HEAVY | {"numpy"}) == set()


def test_public_names_load_no_framework():
    code = "import thrifty\nfor name in thrifty.__all__: getattr(thrifty, name)"
    assert modules_after(code) & FRAMEWORKS == set()


def test_the_engine_of_a_study_needs_no_framework():
    code = """
import thrifty
study = thrifty.Study({"x": thrifty.Float(0, 1)}, metric="loss", direction="minimize", seed=0)
proposal = study.ask()
study.tell(proposal.trial, proposal.config["x"])
"""
    assert modules_after(code) & FRAMEWORKS == set()


def test_the_fork_server_loads_nothing_but_the_standard_library():
    loaded = modules_after("import thrifty.execution.server, thrifty.execution.processes")
    assert loaded & (HEAVY | {"numpy", "yaml", "rich", "typer"}) == set()
