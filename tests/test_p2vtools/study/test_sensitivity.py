"""The cost of conventions on bricks, where every IoU can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from p2vlib.geometry.frames import FOOT_CUBE_EDGE
from p2vtools.study import sensitivity

SIZE = 64
PITCH = 1000 * FOOT_CUBE_EDGE / SIZE
"""5 mm: a brick whose walls lie between voxel centres keeps exact voxel counts."""


def brick(length: float = 0.24, height: float = 0.1, width: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.box(bounds=[[0.0, 0.0, 0.0], [length, height, width]])
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def ell() -> tuple[np.ndarray, np.ndarray]:
    """A brick of 0.24 x 0.1 x 0.1 m without the front right quarter (x > 0.12, z > 0.05)."""
    outline = np.array([[0, 0], [0.24, 0], [0.24, 0.05], [0.12, 0.05], [0.12, 0.1], [0, 0.1]])
    vertices = np.concatenate([np.insert(outline, 1, height, axis=1) for height in (0.0, 0.1)])
    fan = np.array([[3, 4, 5], [3, 5, 0], [3, 0, 1], [3, 1, 2]])
    sides = [[i, (i + 1) % 6, (i + 1) % 6 + 6] for i in range(6)] + [[i, (i + 1) % 6 + 6, i + 6] for i in range(6)]
    mesh = trimesh.Trimesh(vertices, np.concatenate([fan, fan[:, ::-1] + 6, sides]))
    mesh.fix_normals()
    assert mesh.is_volume
    assert mesh.volume == pytest.approx(0.75 * 0.24 * 0.1 * 0.1)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def test_no_mistake_costs_nothing() -> None:
    for mistake in (sensitivity.yaw, sensitivity.forward_shift, sensitivity.sideways_shift, sensitivity.inflation):
        assert mistake(*ell(), 0.0, 32) == 1.0


@pytest.mark.parametrize("voxels", [1, 3, 6])
def test_shifts_by_whole_voxels(voxels: int) -> None:
    """Moved by s, a brick of w shares w - s and covers w + s."""
    amount = voxels * PITCH
    assert sensitivity.sideways_shift(*brick(), amount, SIZE) == pytest.approx((20 - voxels) / (20 + voxels))
    assert sensitivity.forward_shift(*brick(), amount, SIZE) == pytest.approx((48 - voxels) / (48 + voxels))


def test_what_leaves_the_cube_is_lost() -> None:
    """The brick's front wall is 8 voxels from the cube's: moved by 12, it shares 36 of 48 + 8."""
    assert sensitivity.forward_shift(*brick(), 12 * PITCH, SIZE) == pytest.approx(36 / 56)


def test_a_quarter_turn_leaves_the_middle() -> None:
    """Two crossed bars of 48 x 20 share 20 x 20."""
    assert sensitivity.yaw(*brick(), 90.0, SIZE) == pytest.approx(400 / (2 * 48 * 20 - 400))
    assert sensitivity.yaw(*brick(), 180.0, SIZE) == 1.0


def test_a_half_turn_moves_the_gap_from_front_right_to_back_left() -> None:
    """Half of the brick is common to both, the whole brick is covered; a full turn more changes nothing."""
    assert sensitivity.yaw(*ell(), 180.0, SIZE) == pytest.approx(0.5)
    assert sensitivity.yaw(*ell(), 5.0, SIZE) == pytest.approx(sensitivity.yaw(*ell(), 365.0, SIZE))


def test_inflation_is_a_distance() -> None:
    """A brick grown by r (Steiner): slabs on its six sides, quarter cylinders on its edges, a ball in its corners."""
    r, length, height, width = 12.5e-3, 0.24, 0.1, 0.1
    walls = 2 * r * (height * length + height * width + length * width)
    edges = np.pi * r**2 * (length + height + width)
    expected = length * height * width / (length * height * width + walls + edges + 4 / 3 * np.pi * r**3)
    assert sensitivity.inflation(*brick(), 1000 * r, 128) == pytest.approx(expected, abs=0.01)


def test_a_mirrored_ell_shares_its_whole_half() -> None:
    assert sensitivity.mirror(*brick(), SIZE) == 1.0
    assert sensitivity.mirror(*ell(), SIZE) == pytest.approx(0.5)


def test_a_floor_shrinks_the_foot_and_cutting_it_restores_it() -> None:
    """With 120 mm of floor all round, the brick is half as long in its grid as it should be."""
    with_floor = sensitivity.floor_slab(*brick(), 120.0, SIZE)
    assert with_floor < 0.25
    assert sensitivity.floor_slab(*brick(), 120.0, SIZE, cut=1.5) == pytest.approx(1.0, abs=0.005)
    assert with_floor < sensitivity.floor_slab(*brick(), 20.0, SIZE)


def test_surface_sampling_adds_the_voxels_whose_centre_is_outside() -> None:
    """Walls 1 mm into a voxel of 5 mm: centre sampling leaves that voxel out, surface sampling takes it."""
    vertices, faces = brick(0.242, 0.102, 0.102)
    expected = (48 * 20 * 20) / (50 * 22 * 22)
    assert sensitivity.surface_sampling(vertices, faces, SIZE) == pytest.approx(expected)


def test_the_table_has_a_row_for_each_amount_and_grid() -> None:
    table = sensitivity.cost_table(*ell(), sizes=(16, 32))
    assert list(table) == ["perturbation", "amount", "unit", "grid", "iou"]
    assert not table.duplicated(["perturbation", "amount", "grid"]).any()
    assert table["iou"].between(0, 1).all()
    assert table.groupby("grid").size().nunique() == 1
    fine = table[table["grid"] == 32].set_index(["perturbation", "amount"])["iou"]
    for perturbation in ("yaw", "sideways shift", "inflation"):
        assert (np.diff(fine[perturbation]) <= 0).all()
