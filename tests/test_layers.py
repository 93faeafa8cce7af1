"""The house: a module imports only from lines above its own, and the training core stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "p2vlib"

LINES = """
conventions files progress metrics
processes
config
runs grids cameras sight measure
placement refinement
capture
augmentation
folders packing
datasets
shots
shapenet
pix3d
fetch
models
evaluation
calibration
checkpoints
losses batches
training
ensemble
rough
shipped
inference
uncertainty
sensitivity
last
viewer
phone
trial
evaluate
report
tables
experiments
systems
parameters
execution
study
compare
grid
commands
__main__
""".split()
"""From the bottom of the house to its top; a package (`capture`, `models`) is one line."""

CORE = """
conventions files progress metrics config runs grids cameras sight placement augmentation folders packing datasets
models evaluation checkpoints losses batches training
""".split()
"""What runs on a bare GPU box."""

DISTRIBUTIONS = {"pillow": "PIL"}

FILES = sorted(file for file in LIBRARY.rglob("*.py") if file != LIBRARY / "__init__.py")


def line_of(file: Path) -> str:
    return file.relative_to(LIBRARY).parts[0].removesuffix(".py")


def absolute(node: ast.Import | ast.ImportFrom, file: Path) -> list[str]:
    """The dotted names that an import statement of ``file`` reaches."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = ["p2vlib", *file.relative_to(LIBRARY).parts[:-1]]
    prefix = base[: len(base) - node.level + 1] if node.level else []
    module = [*prefix, *([node.module] if node.module else [])]
    return [".".join([*module, alias.name]) for alias in node.names]


def imports(file: Path, *, top_only: bool = False) -> list[str]:
    tree = ast.parse(file.read_text())
    nodes = tree.body if top_only else ast.walk(tree)
    return [name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for name in absolute(node, file)]


def test_every_module_has_its_line():
    assert {line_of(file) for file in FILES} <= set(LINES), "a new module: give it a line in LINES"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(LIBRARY)))
def test_a_module_imports_only_from_lines_above_its_own(file):
    """Lazy imports inside functions count too: they would only hide the circle."""
    inside = [name.split(".")[1] for name in imports(file) if name.startswith("p2vlib.")]
    reached = {line for line in inside if line in LINES} - {line_of(file)}
    assert all(LINES.index(line) < LINES.index(line_of(file)) for line in reached), sorted(reached)


@pytest.mark.parametrize("file", [f for f in FILES if line_of(f) in CORE], ids=lambda f: str(f.relative_to(LIBRARY)))
def test_the_training_core_imports_only_its_own_dependencies(file):
    told = tomllib.loads((LIBRARY.parent / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [pin.partition("==")[0] for pin in told]
    allowed = {DISTRIBUTIONS.get(name, name) for name in names} | set(sys.stdlib_module_names) | {"p2vlib"}
    assert {name.split(".")[0] for name in imports(file, top_only=True)} <= allowed


def test_the_training_core_loads_without_the_heavy_packages():
    heavy = "igl trimesh mitsuba anny k3d plotly matplotlib skimage scipy manifold3d IPython papermill".split()
    modules = ", ".join(f"p2vlib.{name}" for name in CORE if any(line_of(file) == name for file in FILES))
    program = f"import sys\nfor name in {heavy}: sys.modules[name] = None\nimport {modules}"
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=LIBRARY.parent)
    assert outcome.returncode == 0, outcome.stderr
