"""Landmarks of anny's feet: the same vertices in everyone, on both sides, where an anatomist would put them."""

from __future__ import annotations

import igl
import numpy as np
import pytest
from matplotlib.figure import Figure

from p2vtools import viewer
from p2vtools.fit.measure import measure_foot
from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.landmarks import LANDMARK_VERTICES, find_landmarks, landmark_vertices, true_measures
from p2vtools.synthesis.feet.population import sample_population


@pytest.fixture(scope="module")
def feet() -> list[SyntheticFoot]:
    return [foot for person in sample_population(77, 4) for foot in make_feet(person).values()]


def test_a_right_foot_has_the_mirror_images_of_a_left_ones_vertices():
    left, right = landmark_vertices("left"), landmark_vertices("right")
    assert {name: tuple(found.tolist()) for name, found in left.items()} == LANDMARK_VERTICES
    assert all(len(set(right[name].tolist())) == len(LANDMARK_VERTICES[name]) for name in LANDMARK_VERTICES)
    mirrored = make_feet(sample_population(77, 1)[0])
    for name in LANDMARK_VERTICES:
        one, two = (mirrored[side].leg_mesh.vertices[landmark_vertices(side)[name]] for side in ("left", "right"))
        assert np.abs(one.mean(0) - two.mean(0) * [1, 1, -1]).max() < 0.015, name


def test_landmarks_lie_on_the_foot_and_in_its_order(feet):
    for foot in feet:
        marks, inwards = find_landmarks(foot), 1 if foot.side == "left" else -1
        assert np.linalg.norm(marks["pternion"][0] - foot.pternion) < 1e-6
        assert np.linalg.norm(marks["toe 2"][0] - foot.second_toe) < 1e-6
        aside = [inwards * marks[f"toe {toe}"][0, 2] for toe in range(1, 6)]
        assert aside == sorted(aside, reverse=True), "the big toe innermost"
        inner, outer = marks["first metatarsal"][0], marks["fifth metatarsal"][0]
        share = (np.array([inner[0], outer[0]]) - foot.pternion[0]) / foot.length
        assert 0.66 < share[0] < 0.80 and 0.57 < share[1] < 0.71 and share[1] < share[0]
        for name in ("ball", "instep"):
            assert np.array_equal(marks[name][0], marks[name][-1]), "closed"
        points = np.concatenate(list(marks.values()))
        squared = igl.point_mesh_squared_distance(points, foot.solid.vertices, foot.solid.faces.astype(np.int64))[0]
        assert np.sqrt(squared.max()) < 2e-5


def test_measures_are_those_of_the_landmarks(feet):
    """Half a millimetre for lengths, one per cent for girths; nothing of the truth comes from `measure`."""
    for foot in feet:
        found = vars(measure_foot(foot.solid, foot.side)[0])
        for name, truth in true_measures(foot).items():
            allowed = 0.01 * truth if "girth" in name else 0.5
            assert found[name] == pytest.approx(truth, abs=allowed), (foot.subject, foot.side, name)


def test_landmarks_are_drawn_with_their_names(feet):
    figure = viewer.landmark_figure(feet[0].solid, find_landmarks(feet[0]), "title")
    assert isinstance(figure, Figure)
    told = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {"pternion", "toe 5", "first metatarsal", "heel, outer", "arch"} <= told
