import os
import subprocess
import sys
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


def test_without_git_the_commit_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == "unknown"


def test_a_relative_home_holds_in_every_folder(tmp_path):
    program = "import os; from p2vlib.provenance import home; os.chdir('/'); print(home(), os.environ['P2VLIB_HOME'])"
    environment = {**os.environ, "P2VLIB_HOME": "checkout", "PYTHONPATH": str(provenance.ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == f"{tmp_path / 'checkout'} {tmp_path / 'checkout'}", done.stderr


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


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("network.py", '    """Doubles."""\n\n', "", False),
        ("network.py", "The factor.", "The factor, 2.", False),
        ("network.py", "self.scale + offset  # as published", "self.scale\\\n        + offset", False),
        ("widths.py", "WIDTH = 8", '"""Widths."""\n\nWIDTH = 8  # channels', False),
        ("other.py", "pass", "depth = 3", False),
        ("__init__.py", "from p2vlib.models.other import Other\n", "", False),
        ("network.py", "x * self.scale + offset", "x * self.scale - offset", True),
        ("network.py", "offset: float = 0.0", "offset: float = 0.5", True),
        ("network.py", "def forward", "@torch.no_grad()\n    def forward", True),
        ("widths.py", "8", "16", True),
        ("layers.py", "WIDTH", "WIDTH, DEPTH", True),
    ],
)
def test_the_digest_changes_with_the_meaning_of_what_a_network_reaches(project, file, old, new, changed):
    before, path = digest(), project / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert (digest() != before) == changed
