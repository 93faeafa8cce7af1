"""CAD families: watertight, coloured, in R2N2's frame, deterministic in their seed, varied within a category."""

import numpy as np
import pytest
import trimesh
from manifold3d import Manifold
from skimage.measure import label

from p2vlib.geometry.frames import object_cube
from p2vlib.geometry.grids import iou, voxelise
from p2vtools.synthesis.objects import FAMILIES, make_object
from p2vtools.synthesis.objects.parts import Sampler, assemble, cells, copies, mirrored, sheared, turned
from p2vtools.synthesis.objects.solids import THIN, box, cylinder, lathe, prism, rod, section

SAMPLE = 8
SYNSETS = {family.name: synset for synset, family in FAMILIES.items()}
each_family = pytest.mark.parametrize("synset", [pytest.param(s, id=f.name) for s, f in FAMILIES.items()])


@pytest.fixture(scope="module")
def objects() -> dict[str, list[trimesh.Trimesh]]:
    return {synset: [make_object(synset, seed=1, index=index) for index in range(SAMPLE)] for synset in FAMILIES}


@pytest.fixture(scope="module")
def volumes(objects) -> dict[str, np.ndarray]:
    return {
        synset: np.array([voxelise(m.vertices, m.faces, object_cube(m.bounds), 32).volume for m in meshes])
        for synset, meshes in objects.items()
    }


def of(objects, name: str) -> list[trimesh.Trimesh]:
    return objects[SYNSETS[name]]


def test_unknown_categories_and_negative_indices_are_refused():
    with pytest.raises(ValueError, match="no family for synset '05563266'"):
        make_object("05563266", 0, 0)
    with pytest.raises(ValueError, match="found seed 0, index -1"):
        make_object("03001627", 0, -1)


@each_family
def test_every_object_is_one_watertight_solid_on_the_grid_too_with_several_colours_and_normalised_bounds(
    objects, volumes, synset
):
    for index, (mesh, volume) in enumerate(zip(objects[synset], volumes[synset], strict=True)):
        assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0, index
        assert mesh.body_count == 1, f"object {index} has a detached part"
        colours = mesh.visual.face_colors
        assert colours.shape == (len(mesh.faces), 4) and colours.dtype == np.uint8 and (colours[:, 3] == 255).all()
        assert len(np.unique(colours, axis=0)) >= 2, index
        assert np.allclose(mesh.bounds.sum(axis=0), 0, atol=1e-9)
        assert np.linalg.norm(mesh.extents) == pytest.approx(1, abs=1e-9)
        ratio = volume.mean() * mesh.extents.max() ** 3 / mesh.volume
        assert 0.55 < ratio < 1.5, f"object {index}: the grid has {ratio:.2f} of the volume of the solid"
        assert label(volume, connectivity=3).max() == 1, f"object {index} is not connected on the grid"


