"""The real archive's layout: a small one is written here to the published form, with its quirks, and read back."""

from __future__ import annotations

import functools
import io
import json
import re
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from p2vlib import training
from p2vlib.config import Training
from p2vlib.data import dataset
from p2vlib.data.augmentation import crop_boxes
from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import object_cube
from p2vlib.geometry.grids import VoxelGrid, voxelise
from p2vlib.geometry.projection import project_points, voxel_centres
from p2vlib.models import build
from p2vtools import cli
from p2vtools.archives import shapenet, shards
from p2vtools.archives.binvox import write_binvox
from p2vtools.archives.camera_files import read_metadata, write_metadata
from p2vtools.archives.loading import read_archive
from p2vtools.archives.photo_files import encode_photo
from p2vtools.study import experiments
from p2vtools.synthesis.objects import make_object
from p2vtools.synthesis.photos import rendering as photos

CHAIR, VIEWS = "03001627", shapenet.VIEWS
ROWS = [(137.0 * view % 360 + 17, 25 + view / 4, 0.0, 0.7 + 0.01 * view, 25.0) for view in range(VIEWS)]
"""From all sides in no order, as in R2N2."""


@functools.cache
def chair() -> tuple[trimesh.Trimesh, list[bytes]]:
    """A chair, and its photos as R2N2 rendered them, as PNG."""
    mesh = make_object(CHAIR, seed=1, index=3)
    cameras = [shapenet.r2n2_camera(row, 1.0, np.zeros(3), 137, 137) for row in ROWS]
    return mesh, [encode_photo(picture, "PNG") for picture in photos.render_studio_photos(mesh, cameras, 4)]


@functools.cache
def solid(size: int) -> VoxelGrid:
    mesh, _ = chair()
    truth = voxelise(mesh.vertices, mesh.faces, object_cube(mesh.bounds), size)
    # As in the archive, the header's translate is not where the grid stands.
    return VoxelGrid(truth.volume, replace(truth.cube, lower=(0.3, 0.1, -0.2)))


def write_object(root: Path, name: str, grid: int = 32, views: int = VIEWS) -> Path:
    """Files the chair as the archive of R2N2 does; returns the folder of its photos."""
    rendering = root / shapenet.RENDERINGS / CHAIR / name / "rendering"
    rendering.mkdir(parents=True)
    for number, content in enumerate(chair()[1][:views]):
        (rendering / f"{number:02d}.png").write_bytes(content)
    (rendering / "renderings.txt").write_text("".join(f"{number:02d}.png\n" for number in range(views)))
    write_metadata(rendering / "rendering_metadata.txt", ROWS[:views])
    voxels = root / shapenet.VOXELS / CHAIR / name / "model.binvox"
    voxels.parent.mkdir(parents=True)
    write_binvox(voxels, solid(grid))
    return rendering


def entry(synset: str, **members: list[str]) -> dict:
    return {"taxonomy_id": synset, "taxonomy_name": f"n{synset}", "train": [], "val": [], "test": [], **members}


def write_archive(root: Path, **members: list[str]) -> dict[str, Path]:
    """An archive of the category of chairs with these members; returns the folders of their photos."""
    folders = {name: write_object(root, name) for name in sorted({*sum(members.values(), [])} - {"gone"})}
    (root / shapenet.TAXONOMY).write_text(json.dumps([entry(CHAIR, **members)]))
    return folders


def outlines(capture, cameras) -> float:
    """The mean over every third photo of the IoU of the object and the outline of its grid, 27 points of each voxel."""
    cube, scores = capture.truth.cube, []
    fine = np.argwhere(capture.truth.volume.repeat(3, 0).repeat(3, 1).repeat(3, 2))
    points = np.asarray(cube.lower) + cube.edge * (fine + 0.5) / (3 * capture.truth.size)
    for content, camera in zip(capture.files[::3], cameras[::3], strict=True):
        seen = np.asarray(Image.open(io.BytesIO(content)))[..., 3] > 127
        column, row, _ = np.floor(camera.project(points)).astype(int).T
        inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        drawn = np.zeros_like(seen)
        drawn[row[inside], column[inside]] = True
        scores.append((seen & drawn).sum() / (seen | drawn).sum())
    return np.mean(scores)


