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


def test_the_landmark_vertices_of_both_sides_are_mirror_images(feet):
    left, right = landmark_vertices("left"), landmark_vertices("right")
    assert {name: tuple(indices.tolist()) for name, indices in left.items()} == LANDMARK_VERTICES
    for name, indices in LANDMARK_VERTICES.items():
        assert len(set(right[name].tolist())) == len(indices)
        one, two = (foot.leg_mesh.vertices[landmark_vertices(foot.side)[name]].mean(0) for foot in feet[:2])
        assert np.abs(one - two * [1, 1, -1]).max() < 0.015, name


def test_landmarks_lie_on_the_foot_in_anatomical_order_with_their_names(feet):
    for foot in feet:
        marks, inwards = find_landmarks(foot), 1 if foot.side == "left" else -1
        assert np.linalg.norm(marks["pternion"][0] - foot.pternion) < 1e-6
        assert np.linalg.norm(marks["toe 2"][0] - foot.second_toe) < 1e-6
        across = [inwards * marks[f"toe {toe}"][0, 2] for toe in range(1, 6)]
        assert across == sorted(across, reverse=True), "the big toe innermost"
        inner, outer = marks["first metatarsal"][0], marks["fifth metatarsal"][0]
        share = (np.array([inner[0], outer[0]]) - foot.pternion[0]) / foot.length
        assert 0.66 < share[0] < 0.80 and 0.57 < share[1] < 0.71 and share[1] < share[0]
        for name in ("ball", "instep"):
            assert np.array_equal(marks[name][0], marks[name][-1]), "closed"
        points = np.concatenate(list(marks.values()))
        squared = igl.point_mesh_squared_distance(points, foot.solid.vertices, foot.solid.faces.astype(np.int64))[0]
        assert np.sqrt(squared.max()) < 2e-5
    figure = viewer.landmark_figure(feet[0].solid, find_landmarks(feet[0]), "title")
    assert isinstance(figure, Figure)
    labels = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {"pternion", "toe 5", "first metatarsal", "heel, outer", "arch"} <= labels


def test_measures_of_the_solid_agree_with_the_landmarks(feet):
    """Within 0.5 mm for lengths and 1 % for girths; the two share no code."""
    for foot in feet:
        measured = vars(measure_foot(foot.solid, foot.side)[0])
        for name, truth in true_measures(foot).items():
            tolerance = 0.01 * truth if "girth" in name else 0.5
            assert measured[name] == pytest.approx(truth, abs=tolerance), (foot.subject, foot.side, name)
