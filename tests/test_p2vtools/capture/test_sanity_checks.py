"""Feet that are told to be the other side, by solid and by photos, and photos of a foot that moved between them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from p2vlib.geometry.cameras import look_at, read_cameras, write_cameras, write_metadata
from p2vlib.geometry.frames import foot_cube
from p2vlib.geometry.grids import voxelise
from p2vtools.capture.capture_checks import check_capture
from p2vtools.capture.sanity_checks import photo_problems, side_of_grid, side_of_mesh
from p2vtools.fit.reconstruct import pose_matrix
from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.mat import get_mat
from p2vtools.synthesis.photos import trajectories
from p2vtools.synthesis.photos.rendering import render_phone_photos
from tests.mats import folder_of, seen_by


@pytest.fixture(scope="module")
def person() -> dict[str, SyntheticFoot]:
    return make_feet(sample_population(4715, 1)[0])


@pytest.fixture(scope="module")
def captures(person, tmp_path_factory) -> dict[str, Path]:
    """Both feet of a person, four photos each, no solid."""
    folders = {}
    for side, foot in person.items():
        folder = tmp_path_factory.mktemp("captures") / f"p1-{side}"
        (folder / "rendering").mkdir(parents=True)
        walk = trajectories.sample_phone_trajectory(np.random.default_rng(len(side)), 4, np.array([0, 0.05, 0]))
        names = [f"{number:02d}.jpg" for number in range(4)]
        for name, content in zip(names, render_phone_photos(foot.leg_mesh, walk, 5), strict=True):
            (folder / "rendering" / name).write_bytes(content)
        (folder / "rendering" / "renderings.txt").write_text("\n".join(names))
        write_metadata(folder / "rendering" / "rendering_metadata.txt", walk.rows)
        write_cameras(folder / "cameras.json", walk.cameras)
        told = {"subject": "p1", "side": side, "licence": "CC0-1.0", "consent": {"given": "yes", "filed": "2026-11-24"}}
        (folder / "subject.json").write_text(json.dumps(told))
        folders[side] = folder
    return folders


def test_the_side_of_solids(weights):
    for person in sample_population(4716, 3):
        for side, foot in make_feet(person).items():
            cube = foot_cube(foot.solid.bounds)
            assert side_of_grid(voxelise(foot.solid.vertices, foot.solid.faces, cube), weights) == side
            elsewhere = foot.solid.copy().apply_translation([0.1, 0, -0.07])
            assert side_of_mesh(elsewhere, weights) == side


def test_a_capture_with_its_side_swapped_is_told(captures, tmp_path, weights):
    right = captures["right"]
    swapped = right.rename(tmp_path / "p1-left")
    file = swapped / "subject.json"
    file.write_text(file.read_text().replace('"right"', '"left"'))
    (problem,) = check_capture(swapped, tmp_path, weights).problems
    assert problem.endswith("told to be a left foot; by its photos it is a right one: was the side swapped?")


def test_photos_between_which_the_foot_moved_are_told(captures, weights):
    left = captures["left"]
    assert photo_problems(left, "left", weights) == []
    cameras = read_cameras(left / "cameras.json")
    moved = np.linalg.inv(pose_matrix(15, np.array([0, 0, 0.03])))
    later = [replace(camera, extrinsics=camera.extrinsics @ moved) for camera in cameras[2:]]
    write_cameras(left / "cameras.json", [*cameras[:2], *later])
    (problem,) = photo_problems(left, "left", weights)
    assert (
        "with one foot in one place, least in" in problem and "did the foot move, or are there photos of two" in problem
    )


def test_photos_without_a_foot_are_told(tmp_path, weights):
    cameras = [look_at((azimuth, 45, 0, 0.6, 50), np.zeros(3), 160, 120) for azimuth in (0, 90, 180, 270)]
    folder_of(tmp_path / "rendering", [seen_by(camera, get_mat("a3")) for camera in cameras])
    write_cameras(tmp_path / "cameras.json", cameras)
    (problem,) = photo_problems(tmp_path, "left", weights)
    assert "\n" not in problem and ("no foot is seen" in problem or "with one foot in one place" in problem)
