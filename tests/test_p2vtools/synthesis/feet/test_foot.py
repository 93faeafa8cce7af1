import dataclasses
import multiprocessing
import re
import socket

import numpy as np
import pytest

from p2vlib.geometry.frames import FOOT_CUBE_EDGE, FOOT_CUT_HEIGHT, SIDES, foot_cube
from p2vlib.geometry.grids import iou, voxelise
from p2vtools.synthesis.feet import legs
from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.landmarks import true_measures
from p2vtools.synthesis.feet.population import FootShape, Person, sample_population

SEED = 11


@pytest.fixture(scope="module")
def people() -> list[Person]:
    return sample_population(SEED, 8)


@pytest.fixture(scope="module")
def pairs(people) -> list[dict[str, SyntheticFoot]]:
    return [make_feet(person) for person in people]


@pytest.fixture(scope="module")
def feet(pairs) -> list[SyntheticFoot]:
    return [foot for pair in pairs for foot in pair.values()]


@pytest.fixture(scope="module")
def wide() -> list[Person]:
    """People of wide variety."""
    return sample_population(90, 600, variety="wide")


@pytest.fixture(scope="module")
def wide_feet(wide) -> list[tuple[FootShape, SyntheticFoot]]:
    return [(getattr(person, side), foot) for person in wide[:5] for side, foot in make_feet(person).items()]


def test_a_person_depends_only_on_seed_and_index_and_adults_have_the_published_lengths(people):
    assert sample_population(SEED, 3, first=5) == people[5:8]
    assert sample_population(SEED + 1, 8) != people
    assert [person.id for person in people[:2]] == ["p00000", "p00001"]
    with pytest.raises(ValueError, match="must not be negative; found 11, -1, 0"):
        sample_population(SEED, -1)
    many = sample_population(SEED, 1000)
    assert all(sum(person.is_child for person in many[:count]) <= count / 7 for count in range(1, 41))
    assert all(6 <= person.age <= 85 for person in many)
    brightness = [np.mean(person.skin) for person in many]
    assert min(brightness) < 0.15 and max(brightness) > 0.5
    for sex, mean, deviation in (("man", 265, 13), ("woman", 243, 12)):
        lengths = 1000 * np.array([one.left.length for one in many if one.sex == sex and not one.is_child])
        assert len(lengths) > 350
        assert lengths.mean() == pytest.approx(mean, abs=1.5)
        assert lengths.std() == pytest.approx(deviation, abs=1.2)


def test_feet_have_the_sampled_length_and_human_proportions(people, pairs, feet):
    measures = [true_measures(foot) for foot in feet]
    ratio = np.array([one["ball_breadth"] / one["length"] for one in measures])
    assert ratio.mean() == pytest.approx(0.38, abs=0.02) and ratio.min() > 0.27 and ratio.max() < 0.52
    assert all(one["heel_breadth"] < one["ball_breadth"] and 25 < one["instep_height"] < 100 for one in measures)
    for foot in feet:
        assert foot.solid.is_watertight and foot.solid.is_winding_consistent
        assert 0.22 < foot.solid.volume / np.prod(foot.solid.extents) < 0.50
        assert 2.5e-4 < foot.solid.volume < 2.2e-3
    for person, pair in zip(people, pairs, strict=True):
        for side, foot in pair.items():
            assert (foot.subject, foot.side) == (person.id, side)
            assert foot.length == pytest.approx(getattr(person, side).length, abs=1e-3)
            below_ankle = np.asarray(foot.solid.vertices)[np.asarray(foot.solid.vertices)[:, 1] < 0.06]
            assert np.ptp(below_ankle[:, 0]) == pytest.approx(foot.length, abs=1e-3)
            albedo = foot.leg_mesh.vertex_attributes["albedo"]
            assert albedo.shape == foot.leg_mesh.vertices.shape and albedo.min() > 0 and albedo.max() < 1
            assert np.allclose(albedo[~legs.leg_template(side).is_foot].mean(axis=0), person.skin, rtol=0.1)


def test_a_foot_is_centred_flat_on_the_floor_and_points_along_x(feet):
    """`test_landmarks` compares pternion and toes, of which the big one is inside, with landmarks of another route."""
    assert np.linalg.det(legs.ANNY_TO_WORLD) == pytest.approx(1)
    arches = []
    for foot in feet:
        lower, upper = foot.solid.bounds
        assert lower[1] == pytest.approx(0, abs=1e-5) and upper[1] == pytest.approx(FOOT_CUT_HEIGHT, abs=1e-5)
        assert np.abs((lower + upper)[[0, 2]]).max() < 1e-5
        assert foot.leg_mesh.vertices[:, 1].min() == pytest.approx(0, abs=1e-5)
        assert foot.leg_mesh.is_volume and foot.leg_mesh.bounds[1, 1] > 0.25
        assert foot.cube == foot_cube(foot.solid.bounds)
        axis = foot.second_toe - foot.pternion
        assert abs(np.degrees(np.arctan2(axis[2], axis[0]))) < 0.1
        assert foot.second_toe[0] > 0.08 and foot.pternion[0] < -0.08
        vertices, template = np.asarray(foot.leg_mesh.vertices), legs.leg_template(foot.side)
        assert all(vertices[region, 1].min() < 1e-3 for region in template.tripod)
        arches.append(vertices[template.arch > 0.5, 1].min())
    assert np.median(arches) > 0.003


