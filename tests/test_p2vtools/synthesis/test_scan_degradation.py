"""What is done to a foot that an app is said to have scanned."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.scan_degradation import NOISE, UNITS, ScanTruth, degrade_scan


@pytest.fixture(scope="module")
def foot() -> SyntheticFoot:
    return make_feet(sample_population(4713, 1)[0])["left"]


@pytest.fixture(scope="module")
def scans(foot) -> list[tuple[trimesh.Trimesh, ScanTruth]]:
    return [degrade_scan(foot, np.random.default_rng(seed)) for seed in (1, 6, 11)]


def test_a_seed_gives_the_same_scan_and_another_seed_another(foot, scans):
    again, truth = degrade_scan(foot, np.random.default_rng(1))
    assert np.array_equal(again.vertices, scans[0][0].vertices) and truth.unit == scans[0][1].unit
    assert len({len(scan.faces) for scan, _ in scans}) == len(scans)


def test_the_truth_says_where_the_foot_is(foot, scans):
    for scan, truth in scans:
        there = trimesh.transform_points(scan.vertices, np.linalg.inv(truth.to_scan))
        seen = there[(there[:, 1] > 0.03) & (there[:, 1] < 0.12) & (np.abs(there[:, 2]) < 0.05)]
        away, _ = KDTree(trimesh.sample.sample_surface(foot.leg_mesh, 40_000, seed=0)[0]).query(seen)
        # A blur of millimetres has taken most of the noise, and some of it is left.
        assert 0.0007 < np.median(away) < NOISE[1] / 2 and truth.side == foot.side
        scale = np.cbrt(np.linalg.det(truth.to_scan[:3, :3]))
        assert scale * UNITS[truth.unit] == pytest.approx(1)


def test_there_is_what_is_said_to_be(foot, scans):
    for scan, truth in scans:
        there = trimesh.transform_points(scan.vertices, np.linalg.inv(truth.to_scan))
        beside = np.abs(there[:, 2]) > np.abs(foot.solid.bounds[:, 2]).max() + 0.01
        assert (np.mean(beside & (there[:, 1] < 0.03)) > 0.1) == (truth.floor != "none"), truth
        assert there[:, 1].max() == pytest.approx(truth.leg, abs=0.02) or truth.strays
