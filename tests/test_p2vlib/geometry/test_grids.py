import inspect

import numpy as np
import pytest
import trimesh
from jaxtyping import TypeCheckError

from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import VoxelGrid, iou, to_mesh, voxelise

UNIT = Cube((0.0, 0.0, 0.0), 1.0)


def brick(lower: tuple[float, ...], upper: tuple[float, ...]) -> trimesh.Trimesh:
    return trimesh.creation.box(bounds=[lower, upper])


def parts(mesh: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def columns(mesh: trimesh.Trimesh, centres: np.ndarray, axis: int) -> np.ndarray:
    """Parity of the surfaces below each voxel centre, by embreex rays along one axis: one of three votes."""
    direction = np.eye(3)[axis]
    starts = centres.take(0, axis=axis).reshape(-1, 3) - 2 * mesh.extents.max() * direction
    directions = np.tile(direction, (len(starts), 1))
    hits, rays, _ = mesh.ray.intersects_location(starts, directions, multiple_hits=True)
    depth = np.moveaxis(centres, axis, -2)[..., axis].reshape(len(starts), -1)
    below = np.zeros(depth.shape, dtype=int)
    np.add.at(below, rays, hits[:, axis, None] < depth[rays])
    others = [centres.shape[other] for other in range(3) if other != axis]
    return np.moveaxis((below % 2 == 1).reshape(*others, -1), -1, axis)


def test_bricks_of_three_lengths_are_voxelised_by_the_centres_and_cut_off_at_the_cube() -> None:
    grid = voxelise(*parts(brick((0.1, 0.2, 0.3), (0.9, 0.6, 0.5))), UNIT, 10)
    expected = np.zeros((10, 10, 10), dtype=bool)
    expected[1:9, 2:6, 3:5] = True
    assert np.array_equal(grid.volume, expected)
    assert grid.cubic_metres == pytest.approx(0.8 * 0.4 * 0.2)
    # A brick that covers voxel 3 up to just before, or just past, the centre of voxel 4.
    for end, last in ((0.449, 4), (0.451, 5)):
        grid = voxelise(*parts(brick((0.3, 0.0, 0.0), (end, 1.0, 1.0))), UNIT, 10)
        assert np.flatnonzero(grid.volume[:, 5, 5]).tolist() == list(range(3, last))
    grid = voxelise(*parts(brick((-1.0, 0.0, 0.0), (0.5, 2.0, 0.25))), UNIT, 8)
    expected = np.zeros((8, 8, 8), dtype=bool)
    expected[:4, :, :2] = True
    assert np.array_equal(grid.volume, expected)


def test_a_rotated_torus_agrees_with_ray_casting_along_three_axes() -> None:
    torus = trimesh.creation.torus(0.3, 0.12, 60, 40)
    torus.apply_transform(trimesh.transformations.rotation_matrix(0.7, [1.0, 2.0, 3.0]))
    torus.apply_translation([0.5, 0.5, 0.5])
    centres = UNIT.voxel_centres(24)
    votes = sum(columns(torus, centres, axis).astype(int) for axis in range(3))
    grid = voxelise(*parts(torus), UNIT, 24)
    assert 0.05 < grid.volume.mean() < 0.2
    assert iou(grid.volume, votes >= 2) > 0.999


def test_missing_faces_are_tolerated_and_half_of_a_surface_encloses_half() -> None:
    mesh = trimesh.creation.icosphere(4, radius=0.4).apply_translation([0.5, 0.5, 0.5])
    vertices, faces = parts(mesh)
    kept = np.random.default_rng(3).random(len(faces)) > 0.02
    assert kept.sum() < len(faces)
    whole, holed = voxelise(vertices, faces, UNIT, 32), voxelise(vertices, faces[kept], UNIT, 32)
    assert iou(whole.volume, holed.volume) > 0.995
    # Three faces of a cube that meet in a corner, and the other three, have winding numbers that add up to one. One
    # half is mapped to the other by the inversion at the centre, so a voxel near two of three faces is inside.
    mesh = brick((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    grid = voxelise(np.asarray(mesh.vertices), mesh.faces[(mesh.face_normals < -0.5).any(axis=1)], UNIT, 2)
    assert np.array_equal(grid.volume, np.indices((2, 2, 2)).sum(axis=0) <= 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v, f: (np.where(v > 0.8, np.nan, v), f, UNIT, 8), "4 of 8 vertices are not finite"),
        (lambda v, f: (v[:0], f[:0], UNIT, 8), "empty mesh"),
        (lambda v, f: (v, f[:0], UNIT, 8), "empty mesh"),
        (lambda v, f: (v, f, UNIT, 0), "at least one voxel"),
        (lambda v, f: (v, f, UNIT, -4), "at least one voxel"),
        (lambda v, f: (v, f + 1, UNIT, 8), "faces name vertices 1 to 8; the mesh has 0 to 7"),
        (lambda v, f: (v, f[:, ::-1], UNIT, 8), "inside out"),
        (lambda v, f: (1000 * v + 200, f, UNIT, 8), "outside its cube"),
    ],
)
def test_bad_meshes_are_refused(change, message: str) -> None:
    vertices, faces = parts(brick((0.1, 0.1, 0.1), (0.6, 0.7, 0.9)))
    with pytest.raises(ValueError, match=message):
        voxelise(*change(vertices, faces))


@pytest.mark.parametrize(
    ("shape", "kind"), [((2, 2, 3), bool), ((0, 0, 0), bool), ((2, 2), bool), ((2, 2, 2), np.uint8)]
)
def test_volumes_that_are_not_cubic_and_boolean_are_refused(shape: tuple[int, ...], kind: type) -> None:
    """The tests' shape checker may speak first."""
    with pytest.raises((ValueError, TypeCheckError), match="expected a boolean volume|Type-check"):
        VoxelGrid(np.zeros(shape, kind), UNIT)


def test_the_surface_of_one_voxel_and_of_a_ramp() -> None:
    volume = np.zeros((4, 4, 4), dtype=bool)
    volume[0, 1, 3] = True
    vertices, faces = to_mesh(volume, Cube((10.0, 20.0, 30.0), 4.0))
    centre = np.array([10.5, 21.5, 33.5])
    expected = centre + 0.5 * np.concatenate([np.eye(3), -np.eye(3)])
    assert sorted(map(tuple, vertices)) == sorted(map(tuple, expected))
    assert trimesh.Trimesh(vertices, faces).volume == pytest.approx(4 / 3 * 0.5**3)
    # A linear ramp along x passes one half at x = 0.37 although no voxel lies there.
    centres = UNIT.voxel_centres(10)
    ramp = np.clip(0.5 + (0.37 - centres[..., 0]), 0, 1)
    vertices, _ = to_mesh(ramp, UNIT)
    inner = vertices[(np.abs(vertices[:, 1:] - 0.5) < 0.3).all(axis=1)]
    assert inner[:, 0].max() == pytest.approx(0.37, abs=1e-6)


def test_a_sphere_matches_the_analytic_one_and_survives_the_round_trip() -> None:
    cube = Cube((-0.2, 0.1, 0.3), 0.32)
    centre = cube.centre + [0.01, -0.02, 0.03]
    sphere = trimesh.creation.icosphere(5, radius=0.1).apply_translation(centre)
    grid = voxelise(*parts(sphere), cube, 48)
    assert iou(grid.volume, np.linalg.norm(cube.voxel_centres(48) - centre, axis=-1) < 0.1) > 0.998
    surface = trimesh.Trimesh(*to_mesh(grid.volume, cube))
    assert surface.is_watertight
    assert surface.volume == pytest.approx(sphere.volume, rel=0.01)
    assert np.linalg.norm(surface.vertices - centre, axis=1) == pytest.approx(0.1, abs=grid.pitch)
    assert iou(voxelise(*parts(surface), cube, 48).volume, grid.volume) == 1.0


@pytest.mark.parametrize(
    ("volume", "level", "message"),
    [
        (np.zeros((4, 4, 4), bool), 0.5, "empty"),
        (np.full((4, 4, 4), 0.3), 0.5, "empty"),
        (np.full((4, 4, 4), np.nan), 0.5, "contains NaN"),
        (np.ones((4, 4, 5)), 0.5, "cubic"),
        (np.ones((4, 4, 4)), 0.0, "found 0.0"),
    ],
)
def test_volumes_without_a_surface_are_refused(volume: np.ndarray, level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_mesh(volume, UNIT, level)


def test_iou_by_hand_without_broadcasting() -> None:
    a, b = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    a[:2], b[1:3] = True, True
    assert iou(a, b) == pytest.approx(1 / 3)
    assert iou(a, a) == 1.0
    assert iou(a, ~a) == 0.0
    assert iou(a & ~a, b & ~b) == 1.0
    unchecked = inspect.unwrap(iou)  # without the tests' shape checker
    with pytest.raises(ValueError, match="one shape"):
        unchecked(a, a[:1])
    with pytest.raises(ValueError, match="boolean"):
        unchecked(a, a.astype(np.uint8))
