import dataclasses

import numpy as np
import pytest

from p2vlib.geometry.frames import FOOT_CUBE_EDGE, FOOT_CUT_HEIGHT
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.landmarks import true_measures
from p2vtools.synthesis.feet.legs import leg_template
from p2vtools.synthesis.feet.population import sample_population

SEED, PEOPLE = 90, 600


@pytest.fixture(scope="module")
def people():
    return sample_population(SEED, PEOPLE, variety="wide")


@pytest.fixture(scope="module")
def feet(people):
    pairs = [(person, make_feet(person)) for person in people[:5]]
    return [(getattr(person, side), foot) for person, pair in pairs for side, foot in pair.items()]


def test_wide_people_depend_only_on_seed_and_index_and_cover_their_ranges(people):
    assert sample_population(SEED, 2, first=7, variety="wide") == people[7:9]
    assert people[0].left.length != sample_population(SEED, 1)[0].left.length
    with pytest.raises(ValueError, match="variety is 'huge'; expected usual or wide"):
        sample_population(SEED, 1, variety="huge")
    shapes = [shape for person in people for shape in (person.left, person.right)]
    lengths, leans = [shape.length for shape in shapes], np.array([shape.lean for shape in shapes])
    assert 0.16 <= min(lengths) < 0.19 and 0.285 < max(lengths) <= 0.31
    assert 0.12 < np.mean([person.is_child for person in people]) < 0.38
    assert leans.min(axis=0) == pytest.approx([-48, -13], abs=3) and leans.max(axis=0) == pytest.approx([13, 13], abs=4)
    assert 0.4 < (leans[:, 0] < -10).mean() < 0.7
    assert 0.1 < np.mean([shape.form.second_toe > 0 for shape in shapes]) < 0.4


@pytest.mark.parametrize(("sex", "length", "breadth", "heel"), [("man", 271, 102, 72.5), ("woman", 246, 93, 67)])
def test_adults_have_the_means_of_the_survey_and_at_least_its_spread(people, sex, length, breadth, heel):
    adults = [person.left for person in people if person.sex == sex and not person.is_child]
    measures = 1000 * np.array([(foot.length, foot.form.breadth, foot.form.heel_breadth) for foot in adults])
    assert np.abs(measures.mean(axis=0) - [length, breadth, heel]).max() < 2.5
    assert (measures.std(axis=0) > [12, 5, 5]).all() and (measures.std(axis=0) < [18, 8, 9]).all()
    ratio = measures[:, 1] / measures[:, 0]
    assert ratio.mean() == pytest.approx(0.377, abs=0.005) and 0.017 < ratio.std() < 0.028


def test_feet_have_exact_frames_and_the_measures_of_their_form(feet):
    for shape, foot in feet:
        below = foot.solid.vertices[foot.solid.vertices[:, 1] < 0.06]
        assert foot.length == pytest.approx(shape.length, abs=1e-5)
        assert foot.pternion[0] == pytest.approx(below[:, 0].min(), abs=1e-4)
        assert foot.second_toe[2] == pytest.approx(foot.pternion[2], abs=1e-5)
        assert foot.solid.is_watertight and foot.solid.volume > 2e-4
        assert foot.solid.bounds[:, 1] == pytest.approx([0, FOOT_CUT_HEIGHT], abs=1e-5)
        assert np.allclose(below.min(axis=0) + below.max(axis=0), [0, 0.06, 0], atol=1e-3)
        assert foot.cube.edge == FOOT_CUBE_EDGE and np.allclose(foot.cube.centre[[0, 2]], 0, atol=1e-6)
    measures = [(shape, true_measures(foot)) for shape, foot in feet]
    breadth = np.array([found["ball_breadth"] / (1000 * shape.form.breadth) for shape, found in measures])
    assert np.abs(breadth - 1).max() < 0.05
    girth = np.array([found["ball_girth"] / found["ball_breadth"] for _, found in measures])
    assert girth.mean() == pytest.approx(2.47, abs=0.09)


@pytest.mark.parametrize("lean", [(-50.0, 0.0), (-25.0, 12.0), (12.0, -10.0)])
def test_the_shank_leans_as_asked(people, lean):
    foot = make_feet(dataclasses.replace(people[1], left=dataclasses.replace(people[1].left, lean=lean)))["left"]
    height = leg_template("left").rest[:, 1] - leg_template("left").rest[:, 1].min()
    lower, upper = (foot.leg_mesh.vertices[np.abs(height - level) < 0.02].mean(axis=0) for level in (0.2, 0.3))
    x, y, z = upper - lower
    assert np.degrees(np.arctan2([x, -z], y)) == pytest.approx(lean, abs=6)
