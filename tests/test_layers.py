"""The layers: packages are folders, imports between folders run one way, and the training core stays light."""

import ast
import functools
import subprocess
import sys
import tomllib
from pathlib import Path

from p2vlib.provenance import imported_modules

ROOT = Path(__file__).parents[1]

MOST_FLOORS = 8

DISTRIBUTIONS = {"pillow": "PIL"}

FILES = sorted(file for package in ("p2vlib", "p2vtools") for file in (ROOT / package).rglob("*.py"))
CORE = [file for file in FILES if file.relative_to(ROOT).parts[0] == "p2vlib"]


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The folder, or the file beside the folders, that a module belongs to: ``p2vlib.models``."""
    return ".".join(module.split(".")[:2])


@functools.cache
def arrows() -> dict[str, set[str]]:
    """Which rooms each room imports from. Imports inside functions count too: they would only hide a circle."""
    found: dict[str, set[str]] = {}
    for file in FILES:
        imported = imported_modules(file.read_text(encoding="utf-8"))
        room = room_of(name_of(file))
        found.setdefault(room, set()).update(room_of(module) for module in imported)
    return {room: reached - {room, "p2vlib", "p2vtools"} for room, reached in found.items()}


def floor_of(room: str, above: tuple[str, ...] = ()) -> int:
    assert room not in above, f"a circle of imports: {' -> '.join([*above, room])}"
    return 1 + max((floor_of(other, (*above, room)) for other in arrows()[room]), default=0)


def test_imports_run_one_way_through_at_most_eight_floors():
    floors = {room: floor_of(room) for room in arrows()}
    assert max(floors.values()) <= MOST_FLOORS, sorted(floors.items(), key=lambda pair: -pair[1])
    reached = {other for room, others in arrows().items() if room.startswith("p2vlib") for other in others}
    assert {room for room in reached if room.startswith("p2vtools")} == set()


def test_a_module_of_the_core_imports_only_its_own_dependencies_at_its_top():
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [pin.partition("==")[0] for pin in pins]
    allowed = {DISTRIBUTIONS.get(name, name) for name in names} | set(sys.stdlib_module_names) | {"p2vlib"}
    for file in CORE:
        top = ast.parse(file.read_text(encoding="utf-8")).body
        imported = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in imported} <= allowed, file


def test_the_core_loads_without_heavy_packages_and_without_modules_that_only_unix_has():
    absent = "igl trimesh mitsuba anny k3d plotly matplotlib skimage scipy manifold3d IPython papermill dask cv2"
    names = [name_of(file) for file in CORE if file.name != "__main__.py"]
    program = f"import sys\nfor name in {absent.split() + ['fcntl', 'resource']}: sys.modules[name] = None\n"
    program += "".join(f"import {name}\n" for name in names)
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert outcome.returncode == 0, outcome.stderr