def test_the_grid_projects_onto_the_silhouettes(tmp_path):
    """It stands in the cube that `object_cube` gives a normalised object."""
    write_object(tmp_path, "a1", grid=64)
    capture = shapenet.read_object(tmp_path, CHAIR, "a1", size=64)
    assert outlines(capture, capture.cameras) >= 0.93
    rows = read_metadata(capture.folder / "rendering" / "rendering_metadata.txt", VIEWS)
    files = capture.subject["files"]
    literal = [look_at(rows[files.index(place)], np.zeros(3), 137, 137) for place in range(VIEWS)]
    assert outlines(capture, literal) < 0.7, "column 5 is not the field of view, nor column 4 the distance"
    own = object_cube(chair()[0].bounds)
    assert np.allclose(capture.truth.cube.lower, own.lower) and capture.truth.cube.edge == pytest.approx(own.edge)
    with pytest.raises(ValueError, match=r"model.binvox: a grid of 64\^3; expected 32\^3"):
        shapenet.read_object(tmp_path, CHAIR, "a1")


def test_leaks_between_splits_are_reported_and_can_be_dropped(tmp_path):
    path = tmp_path / "ShapeNet.json"
    content = [entry("1", train=["a", "b"], test=["c"]), entry("2", train=["d"], val=["e"], test=["b", "f"])]
    path.write_text(json.dumps(content))
    taxonomy = shapenet.read_taxonomy(path)
    assert shapenet.cross_listed(taxonomy).to_dict("records") == [{"object": "b", "places": "1 train, 2 test"}]
    clean = shapenet.without_leaks(taxonomy)
    assert clean.object.tolist() == ["a", "b", "c", "d", "e", "f"] and shapenet.cross_listed(clean).empty


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "not JSON"),
        ("{}", "JSON with a dict instead of a list; expected a list of categories"),
        (json.dumps([{"taxonomy_id": "1"}]), "category 0 has no taxonomy_name"),
        (json.dumps([entry("1", train=["../../etc"])]), "'../../etc' is not an id"),
    ],
)
def test_an_invalid_taxonomy_is_refused_with_its_path(tmp_path, content, message):
    path = tmp_path / "taxonomy.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: .*{re.escape(message)}"):
        shapenet.read_taxonomy(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An archive of one category with an object in each split."""
    root = tmp_path_factory.mktemp("whole")
    write_archive(root, train=["a1"], val=["b2"], test=["c3", "a1"])
    return root


def test_the_photos_are_memory_mapped(whole):
    captures, skipped = shapenet.load(whole, 96)
    assert captures.table["sample"].tolist() == [f"{CHAIR}-{name}" for name in ("a1", "b2", "c3", "a1")]
    assert captures.table.split.tolist() == ["train", "validation", "test", "test"] and skipped.empty
    assert captures.photos.shape == (4, VIEWS, 4, 137, 137) and captures.truth.shape == (4, 32, 32, 32)
    test = captures.select(split="test")
    assert test.photos.data_ptr() == captures.photos[2:].data_ptr(), "a split is looked at in place"
    one = shapenet.read_object(whole, CHAIR, "c3")
    assert np.array_equal(test.truth[0], one.truth.volume)
    first = np.asarray(Image.open(io.BytesIO(one.files[0])))
    assert np.array_equal(test.photos[0, 0].permute(1, 2, 0), first)
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    modes = {line.split()[1] for line in lines if "/decoded/" in line}
    assert modes == {"r--s"}, "a writable map of 79 GB would be reserved as a whole"
    zero = np.asarray(Image.open(one.folder / "rendering" / "00.png"))
    assert np.array_equal(test.photos[0, test.file_order[0, 0]].permute(1, 2, 0), zero)
    assert test.boxes[0, 0].tolist() == pytest.approx(one.cameras[0].crop_box(one.truth.cube), abs=1e-3)


def test_leaks_can_be_dropped_and_objects_limited(whole):
    clean, _ = shapenet.load(whole, 96, drop_leaks=True)
    assert clean.table[clean.table.split == "test"].subject.tolist() == ["c3"]
    fewer, _ = shapenet.load(whole, 96, limit=1)
    assert fewer.table.subject.tolist() == ["a1", "b2", "c3"]


def test_photos_are_sorted_clockwise(whole):
    capture = shapenet.read_object(whole, CHAIR, "c3")
    rows = read_metadata(capture.folder / "rendering" / "rendering_metadata.txt", VIEWS)
    azimuths = [row[0] for row in rows]
    assert azimuths != sorted(azimuths)
    files = capture.subject["files"]
    turned = np.diff([azimuths[files.index(place)] for place in range(VIEWS)]) % 360
    assert (turned > 0).all() and turned.sum() < 360
    nearest = np.abs((np.array(azimuths) + 180) % 360 - 180).argmin()
    assert files[nearest] == 0, "the one nearest the front comes first"


def test_the_archive_is_decoded_once_and_its_digest_depends_on_the_crop(whole, monkeypatch):
    box, _ = shapenet.load(whole, 96)
    monkeypatch.setattr(shapenet, "read_object", None)
    middle, _ = shapenet.load(whole, 96, as_published=True)
    assert (middle.boxes == torch.tensor(dataset.R2N2_CENTRE_CROP)).all() and middle.as_published
    assert box.digest() != middle.digest() and box.digest() == shapenet.load(whole, 96)[0].digest()


def test_the_cameras_match_the_cropped_photos(whole):
    """The solid, projected by the packed cameras, is covered by the object in the cut photo."""
    for as_published in (False, True):
        captures, _ = shapenet.load(whole, 96, as_published=as_published)
        inside = voxel_centres(32)[captures.truth[0].flatten()]
        place = project_points(captures.cameras[:1], inside).uv[0]
        whole_alpha = captures.photos[:1, :, 3:].float() / 255
        alpha = crop_boxes(whole_alpha, captures.boxes[:1], 96)[0, :, 0]
        pixels = ((place + 1) / 2 * 96).long().clamp(0, 95)
        for view, where in enumerate(pixels):
            assert (alpha[view, where[:, 1], where[:, 0]] > 0.2).float().mean() > 0.9


def test_invalid_objects_stop_or_are_skipped_and_listed(tmp_path):
    folders = write_archive(tmp_path, train=["a1", "gone"], val=["b2"], test=["c3"])
    picture = folders["b2"] / "01.png"
    picture.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"gone.*missing, although the taxonomy lists 03001627/gone"):
        shapenet.load(tmp_path, 96)
    assert not [path for path in (tmp_path / "decoded").iterdir() if path.is_dir()], "nothing half-decoded is left"
    captures, _ = shapenet.load(tmp_path, 96, on_error="skip")
    assert captures.table.subject.tolist() == ["a1", "c3"]
    with pytest.raises(ValueError, match="gone"):
        shapenet.load(tmp_path, 96)
    captures, skipped = shapenet.load(tmp_path, 96, on_error="skip")
    assert skipped.object.tolist() == [f"{CHAIR}/gone", f"{CHAIR}/b2"]
    assert f"{picture}: not a readable image" in skipped.reason[1]
    shutil.copy(picture.with_name("02.png"), picture)
    captures, skipped = shapenet.load(tmp_path, 96, on_error="skip")
    assert skipped.object.tolist() == [f"{CHAIR}/gone"], "what was mended meanwhile is read again"


@pytest.mark.parametrize(
    ("rows", "picture", "message"),
    [
        (ROWS[:23], None, "rendering_metadata.txt: 23 rows for 24 photos"),
        ([(17.0, 25.0, 0.0, 0.1, 25.0), *ROWS[1:]], None, "cannot be read (the camera is inside the cube"),
        (ROWS, Image.new("L", (20000, 10000)), "05.png: "),
        (ROWS, Image.new("RGB", (137, 137)), "a photo of 137 x 137 pixels, RGB; expected 137 square, RGBA"),
    ],
    ids="row camera bomb opaque".split(),
)
def test_an_invalid_object_is_reported_with_its_file(tmp_path, rows, picture, message):
    rendering = write_archive(tmp_path, train=["a1", "b2"])["b2"]
    write_metadata(rendering / "rendering_metadata.txt", rows)
    if picture:
        picture.save(rendering / "05.png")
    _, skipped = shapenet.load(tmp_path, 96, on_error="skip")
    assert skipped.object.tolist() == [f"{CHAIR}/b2"] and message in skipped.reason[0]
    assert str(rendering.parent) in skipped.reason[0]


def test_things3d_has_the_same_layout_with_fewer_photos(tmp_path):
    write_object(tmp_path, "a1", views=shapenet.THINGS3D_VIEWS)
    (tmp_path / shapenet.TAXONOMY).write_text(json.dumps([entry(CHAIR, train=["a1"])]))
    captures = read_archive("things3d", str(tmp_path), 96).captures
    assert captures.photos.shape[1] == 6 and captures.table.dataset.tolist() == ["things3d"]
    assert len(experiments.training_captures(captures, "things3d", "train")) == 1


def test_a_missing_archive_is_an_error_that_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no ShapeNet.json; get it with `p2v fetch shapenet"):
        shapenet.load(tmp_path, 96)
    with pytest.raises(FileNotFoundError, match=r"no ShapeNet.json; put ShapeNet.json, ShapeNetRendering"):
        shapenet.load(tmp_path, 96, dataset="things3d")


def test_shards_and_decoded_photos_give_the_same_batches(whole, tmp_path, monkeypatch, capsys):
    root = shutil.copytree(whole, tmp_path / "archive")
    decoded, _ = shapenet.load(root, 32)
    monkeypatch.setattr(shards, "SHARD_BYTES", 100_000)
    assert cli.main(["data", "shard", "--root", str(root)]) == 0
    store = Path(capsys.readouterr().out.splitlines()[-1])
    tars = sorted(store.glob("*.tar"))
    packed = [(member, tar.extractfile(member).read()) for tar in map(tarfile.open, tars) for member in tar]
    assert len(tars) > 1 and len(packed) == 4 * VIEWS and packed[0][0].name == f"000000-{CHAIR}-a1.00.png"
    assert packed[VIEWS][1] == shapenet.read_object(root, CHAIR, "b2").files[0], "as published"

    sharded, _ = shapenet.load(root, 32)
    assert sharded.digest() == decoded.digest() and isinstance(sharded.photos, shards.ShardedPhotos)
    assert sharded.to("meta").photos is sharded.photos, "photos of an archive are not moved to a GPU"
    recipe = Training(steps=4, batch=4, views=2, steps_per_epoch=4)
    losses = []
    for number, captures in enumerate((decoded, sharded)):
        torch.manual_seed(0)
        small = dict(image_size=32, trunk=(4, 4, 8, 8), head=((8, 1, 1),), decoder=(16, 8, 8, 4))
        model = build("pix2vox-f-narrow", **small)
        train, validation = captures.select(split="test"), captures.select(split="validation")
        history = training.train(model, train, validation, recipe, tmp_path / str(number), device="cpu")
        losses.append(history[["loss", "validation_iou"]].to_numpy())
    assert np.array_equal(*losses)

    tars[-1].write_bytes(tars[-1].read_bytes()[:5000])
    repaired, _ = shapenet.load(root, 32)
    assert "00001.tar: 5000 bytes; expected at least" in " ".join(capsys.readouterr().out.split())
    assert torch.equal(repaired.photos[torch.arange(4)[:, None], torch.arange(VIEWS)], decoded.photos)
