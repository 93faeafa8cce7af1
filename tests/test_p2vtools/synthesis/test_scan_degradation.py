"""Simulated scans against their ground truth."""

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


def test_the_seed_determines_the_scan(foot, scans):
    again, truth = degrade_scan(foot, np.random.default_rng(1))
    assert np.array_equal(again.vertices, scans[0][0].vertices) and truth.unit == scans[0][1].unit
    assert len({len(scan.faces) for scan, _ in scans}) == len(scans)


def test_the_scan_is_the_described_one(foot, scans):
    surface = KDTree(trimesh.sample.sample_surface(foot.leg_mesh, 40_000, seed=0)[0])
    for scan, truth in scans:
        points = trimesh.transform_points(scan.vertices, np.linalg.inv(truth.to_scan))
        on_foot = points[(points[:, 1] > 0.03) & (points[:, 1] < 0.12) & (np.abs(points[:, 2]) < 0.05)]
        # Smoothing over millimetres removes most of the noise, but not all.
        assert 0.0007 < np.median(surface.query(on_foot)[0]) < NOISE[1] / 2 and truth.side == foot.side
        scale = np.cbrt(np.linalg.det(truth.to_scan[:3, :3]))
        assert scale * UNITS[truth.unit] == pytest.approx(1)
        outside = np.abs(points[:, 2]) > np.abs(foot.solid.bounds[:, 2]).max() + 0.01
        assert (np.mean(outside & (points[:, 1] < 0.03)) > 0.1) == (truth.floor != "none"), truth
        assert points[:, 1].max() == pytest.approx(truth.leg, abs=0.02) or truth.strays
