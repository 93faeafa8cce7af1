"""Facts about the generated feet: how long they are, which way they point, that they are solid."""

from __future__ import annotations

import dataclasses
import multiprocessing
import socket

import numpy as np
import pytest

from p2vlib.geometry.frames import FOOT_CUT_HEIGHT, SIDES, foot_cube
from p2vlib.geometry.grids import iou, voxelise
from p2vtools.synthesis.feet import foot as feet
from p2vtools.synthesis.feet import legs, population
from p2vtools.synthesis.feet.template import ANNY_TO_WORLD, leg_template

SEED = 11


@pytest.fixture(scope="module")
def crowd() -> list[population.Person]:
    return population.sample_population(SEED, 24)


@pytest.fixture(scope="module")
def pairs(crowd) -> list[dict[str, feet.SyntheticFoot]]:
    return [feet.make_feet(person) for person in crowd]


@pytest.fixture(scope="module")
def every_foot(pairs) -> list[feet.SyntheticFoot]:
    return [foot for pair in pairs for foot in pair.values()]


def test_a_person_depends_on_seed_and_number_only(crowd):
    assert population.sample_population(SEED, 3, first=5) == crowd[5:8]
    assert population.sample_population(SEED + 1, 24) != crowd
    assert [person.id for person in crowd[:2]] == ["p00000", "p00001"]


def test_a_population_refuses_what_cannot_be_counted():
    with pytest.raises(ValueError, match="-1"):
        population.sample_population(SEED, -1)


@pytest.mark.parametrize("count", [1, 4, 7, 15, 40])
def test_at_most_a_fifth_are_children(count):
    crowd = population.sample_population(SEED, count)
    assert sum(person.is_child for person in crowd) <= count / 5
    assert all(6 <= person.age <= 85 for person in crowd)


@pytest.mark.parametrize(("sex", "mean", "deviation"), [("man", 265, 13), ("woman", 243, 12)])
def test_drawn_adult_lengths_are_the_published_ones(sex, mean, deviation):
    adults = [p for p in population.sample_population(SEED, 1000) if p.sex == sex and not p.is_child]
    lengths = 1000 * np.array([person.left.length for person in adults])
    assert len(lengths) > 350
    assert lengths.mean() == pytest.approx(mean, abs=1.5)
    assert lengths.std() == pytest.approx(deviation, abs=1.2)


def test_a_made_foot_has_the_drawn_length(crowd, pairs):
    for person, pair in zip(crowd, pairs, strict=True):
        for side, foot in pair.items():
            assert (foot.subject, foot.side) == (person.id, side)
            assert foot.length == pytest.approx(getattr(person, side).length, abs=1e-3)
            ankle_free = np.asarray(foot.solid.vertices)[np.asarray(foot.solid.vertices)[:, 1] < 0.06]
            assert np.ptp(ankle_free[:, 0]) == pytest.approx(foot.length, abs=1e-3)


def test_breadth_stays_human(every_foot):
    ratio = np.array([foot.ball_breadth / foot.length for foot in every_foot])
    assert ratio.mean() == pytest.approx(0.38, abs=0.02)
    assert ratio.min() > 0.27 and ratio.max() < 0.52
    assert all(foot.heel_breadth < foot.ball_breadth for foot in every_foot)
    assert all(0.025 < foot.instep_height < 0.10 for foot in every_foot)


def test_the_solid_is_closed_and_of_a_foots_volume(every_foot):
    for foot in every_foot:
        assert foot.solid.is_watertight and foot.solid.is_winding_consistent
        box = np.prod(foot.solid.extents)
        assert 0.22 * box < foot.solid.volume < 0.50 * box
        assert 2.5e-4 < foot.solid.volume < 2.2e-3


def test_the_foot_stands_in_its_frame(every_foot):
    for foot in every_foot:
        lower, upper = foot.solid.bounds
        assert lower[1] == pytest.approx(0, abs=1e-5) and upper[1] == pytest.approx(FOOT_CUT_HEIGHT, abs=1e-5)
        assert np.abs((lower + upper)[[0, 2]]).max() < 1e-5
        assert foot.leg_mesh.vertices[:, 1].min() == pytest.approx(0, abs=1e-5)
        assert foot.leg_mesh.is_watertight and foot.leg_mesh.bounds[1, 1] > 0.25
        foot_cube(foot.solid.bounds)


