"""Feet labelled with the wrong side, by solid and by photos, and photos of a foot that moved between them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import foot_cube
from p2vlib.geometry.grids import voxelise
from p2vlib.provenance import data_folder
from p2vtools.archives.camera_files import read_cameras, write_cameras
from p2vtools.capture.dataset_validation import check_capture
from p2vtools.capture.sanity_checks import photo_problems, side_of_grid, side_of_mesh
from p2vtools.fit.placement import pose_matrix
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.verdict import VERDICT_KEY
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.mat import get_mat
from tests.mats import mat_image_from, write_photos


def test_side_of_solids(weights):
    for person in sample_population(4716, 3):
        for side, foot in make_feet(person).items():
            cube = foot_cube(foot.solid.bounds)
            assert side_of_grid(voxelise(foot.solid.vertices, foot.solid.faces, cube), weights) == side
            assert side_of_mesh(foot.solid.copy().apply_translation([0.1, 0, -0.07]), weights) == side


@pytest.fixture
def right(smoke, tmp_path) -> Path:
    """A copy of four photos of a right foot in steady light, without its solid, named as if it were a left one."""
    source = data_folder("feet", "smoke") / "steady" / "person-test-0001-right"
    return Path(shutil.copytree(source, tmp_path / "person-test-0001-left", ignore=lambda *_: ["model.binvox"]))


def test_swapped_side_is_found_from_photos(right, tmp_path, weights):
    file = right / "subject.json"
    file.write_text(file.read_text().replace('"right"', '"left"'))
    (problem,) = check_capture(right, tmp_path, weights).problems
    assert problem.endswith("labelled as a left foot; its photos show a right one: was the side swapped?")


@pytest.fixture
def limited(weights) -> PretrainedModel:
    """The weights, with a limit of the agreement between photos."""
    return replace(weights, card={**weights.card, VERDICT_KEY: {"classes": {"4 to 7 photos": {"agreement": 0.8}}}})


def test_foot_that_moved_between_photos_is_found(right, limited):
    assert photo_problems(right, "right", limited) == []
    cameras = read_cameras(right / "cameras.json")
    motion = np.linalg.inv(pose_matrix(15, np.array([0, 0, 0.03])))
    later = [replace(camera, extrinsics=camera.extrinsics @ motion) for camera in cameras[2:]]
    write_cameras(right / "cameras.json", [*cameras[:2], *later])
    (problem,) = photo_problems(right, "right", limited)
    assert "with one foot in one place, least in" in problem and "expected 0.80" in problem
    assert "did the foot move, or are there photos of two" in problem


def test_photos_without_a_foot_are_found(tmp_path, limited):
    cameras = [look_at((azimuth, 45, 0, 0.6, 50), np.zeros(3), 160, 120) for azimuth in (0, 90, 180, 270)]
    write_photos(tmp_path / "rendering", [mat_image_from(camera, get_mat("a3")) for camera in cameras])
    write_cameras(tmp_path / "cameras.json", cameras)
    (problem,) = photo_problems(tmp_path, "left", limited)
    assert "\n" not in problem and ("no foot" in problem or "with one foot in one place" in problem)