@each_family
def test_the_mean_object_of_a_category_predicts_others_with_an_iou_of_at_most_60_percent(volumes, synset):
    mean, rest = volumes[synset][: SAMPLE // 2].mean(axis=0), volumes[synset][SAMPLE // 2 :]
    best = max(np.mean([iou(mean > level, volume) for volume in rest]) for level in np.arange(0.1, 0.8, 0.1))
    assert 0.1 < best <= 0.60


def test_objects_are_deterministic_in_seed_and_index_and_differ_otherwise(objects):
    for synset, (first, second, *_) in objects.items():
        again = make_object(synset, 1, 0)
        assert np.array_equal(first.vertices, again.vertices) and np.array_equal(first.faces, again.faces)
        assert np.array_equal(first.visual.face_colors, again.visual.face_colors)
        for other in (second, make_object(synset, 2, 0)):
            assert first.vertices.shape != other.vertices.shape or not np.allclose(first.vertices, other.vertices)


def test_objects_point_along_x(objects, volumes):
    for name in ("car", "rifle", "watercraft"):
        assert all(mesh.extents[0] > mesh.extents[2] for mesh in of(objects, name)), name
    for name in ("bench", "sofa", "display"):
        assert np.median([mesh.extents[2] / mesh.extents[0] for mesh in of(objects, name)]) > 1.3, name
    for mesh in of(objects, "rifle"):
        assert np.ptp(mesh.vertices[mesh.vertices[:, 0] > 0.42][:, 1]) < 0.7 * mesh.extents[1], "slim at the muzzle"
    fins = [mesh.vertices[mesh.vertices[:, 1].argmax(), 0] for mesh in of(objects, "aeroplane")]
    assert np.mean(np.array(fins) < 0) > 0.8, "the fin of an aeroplane is at its rear"
    for name in ("car", "aeroplane", "rifle"):
        symmetry = [iou(volume, volume[:, :, ::-1]) for volume in volumes[SYNSETS[name]]]
        assert np.mean(symmetry) > 0.9, f"{name}: symmetric in z"
    for volume in [*volumes[SYNSETS["chair"]], *volumes[SYNSETS["sofa"]]]:
        xs, ys, _ = np.nonzero(volume)
        top = xs[ys >= ys.max() - 2]
        assert top.min() <= xs.min() + 12 and top.mean() < 16, "the back of a seat is at its rear"


def test_primitives_and_arrangements_have_the_volumes_of_their_formulas():
    assert box(0.2, (1, 1.4), 0.6).volume() == pytest.approx(0.048)
    assert np.allclose(box(0.2, 0.4, (1, 3)).bounding_box(), [-0.1, 0, 1, 0.1, 0.4, 3])
    # Chamfers take triangular prisms along 12 edges, and in 8 corners what three of them have in common once.
    assert box(1, 1, 1, soft=0.1).volume() == pytest.approx(1 - 12 * 0.8 * 0.005 - 8 * 5 / 6 * 0.001)
    assert rod((0, 0, 0), (0, 2, 0), 0.5, sides=4).volume() == pytest.approx(2.0)
    assert prism([(0, 0), (2, 0), (0, 1)], 3.0).volume() == pytest.approx(3.0)
    vase = lathe([(1, 0), (0.5, 2)], segments=256)
    assert vase.volume() == pytest.approx(np.pi * 2 / 3 * (1 + 0.5 + 0.25), rel=1e-3)
    assert np.allclose(np.array(vase.bounding_box())[[1, 4]], [0, 2])
    assert cylinder(0.5, (1, 3), 256).volume() == pytest.approx(np.pi / 2, rel=1e-3)
    assert np.allclose(np.abs(section((0, 0, 0), (0.2, 0.5), power=80)).max(axis=0), [0, 0.2, 0.5], atol=0.02)
    cube = box((1, 2), 1, (1, 2))
    assert copies(cube, x=(0, 2), z=(0, 2, 4)).volume() == pytest.approx(6)
    assert np.allclose(mirrored(cube, "xz").bounding_box(), [-2, 0, -2, 2, 1, 2])
    assert mirrored(cube, "xz").volume() == pytest.approx(4) and turned(cube, 2).volume() == pytest.approx(2)
    assert np.allclose(sheared(cube, 0.5, 0.5).bounding_box(), [0.75, 0, 1, 2.25, 1, 2])
    assert cells(0.9, 1).tolist() == [0] and np.allclose(cells(0.9, 3), [-0.3, 0, 0.3])


def test_samplers_respect_ranges_and_assembled_parts_count_their_overlap_once():
    sample = Sampler(np.random.default_rng(0))
    table = {"tall": dict(weight=3, height=(0.8, 1.0)), "never": dict(weight=0), "low": dict(weight=1, foot="none")}
    rows = [sample.kind(table, height=(0.1, 0.2), foot=["round"], depth=0.5) for _ in range(400)]
    tall = [row for row in rows if row.kind == "tall"]
    assert len(tall) == pytest.approx(300, abs=40) and len(tall) + sum(row.kind == "low" for row in rows) == 400
    assert all(0.8 <= row.height <= 1.0 and row.foot == "round" and row.depth == 0.5 for row in tall)
    assert all(0.1 <= row.height <= 0.2 and row.foot == "none" for row in rows if row.kind == "low")
    assert {sample.count(2, 4) for _ in range(50)} == {2, 3, 4}
    parts = [(box(1, (-0.5, 0.5), 1), "dark"), (box((0.25, 1.25), (-0.25, 0.25), 0.5), "light")]
    mesh = assemble(parts, Sampler(np.random.default_rng(0)))
    assert mesh.volume == pytest.approx(1 + 0.75 * 0.25)
    is_light = mesh.visual.face_colors[:, 0] > 128
    assert mesh.triangles_center[is_light][:, 0].min() >= 0.5 - 1e-9
    assert mesh.area_faces[is_light].sum() == pytest.approx(0.75 * 2 + 0.25)
    with pytest.raises(ValueError, match="part 0 has no volume"):
        assemble([(Manifold(), "dark")], Sampler(np.random.default_rng(0)))


def test_the_least_thickness_always_covers_a_voxel_centre():
    for lower in np.linspace(0, 1 / 32, 9):
        plate = trimesh.creation.box(bounds=[[lower, 0, 0], [lower + THIN / 1.25, 1, 1]])
        assert voxelise(plate.vertices, plate.faces, object_cube(np.array([[0.0, 0, 0], [1, 1, 1]])), 32).volume.any()