def test_x_runs_from_pternion_to_the_second_toe(every_foot):
    for foot in every_foot:
        vertices = np.asarray(foot.leg_mesh.vertices)
        heel = vertices[(vertices[:, 1] < 0.06) & leg_template(foot.side).is_foot]
        heel = heel[heel[:, 0].argmin()]
        toe = vertices[leg_template(foot.side).toes[1] > 0.5]
        toe = toe[toe[:, 0].argmax()]
        assert np.allclose(heel, foot.pternion) and np.allclose(toe, foot.second_toe)
        assert abs(np.degrees(np.arctan2(toe[2] - heel[2], toe[0] - heel[0]))) < 0.1
        assert toe[0] > 0.08 and heel[0] < -0.08


def test_nothing_is_mirrored(every_foot):
    assert np.linalg.det(ANNY_TO_WORLD) == pytest.approx(1)
    for foot in every_foot:
        vertices, toes = np.asarray(foot.leg_mesh.vertices), leg_template(foot.side).toes
        big, small = vertices[toes[0] > 0.5, 2].mean(), vertices[toes[4] > 0.5, 2].mean()
        assert (big > 0 > small) if foot.side == "left" else (big < 0 < small)
        assert foot.leg_mesh.volume > 0


def test_the_sole_is_flat_and_hollow_on_its_inner_side(every_foot):
    heights = []
    for foot in every_foot:
        vertices, leg = np.asarray(foot.leg_mesh.vertices), leg_template(foot.side)
        for region in leg.tripod:
            assert vertices[region, 1].min() < 1e-3
        heights.append(vertices[leg.arch > 0.5, 1].min())
    assert np.median(heights) > 0.003


def test_left_and_right_are_alike_but_not_equal(pairs):
    overlaps = []
    for pair in pairs[:12]:
        grids = [
            voxelise(np.asarray(f.solid.vertices), np.asarray(f.solid.faces), foot_cube(f.solid.bounds))
            for f in pair.values()
        ]
        left, right = (grid.volume for grid in grids)
        overlaps.append(iou(left[:, :, ::-1], right))
        assert overlaps[-1] > iou(left, right) + 0.1
    assert min(overlaps) > 0.75 and np.mean(overlaps) > 0.85
    assert max(overlaps) < 1


def test_the_same_person_has_the_same_feet(crowd, pairs):
    again = feet.make_feet(crowd[3])
    for side in SIDES:
        assert np.array_equal(again[side].leg_mesh.vertices, pairs[3][side].leg_mesh.vertices)
        assert np.array_equal(again[side].solid.vertices, pairs[3][side].solid.vertices)


def test_albedo_is_a_colour_and_skins_differ(every_foot):
    for foot in every_foot:
        albedo = foot.leg_mesh.vertex_attributes["albedo"]
        assert albedo.shape == foot.leg_mesh.vertices.shape and albedo.min() > 0 and albedo.max() < 1
        assert np.allclose(albedo[~leg_template(foot.side).is_foot].mean(axis=0), foot.skin, rtol=0.1)
    brightness = [np.mean(foot.skin) for foot in every_foot]
    assert min(brightness) < 0.15 and max(brightness) > 0.5


def test_a_giants_foot_is_refused(crowd):
    giant = dataclasses.replace(crowd[0], left=dataclasses.replace(crowd[0].left, length=0.34))
    with pytest.raises(ValueError, match="leaves its cube"):
        feet.make_feet(giant)


def test_a_fresh_process_without_network_makes_the_same_foot(crowd, pairs):
    legs.cache_legs()
    with multiprocessing.get_context("spawn").Pool(1, initializer=_unplug) as pool:
        vertices = pool.apply(_left_vertices, (crowd[0],))
    assert np.array_equal(vertices, pairs[0]["left"].solid.vertices)


def _unplug() -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network in this test")

    socket.socket.connect = refuse


def _left_vertices(person: population.Person) -> np.ndarray:
    return np.asarray(feet.make_feet(person)["left"].solid.vertices)
