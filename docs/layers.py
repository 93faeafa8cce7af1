"""Draws the picture of the layers, `docs/layers.svg`, from the imports between the folders: `python docs/layers.py`.

A folder stands one floor above the highest folder that it imports from. `tests/test_layers.py` checks the same graph.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from p2vlib.provenance import imported_modules

ROOT = Path(__file__).parents[1]

FLOOR = 1.1
"""Height of a floor, inches."""

COLOURS = {"p2vlib": "#dbe7f3", "p2vtools": "#f6e3d0"}

CONTENTS = {
    "p2vlib.geometry": "frames, grids, cameras,\nprojection, placement",
    "p2vlib.data": "captures, packed file,\naugmentation",
    "p2vlib.models": "Pix2Vox and all other\nnetworks, registry",
    "p2vlib.evaluation": "predictions, IoU,\nthresholds",
    "p2vlib.training": "loop, losses, batches,\nrecipes, checkpoints",
    "p2vtools.synthesis": "people, feet, objects,\nrenderer, mat",
    "p2vtools.archives": "capture folders, ShapeNet,\nPix3D, download",
    "p2vtools.fit": "reconstruct, measure,\nintervals, shoe last",
    "p2vtools.capture": "mat, apps, SfM, scans,\ndata set of real feet",
    "p2vtools.viewer": "figures, 3-D views,\nwidgets",
    "p2vtools.study": "runner, sweeps, tables,\nbenchmark, report",
    "p2vtools.webapp": "the page of p2v app",
    "p2vtools.cli": "the command p2v",
}
"""What each folder holds. The files beside the folders are left out of the picture."""


def import_graph() -> dict[str, set[str]]:
    """Folder of a package, or file beside the folders -> those that it imports from."""
    graph: dict[str, set[str]] = defaultdict(set)
    for file in sorted(file for package in COLOURS for file in (ROOT / package).rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        folder = ".".join(module.split(".")[:2])
        graph[folder] |= {".".join(name.split(".")[:2]) for name in imported_modules(file.read_text())}
    return {folder: others - {folder, *COLOURS} for folder, others in graph.items() if folder not in COLOURS}


def floor_of(folder: str, graph: dict[str, set[str]]) -> int:
    """1 for a folder that imports no other."""
    return 1 + max((floor_of(other, graph) for other in graph[folder]), default=0)


def direct_imports(folder: str, graph: dict[str, set[str]]) -> set[str]:
    """The folders below ``folder`` that it does not also reach through another one."""
    others = graph[folder] & set(CONTENTS)
    return others - {reached for other in others for reached in _reachable(other, graph)}


def _reachable(folder: str, graph: dict[str, set[str]]) -> set[str]:
    return graph[folder].union(*(_reachable(other, graph) for other in graph[folder]))


def draw(graph: dict[str, set[str]]) -> Figure:
    """A box for each folder on its floor, p2vlib on the left, and arrows to the folders that it imports from."""
    places = {}
    for package, left in (("p2vlib", 0.0), ("p2vtools", 4.0)):
        floors = defaultdict(list)
        for folder in [folder for folder in CONTENTS if folder.startswith(package)]:
            floors[floor_of(folder, graph)].append(folder)
        for floor, folders in floors.items():
            width = (4.0 if package == "p2vlib" else 6.0) / len(folders)
            places |= {folder: (left + width * (column + 0.5), FLOOR * floor) for column, folder in enumerate(folders)}
    top = max(y for _, y in places.values()) + FLOOR / 2
    figure = Figure(figsize=(10, top))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 10), ylim=(FLOOR / 2, top))
    axes.set_axis_off()
    for folder, (x, y) in places.items():
        package, name = folder.split(".")
        box = FancyBboxPatch((x - 0.9, y - 0.36), 1.8, 0.72, "round,pad=0.02,rounding_size=0.08", zorder=2)
        box.set(facecolor=COLOURS[package], edgecolor="#555555")
        axes.add_patch(box)
        axes.text(x, y + 0.2, f"{package}/{name}", ha="center", va="center", fontsize=9.5, weight="bold")
        axes.text(x, y - 0.13, CONTENTS[folder], ha="center", va="center", fontsize=7.5, color="#333333")
        for other in sorted(direct_imports(folder, graph)):
            end = (places[other][0], places[other][1] + 0.38)
            axes.annotate("", end, (x, y - 0.38), arrowprops=dict(arrowstyle="->", color="#777777"), zorder=1)
    return figure


def main() -> None:
    with matplotlib.rc_context({"svg.hashsalt": "layers", "svg.fonttype": "none"}):  # the same bytes every time
        draw(import_graph()).savefig(Path(__file__).with_name("layers.svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
