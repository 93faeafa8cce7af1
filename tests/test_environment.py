"""The lists of packages agree, and the shape checker is on."""

import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import yaml
from jaxtyping import TypeCheckError

import p2vlib
from p2vlib.geometry.cameras import look_at

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"([A-Za-z0-9_.-]+)==([0-9][0-9A-Za-z.]*)")


def pins(lines: list[str]) -> dict[str, str]:
    found = [PIN.fullmatch(line) for line in lines]
    assert all(found), f"not name==version: {[line for line, match in zip(lines, found, strict=True) if not match]}"
    table = dict(match.groups() for match in found)
    assert len(table) == len(lines), "a package is listed twice"
    return table


def required() -> dict[str, str]:
    return pins((ROOT / "requirements.txt").read_text().splitlines())


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_pyproject_and_environment_have_the_pins_of_requirements():
    parts = project()
    assert pins(parts["dependencies"] + parts["optional-dependencies"]["study"]) == required()
    browser = pins(parts["optional-dependencies"]["browser"])
    assert not set(browser) & set(required()), "only for the tests in a browser"
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert pins(dependencies[-1]["pip"]) == required()
    assert f"python{parts['requires-python']}" in dependencies
    lines = [line for line in (ROOT / "environment.yml").read_text().splitlines() if "==" in line]
    assert len(lines) == len(required())
    assert all(re.search(r"  # \w+", line) or re.search(r" # \w.{5,}", line) for line in lines), "a reason for each"


def test_the_locks_hold_the_pins_of_requirements_with_hashes_for_every_package():
    locks = [(ROOT / name).read_text(encoding="utf-8") for name in ("requirements.lock", "requirements-cuda.lock")]
    entries = [entry for lock in locks for entry in re.split(r"\n(?=\S)", lock.strip())]
    found = [re.match(r"(\S+)==(\S+)( ; .*)? \\(\n    --hash=sha256:[0-9a-f]{64}( \\)?)+$", entry) for entry in entries]
    assert all(found), [entry[:60] for entry, match in zip(entries, found, strict=True) if not match]
    table = {match[1].lower(): match[2] for match in found}
    assert {name: table.get(name.lower()) for name in required()} == required(), "make lock"
    assert "triton" in table and "triton" not in locks[0], "builds of torch for CPUs come without CUDA"


def test_this_environment_has_the_required_versions_without_a_package_that_replaces_torch():
    assert {name: version(name).partition("+")[0] for name in required()} == required()
    assert sys.version_info >= (3, 11)
    names = {name.lower() for name in required()}
    assert "torch" in names and not names & {"torchvision", "timm"}, "they replace torch with another build"


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == p2vlib.__version__
    assert citation["license"] == project()["license"] == "MIT"
    years = {paper["title"].partition(":")[0]: paper["year"] for paper in citation["references"]}
    assert years["Pix2Vox"] == 2019 and years["Pix2Vox++"] == 2020 and years["3D-R2N2"] == 2016
    assert years["Convolutional LSTM Network"] == 2015 and years["ShapeNet"] == 2015


def test_the_shape_checker_is_on():
    camera = look_at((0, 45, 0, 0.5, 50), np.zeros(3), 64, 64)
    assert camera.project(np.zeros((2, 3))).shape == (2, 3)
    with pytest.raises(TypeCheckError):
        camera.project(np.zeros((3, 2)))