def test_left_and_right_are_similar_but_not_equal(pairs):
    overlaps = []
    for pair in pairs:
        left, right = (
            voxelise(f.solid.vertices, f.solid.faces, foot_cube(f.solid.bounds)).volume for f in pair.values()
        )
        overlaps.append(iou(left[:, :, ::-1], right))
        assert overlaps[-1] > iou(left, right) + 0.1
    assert min(overlaps) > 0.75 and np.mean(overlaps) > 0.85 and max(overlaps) < 1


def _disable_network() -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network in this test")

    socket.socket.connect = refuse


def test_a_new_process_without_network_makes_the_same_feet(people, pairs):
    legs.cache_legs()
    with multiprocessing.get_context("spawn").Pool(1, initializer=_disable_network) as pool:
        again = pool.apply(make_feet, (people[0],))
    for side in SIDES:
        assert np.array_equal(again[side].leg_mesh.vertices, pairs[0][side].leg_mesh.vertices)
        assert np.array_equal(again[side].solid.vertices, pairs[0][side].solid.vertices)
    giant = dataclasses.replace(people[0], left=dataclasses.replace(people[0].left, length=0.34))
    with pytest.raises(ValueError, match="does not fit into its cube"):
        make_feet(giant)


def test_a_damaged_file_of_legs_is_named_with_what_to_do(tmp_path, monkeypatch):
    damaged = tmp_path / legs.cache_legs().name
    damaged.write_bytes(legs.cache_legs().read_bytes()[:1000])
    monkeypatch.setenv("P2VLIB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=f"^{re.escape(str(damaged))}: cannot be read .*; delete it"):
        legs.leg_model.__wrapped__()


def test_wide_people_depend_only_on_seed_and_index_and_cover_their_ranges(wide):
    assert sample_population(90, 2, first=7, variety="wide") == wide[7:9]
    assert wide[0].left.length != sample_population(90, 1)[0].left.length
    with pytest.raises(ValueError, match="variety is 'huge'; expected usual or wide"):
        sample_population(90, 1, variety="huge")
    shapes = [shape for person in wide for shape in (person.left, person.right)]
    lengths, leans = [shape.length for shape in shapes], np.array([shape.lean for shape in shapes])
    assert 0.16 <= min(lengths) < 0.19 and 0.285 < max(lengths) <= 0.31
    assert 0.12 < np.mean([person.is_child for person in wide]) < 0.38
    assert leans.min(axis=0) == pytest.approx([-48, -13], abs=3) and leans.max(axis=0) == pytest.approx([13, 13], abs=4)
    assert 0.4 < (leans[:, 0] < -10).mean() < 0.7
    assert 0.1 < np.mean([shape.form.second_toe > 0 for shape in shapes]) < 0.4


@pytest.mark.parametrize(("sex", "length", "breadth", "heel"), [("man", 271, 102, 72.5), ("woman", 246, 93, 67)])
def test_wide_adults_have_the_means_of_the_survey_and_at_least_its_spread(wide, sex, length, breadth, heel):
    adults = [person.left for person in wide if person.sex == sex and not person.is_child]
    measures = 1000 * np.array([(foot.length, foot.form.breadth, foot.form.heel_breadth) for foot in adults])
    assert np.abs(measures.mean(axis=0) - [length, breadth, heel]).max() < 2.5
    assert (measures.std(axis=0) > [12, 5, 5]).all() and (measures.std(axis=0) < [18, 8, 9]).all()
    ratio = measures[:, 1] / measures[:, 0]
    assert ratio.mean() == pytest.approx(0.377, abs=0.005) and 0.017 < ratio.std() < 0.028


def test_wide_feet_have_exact_frames_and_the_measures_of_their_form(wide_feet):
    for shape, foot in wide_feet:
        below = foot.solid.vertices[foot.solid.vertices[:, 1] < 0.06]
        assert foot.length == pytest.approx(shape.length, abs=1e-5)
        assert foot.pternion[0] == pytest.approx(below[:, 0].min(), abs=1e-4)
        assert foot.second_toe[2] == pytest.approx(foot.pternion[2], abs=1e-5)
        assert foot.solid.is_watertight and foot.solid.volume > 2e-4
        assert foot.solid.bounds[:, 1] == pytest.approx([0, FOOT_CUT_HEIGHT], abs=1e-5)
        assert np.allclose(below.min(axis=0) + below.max(axis=0), [0, 0.06, 0], atol=1e-3)
        assert foot.cube.edge == FOOT_CUBE_EDGE and np.allclose(foot.cube.centre[[0, 2]], 0, atol=1e-6)
    measures = [(shape, true_measures(foot)) for shape, foot in wide_feet]
    breadth = np.array([found["ball_breadth"] / (1000 * shape.form.breadth) for shape, found in measures])
    assert np.abs(breadth - 1).max() < 0.05
    girth = np.array([found["ball_girth"] / found["ball_breadth"] for _, found in measures])
    assert girth.mean() == pytest.approx(2.47, abs=0.09)


@pytest.mark.parametrize("lean", [(-50.0, 0.0), (-25.0, 12.0), (12.0, -10.0)])
def test_the_shank_leans_as_asked(wide, lean):
    foot = make_feet(dataclasses.replace(wide[1], left=dataclasses.replace(wide[1].left, lean=lean)))["left"]
    height = legs.leg_template("left").rest[:, 1] - legs.leg_template("left").rest[:, 1].min()
    lower, upper = (foot.leg_mesh.vertices[np.abs(height - level) < 0.02].mean(axis=0) for level in (0.2, 0.3))
    x, y, z = upper - lower
    assert np.degrees(np.arctan2([x, -z], y)) == pytest.approx(lean, abs=6)
