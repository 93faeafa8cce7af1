"""The CAD families: solid, coloured, in R2N2's frame, the same for the same seed and different otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from manifold3d import Manifold

from p2vlib.geometry.frames import object_cube
from p2vlib.geometry.grids import voxelise
from p2vtools.synthesis.objects import FAMILIES, make_object
from p2vtools.synthesis.objects.parts import THIN, Part, assemble, block, lathe, prism, rod, section, spread

SAMPLE = 12
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


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def of(objects, name: str) -> list[trimesh.Trimesh]:
    return objects[SYNSETS[name]]


def test_thirteen_categories_under_their_published_names():
    published = {
        "02691156": "aeroplane", "02828884": "bench", "02933112": "cabinet", "02958343": "car", "03001627": "chair",
        "03211117": "display", "03636649": "lamp", "03691459": "speaker", "04090263": "rifle", "04256520": "sofa",
        "04379243": "table", "04401088": "telephone", "04530566": "watercraft",
    }  # fmt: skip
    assert {synset: family.name for synset, family in FAMILIES.items()} == published


@each_family
def test_every_object_is_one_closed_solid_of_several_colours(objects, synset):
    for index, mesh in enumerate(objects[synset]):
        assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0, index
        assert mesh.body_count == 1, f"object {index} has a part that floats"
        colours = mesh.visual.face_colors
        assert colours.shape == (len(mesh.faces), 4) and colours.dtype == np.uint8 and (colours[:, 3] == 255).all()
        assert len(np.unique(colours, axis=0)) >= 2, index


@each_family
def test_every_object_is_normalised_as_r2n2_does(objects, synset):
    for mesh in objects[synset]:
        assert np.allclose(mesh.bounds.sum(axis=0), 0, atol=1e-9)
        assert np.linalg.norm(mesh.extents) == pytest.approx(1, abs=1e-9)


@each_family
def test_grids_hold_what_the_mesh_holds_in_one_piece(objects, volumes, synset):
    from skimage.measure import label

    for index, (mesh, volume) in enumerate(zip(objects[synset], volumes[synset], strict=True)):
        ratio = volume.mean() * mesh.extents.max() ** 3 / mesh.volume
        assert 0.55 < ratio < 1.5, f"object {index}: the grid holds {ratio:.2f} of the solid"
        assert label(volume, connectivity=3).max() == 1, f"object {index} falls to pieces on the grid"


@each_family
def test_a_mean_object_says_little_about_the_next(volumes, synset):
    mean, rest = volumes[synset][: SAMPLE // 2].mean(axis=0), volumes[synset][SAMPLE // 2 :]
    best = max(np.mean([iou(mean > level, volume) for volume in rest]) for level in np.arange(0.1, 0.8, 0.1))
    assert 0.1 < best <= 0.60


def test_the_same_arguments_make_the_same_object_and_others_another():
    for synset in FAMILIES:
        first, again = make_object(synset, 3, 7), make_object(synset, 3, 7)
        assert np.array_equal(first.vertices, again.vertices) and np.array_equal(first.faces, again.faces)
        assert np.array_equal(first.visual.face_colors, again.visual.face_colors)
        for other in (make_object(synset, 3, 8), make_object(synset, 4, 7)):
            assert first.vertices.shape != other.vertices.shape or not np.allclose(first.vertices, other.vertices)


@pytest.mark.parametrize("name", ["car", "rifle", "watercraft"])
def test_vehicles_and_rifles_point_along_x(objects, name):
    lengths = np.array([mesh.extents for mesh in of(objects, name)])
    assert (lengths[:, 0] > lengths[:, 2]).all()


@pytest.mark.parametrize("name", ["bench", "sofa", "display"])
def test_wide_things_are_wide_along_z(objects, name):
    assert np.median([mesh.extents[2] / mesh.extents[0] for mesh in of(objects, name)]) > 1.3


def test_a_rifle_is_slim_at_the_muzzle_and_a_plane_has_its_fin_at_the_rear(objects):
    for mesh in of(objects, "rifle"):
        assert np.ptp(mesh.vertices[mesh.vertices[:, 0] > 0.42][:, 1]) < 0.7 * mesh.extents[1]
    fins = [mesh.vertices[mesh.vertices[:, 1].argmax(), 0] for mesh in of(objects, "aeroplane")]
    assert np.mean(np.array(fins) < 0) > 0.8


@pytest.mark.parametrize("name", ["chair", "sofa"])
def test_backs_are_at_the_rear_and_legs_below(volumes, name):
    for volume in volumes[SYNSETS[name]]:
        xs, ys, _ = np.nonzero(volume)
        top = xs[ys >= ys.max() - 2]
        assert top.min() <= xs.min() + 12 and top.mean() < 16


def test_shapes_are_mirror_images_left_and_right_where_they_should_be(volumes):
    for name in ("car", "aeroplane", "rifle"):
        likeness = [iou(volume, volume[:, :, ::-1]) for volume in volumes[SYNSETS[name]]]
        assert np.mean(likeness) > 0.9


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="no family for synset '05563266'"):
        make_object("05563266", 0, 0)
    with pytest.raises(ValueError, match="found seed 0, index -1"):
        make_object("03001627", 0, -1)


def test_primitives_have_the_volumes_of_their_formulas():
    assert block((1, 2, 3), (0.2, 0.4, 0.6)).volume() == pytest.approx(0.048)
    assert rod((0, 0, 0), (0, 2, 0), 0.5, sides=4).volume() == pytest.approx(2.0)
    assert prism([(0, 0), (2, 0), (0, 1)], 3.0).volume() == pytest.approx(3.0)
    vase = lathe([(1, 0), (0.5, 2)], segments=256)
    assert vase.volume() == pytest.approx(np.pi * 2 / 3 * (1 + 0.5 + 0.25), rel=1e-3)
    assert np.allclose(np.array(vase.bounding_box())[[1, 4]], [0, 2])
    assert np.allclose(np.abs(section((0, 0, 0), (0.2, 0.5), power=80)).max(axis=0), [0, 0.2, 0.5], atol=0.02)
    assert spread(0.3, 1).tolist() == [0] and np.allclose(spread(0.3, 3), [-0.3, 0, 0.3])


def test_a_union_keeps_the_colours_and_counts_the_overlap_once():
    red, blue = (200, 0, 0), (0, 0, 200)
    mesh = assemble([Part(block((0, 0, 0), (1, 1, 1)), red), Part(block((0.75, 0, 0), (1, 0.5, 0.5)), blue)])
    assert mesh.volume == pytest.approx(1 + 0.75 * 0.25)
    is_blue = (mesh.visual.face_colors == [*blue, 255]).all(axis=1)
    assert mesh.triangles_center[is_blue][:, 0].min() >= 0.5 - 1e-9
    assert mesh.area_faces[is_blue].sum() == pytest.approx(0.75 * 2 + 0.25)
    with pytest.raises(ValueError, match="part 0 of a drawing has no volume"):
        assemble([Part(Manifold(), red)])


def test_thin_parts_never_fall_between_voxel_centres():
    for lower in np.linspace(0, 1 / 32, 9):
        plate = trimesh.creation.box(bounds=[[lower, 0, 0], [lower + THIN / 1.25, 1, 1]])
        assert voxelise(plate.vertices, plate.faces, object_cube(np.array([[0, 0, 0], [1, 1, 1]])), 32).volume.any()
