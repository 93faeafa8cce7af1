import numpy as np
import pytest

from p2vtools.study.surfaces import f_score, surface_distances
from tests.test_p2vlib.models.test_psgn import ball


def test_f_score_decreases_with_the_distance_of_the_surfaces():
    """For equal balls only sampling limits the score; a shift of a voxel is three times the distance."""
    scores = [f_score(ball(0.3, shift=shift / 32), ball(0.3)) for shift in (0, 1, 2)]
    assert 0.85 < scores[0] < 0.99 and scores[0] > scores[1] + 0.2 and scores[1] > scores[2]
    assert f_score(ball(0.3), ball(0.3), distance=2.0) == 1
    assert f_score(ball(0.1, shift=-0.3), ball(0.1, shift=0.3)) == 0
    assert f_score(ball(0.3), ball(0.3)) == f_score(ball(0.3), ball(0.3))


def test_the_unit_of_the_f_score_is_the_cube_with_one_more_voxel():
    """Two plates one voxel apart: their faces are 1/33 from each other."""
    plate, other = np.zeros((2, 32, 32, 32), bool)
    plate[10], other[11] = True, True
    near = [f_score(plate, other, distance=distance) for distance in (1 / 34, 1 / 25)]
    assert near[0] < 0.2 and near[1] > 0.95
    # A tenth of the surface, the rim, is nearer; the nearest points of the rest are exactly opposite.
    assert np.quantile(surface_distances(plate, other)[0], 0.2) == pytest.approx(1 / 33, rel=0.015), "and not 1/32"


def test_f_score_is_the_harmonic_mean_of_precision_and_recall():
    """All of half a plate lies on the whole one; a strip of 2 % more than half of the whole one lies on the half."""
    plate = np.zeros((32, 32, 32), bool)
    plate[10] = True
    half = plate.copy()
    half[:, 16:] = False
    for one, two in ((plate, half), (half, plate)):
        assert f_score(one, two, distance=0.02) == pytest.approx(2 * 1 * 0.53 / (1 + 0.53), abs=0.03)
