"""The real archive's layout: a small one is written here to the published form, with its quirks, and read back."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p2vlib import shapenet
from p2vlib.cameras import look_at, read_metadata, write_metadata
from p2vlib.capture import photos
from p2vlib.capture.objects import make_object
from p2vlib.conventions import object_cube
from p2vlib.grids import VoxelGrid, voxelise, write_binvox

CHAIR, VIEWS = "03001627", 4


def write_object(root: Path, name: str, grid: int = 32, views: int = VIEWS) -> None:
    """Renders a chair as R2N2 did and files it as its archive does."""
    mesh = make_object(CHAIR, seed=1, index=3)
    rows = [(90.0 * view + 17, 25 + view, 0.0, 0.7 + 0.05 * view, 25.0) for view in range(views)]
    cameras = [shapenet.r2n2_camera(row, 1.0, np.zeros(3), 137, 137) for row in rows]
    rendering = root / shapenet.RENDERINGS / CHAIR / name / "rendering"
    rendering.mkdir(parents=True)
    for number, picture in enumerate(photos.studio_photos(mesh, cameras, 4)):
        Image.fromarray(picture).save(rendering / f"{number:02d}.png")
    (rendering / "renderings.txt").write_text("".join(f"{number:02d}.png\n" for number in range(views)))
    write_metadata(rendering / "rendering_metadata.txt", rows)
    voxels = root / shapenet.VOXELS / CHAIR / name / "model.binvox"
    voxels.parent.mkdir(parents=True)
    truth = voxelise(mesh.vertices, mesh.faces, object_cube(mesh.bounds), grid)
    # As in the archive, the header's translate is not where the grid stands.
    write_binvox(voxels, VoxelGrid(truth.volume, replace(truth.cube, lower=(0.3, 0.1, -0.2))))


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("shapenet")
    write_object(root, "a1", grid=64)
    return root


def silhouette_iou(capture, cameras) -> float:
    """IoU of the pictures' alpha with the grid's own silhouette: every voxel as a small cube of points, projected."""
    volume, cube = capture.truth.volume, capture.truth.cube
    fine = np.stack(np.meshgrid(*[(np.arange(3) - 1) / 3] * 3, indexing="ij"), -1).reshape(-1, 3)
    cells = (np.argwhere(volume)[:, None] + 0.5 + fine).reshape(-1, 3) / len(volume)
    points = np.asarray(cube.lower) + cube.edge * cells
    scores = []
    for content, camera in zip(capture.photos, cameras, strict=True):
        seen = np.asarray(Image.open(io.BytesIO(content)))[..., 3] > 127
        column, row, _ = np.floor(camera.project(points)).astype(int).T
        inside = (column >= 0) & (column < 137) & (row >= 0) & (row < 137)
        drawn = np.zeros_like(seen)
        drawn[row[inside], column[inside]] = True
        scores.append((seen & drawn).sum() / (seen | drawn).sum())
    return float(np.mean(scores))


def test_the_grid_lies_where_the_pictures_show_it(archive):
    capture = shapenet.read_object(archive, CHAIR, "a1", VIEWS, grid=64)
    assert silhouette_iou(capture, capture.cameras) >= 0.93
    rows = read_metadata(capture.folder / "rendering" / "rendering_metadata.txt", VIEWS)
    literal = [look_at(row, np.zeros(3), 137, 137) for row in rows]
    assert silhouette_iou(capture, literal) < 0.7, "column 5 is not the field of view, nor column 4 the distance"


def test_an_object_that_is_not_as_published_is_named(archive, tmp_path):
    with pytest.raises(ValueError, match=r"model.binvox: a grid of 64\^3; expected 32\^3"):
        shapenet.read_object(archive, CHAIR, "a1", VIEWS)
    with pytest.raises(ValueError, match="rendering_metadata.txt: 4 rows for 24 photos"):
        shapenet.read_object(archive, CHAIR, "a1", grid=64)
    write_object(tmp_path, "b2")
    picture = tmp_path / shapenet.RENDERINGS / CHAIR / "b2" / "rendering" / "02.png"
    picture.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=f"{re.escape(str(picture))}: not a readable picture"):
        shapenet.read_object(tmp_path, CHAIR, "b2", VIEWS)


def entry(synset: str, **members: list[str]) -> dict:
    return {"taxonomy_id": synset, "taxonomy_name": f"n{synset}", "train": [], "val": [], "test": [], **members}


def test_leaks_between_splits_are_reported_and_can_be_dropped(tmp_path):
    path = tmp_path / "ShapeNet.json"
    content = [entry("1", train=["a", "b"], test=["c"]), entry("2", train=["d"], val=["e"], test=["b", "f"])]
    path.write_text(json.dumps(content))
    categories = shapenet.read_taxonomy(path)
    assert shapenet.cross_listed(categories) == {"b": ["1 train", "2 test"]}
    clean = shapenet.without_leaks(categories)
    assert [c.test for c in clean] == [("c",), ("f",)] and shapenet.cross_listed(clean) == {}


def test_what_the_taxonomy_promises_and_the_archive_lacks_is_counted(archive):
    category = shapenet.Category(CHAIR, "chair", ("a1", "gone"), (), ("a1",))
    assert shapenet.missing(archive, [category]) == [f"{CHAIR}/gone"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("not json", "not JSON"),
        ("{}", "no list of categories"),
        (json.dumps([{"taxonomy_id": "1"}]), "category 0 has no taxonomy_name"),
        (json.dumps([entry("1", train=["../../etc"])]), "'../../etc' is no id"),
    ],
)
def test_a_broken_taxonomy_names_itself(tmp_path, content, sentence):
    path = tmp_path / "taxonomy.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: .*{re.escape(sentence)}"):
        shapenet.read_taxonomy(path)
    with pytest.raises(FileNotFoundError, match="expected the taxonomy"):
        shapenet.read_taxonomy(tmp_path / "gone.json")


def test_the_embedded_objects_have_the_same_layout(archive):
    """The cube that `object_cube` gives a normalised object is the one that the reader puts its grid in."""
    capture = shapenet.read_object(archive, CHAIR, "a1", VIEWS, grid=64)
    mesh = make_object(CHAIR, seed=1, index=3)
    own = object_cube(mesh.bounds)
    assert np.allclose(capture.truth.cube.lower, own.lower) and capture.truth.cube.edge == pytest.approx(own.edge)
