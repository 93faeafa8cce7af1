import numpy as np
import pytest
import trimesh

from p2vlib.geometry.frames import FOOT_CUBE_EDGE
from p2vtools.study import sensitivity

SIZE = 64
PITCH = 1000 * FOOT_CUBE_EDGE / SIZE
"""5 mm. Walls of the brick lie between voxel centres, so voxel counts are exact."""


def brick(length: float = 0.24, height: float = 0.1, width: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.box(bounds=[[0.0, 0.0, 0.0], [length, height, width]])
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def ell() -> tuple[np.ndarray, np.ndarray]:
    """The brick without its front right quarter (x > 0.12, z > 0.05)."""
    left = trimesh.creation.box(bounds=[[0.0, 0.0, 0.0], [0.24, 0.1, 0.05]])
    mesh = left + trimesh.creation.box(bounds=[[0.0, 0.0, 0.05], [0.12, 0.1, 0.1]])
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def test_shift_by_whole_voxels() -> None:
    """A brick of w voxels moved by s: intersection w - s, union w + s. What leaves the cube is lost."""
    for voxels in (1, 3, 6):
        amount = voxels * PITCH
        for axis, edge in ((0, 48), (2, 20)):
            found = sensitivity.shift(*brick(), amount, SIZE, axis)
            assert found == pytest.approx((edge - voxels) / (edge + voxels))
    assert sensitivity.yaw(*ell(), 0.0, 32) == 1.0 == sensitivity.inflation(*ell(), 0.0, 32)
    # The front wall is 8 voxels from that of the cube: a shift by 12 leaves 36 of 48 + 8.
    assert sensitivity.shift(*brick(), 12 * PITCH, SIZE, axis=0) == pytest.approx(36 / 56)


def test_yaw_and_mirror() -> None:
    """Two crossed bars of 48 x 20 share 20 x 20; a half turn of the ell leaves half of the brick in common."""
    assert sensitivity.yaw(*brick(), 90.0, SIZE) == pytest.approx(400 / (2 * 48 * 20 - 400))
    assert sensitivity.yaw(*brick(), 180.0, SIZE) == 1.0 == sensitivity.mirror(*brick(), SIZE)
    assert sensitivity.yaw(*ell(), 180.0, SIZE) == pytest.approx(0.5)
    assert sensitivity.mirror(*ell(), SIZE) == pytest.approx(0.5), "its complete half"
    assert sensitivity.yaw(*ell(), 5.0, SIZE) == pytest.approx(sensitivity.yaw(*ell(), 365.0, SIZE))


def test_inflation_floor_and_surface_sampling_by_hand() -> None:
    # A brick grown by r gains slabs on its six faces, quarter cylinders on its edges and a ball at its corners.
    r, length, height, width = 12.5e-3, 0.24, 0.1, 0.1
    walls = 2 * r * (height * length + height * width + length * width)
    edges = np.pi * r**2 * (length + height + width)
    expected = length * height * width / (length * height * width + walls + edges + 4 / 3 * np.pi * r**3)
    assert sensitivity.inflation(*brick(), 1000 * r, 128) == pytest.approx(expected, abs=0.01)
    # With 120 mm of floor all round, the brick has half its length in the grid.
    with_floor = sensitivity.floor_slab(*brick(), 120.0, SIZE)
    assert with_floor < 0.25 and with_floor < sensitivity.floor_slab(*brick(), 20.0, SIZE)
    assert sensitivity.floor_slab(*brick(), 120.0, SIZE, cut=1.5) == pytest.approx(1.0, abs=0.005)
    # Walls 1 mm inside a voxel of 5 mm: centre sampling leaves that voxel empty, surface sampling fills it.
    expected = (48 * 20 * 20) / (50 * 22 * 22)
    assert sensitivity.surface_sampling(*brick(0.242, 0.102, 0.102), SIZE) == pytest.approx(expected)
