"""Digests of code: what changes them, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2vlib import provenance

NETWORK = '''"""A network."""

from p2vlib.models.layers import WIDTH


class Network:
    """Doubles."""

    scale: int = 2
    """The factor."""

    def forward(self, x: float, offset: float = 0.0) -> float:
        return x * self.scale + offset  # as published
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project; returns the folder of its networks."""
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    models = tmp_path / "p2vlib" / "models"
    models.mkdir(parents=True)
    (tmp_path / "p2vlib" / "__init__.py").write_text("")
    facade = "from p2vlib.models.other import Other\nfrom p2vlib.models.network import Network\n"
    (models / "__init__.py").write_text(facade)
    (models / "network.py").write_text(NETWORK)
    (models / "layers.py").write_text("from p2vlib.models.widths import WIDTH\n")
    (models / "widths.py").write_text("WIDTH = 8\n")
    (models / "other.py").write_text("class Other:\n    pass\n")
    return models


def digest() -> str:
    return provenance.code_digest(["p2vlib.models.network"])


def test_the_modules_that_a_network_reaches(project):
    reached = {"p2vlib.models.network", "p2vlib.models.layers", "p2vlib.models.widths"}
    assert provenance.reachable_modules(["p2vlib.models.network"]) == reached
    assert provenance.reachable_modules(["p2vlib.models"]) == {*reached, "p2vlib.models", "p2vlib.models.other"}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("network.py", "A network.", "Another text."),
        ("network.py", '    """Doubles."""\n\n', ""),
        ("network.py", "The factor.", "The factor, 2."),
        ("network.py", "  # as published", ""),
        ("network.py", "return x * self.scale + offset", "return (\n            x * self.scale + offset\n        )"),
        ("widths.py", "WIDTH = 8", '"""Widths."""\n\nWIDTH = 8  # channels'),
        ("other.py", "pass", "depth = 3"),
        ("__init__.py", "from p2vlib.models.other import Other\n", ""),
    ],
)
def test_text_layout_and_modules_out_of_reach_change_no_digest(project, file, old, new):
    before, path = digest(), project / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert digest() == before


def test_a_new_file_beside_a_network_changes_no_digest(project):
    before = digest()
    (project / "new_network.py").write_text("from p2vlib.models.network import Network\n")
    assert digest() == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("network.py", "scale: int = 2", "scale: int = 3"),
        ("network.py", "x * self.scale + offset", "x * self.scale - offset"),
        ("network.py", "offset: float = 0.0", "offset: float = 0.5"),
        ("network.py", "def forward", "@torch.no_grad()\n    def forward"),
        ("network.py", "class Network:", "class Renamed:"),
        ("widths.py", "8", "16"),
        ("layers.py", "WIDTH", "WIDTH, DEPTH"),
    ],
)
def test_a_change_of_meaning_changes_the_digest(project, file, old, new):
    before, path = digest(), project / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert digest() != before


def test_imports_inside_functions_and_of_packages_are_found():
    source = """
def train():
    from p2vlib.geometry import frames
    import p2vlib.geometry.grids
    from p2vlib.models import build
    import numpy
"""
    found = {"p2vlib.geometry.frames", "p2vlib.geometry.grids", "p2vlib.models"}
    assert provenance.imported_modules(source) == found
