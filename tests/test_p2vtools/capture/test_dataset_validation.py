"""Validation of a data set: a correct one passes, and every single fault is found and reported once."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_CUT_HEIGHT, FOOT_SYNSET
from p2vlib.geometry.grids import VoxelGrid
from p2vtools.archives.binvox import read_binvox, write_binvox
from p2vtools.archives.camera_files import read_cameras, write_cameras
from p2vtools.capture.dataset_validation import extra_content, validate_dataset
from p2vtools.capture.submission import Submission, submit_capture
from p2vtools.cli import main
from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.population import sample_population

RENDERINGS, VOXELS = Path("ShapeNetRendering") / FOOT_SYNSET, Path("ShapeNetVox32") / FOOT_SYNSET
LEFT, RIGHT, OTHER = "p1-left", "p1-right", "p2-left"
PHOTO = RENDERINGS / LEFT / "rendering" / "01.jpg"
METADATA, LISTING = "rendering/rendering_metadata.txt", "rendering/renderings.txt"
Fault = Callable[[Path], object]


def noise_image(seed: int, width: int = 160, height: int = 160) -> Image.Image:
    cells = np.random.default_rng(seed).integers(20, 235, (10, 10, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


def write_source(folder: Path, foot: SyntheticFoot, seed: int) -> Path:
    """A capture folder with the solid and cameras of a foot; its photos are noise, which no check notices."""
    (folder / "rendering").mkdir(parents=True)
    for number in range(4):
        noise_image(seed + number).save(folder / "rendering" / f"{number:02d}.jpg")
    (folder / METADATA).write_text("".join(f"{azimuth} 40 0 0.5 50\n" for azimuth in (0, 90, 180, 270)))
    (folder / "subject.json").write_text(json.dumps({"side": foot.side, "scale": "noted"}))
    foot.solid.export(folder / "model.obj")
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Three captures of two people, seen with the Finder of macOS."""
    work = tmp_path_factory.mktemp("submissions")
    one, two = (make_feet(person) for person in sample_population(4714, 2))
    for name, foot, seed in ((LEFT, one["left"], 0), (RIGHT, one["right"], 10), (OTHER, two["left"], 20)):
        capture = write_source(work / name, foot, seed)
        submit_capture(capture, Submission(work / "tree", name.partition("-")[0], foot.side, "yes"))
    for folder in (RENDERINGS, VOXELS):
        (work / "tree" / folder / ".DS_Store").touch()
    return work / "tree"


@pytest.fixture
def copy(tree, tmp_path) -> Path:
    return Path(shutil.copytree(tree, tmp_path / "tree"))


def test_correct_tree_passes(tree, weights, capsys):
    assert main(["validate", str(tree)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == "capture subject side photos cameras model licence consent verdict".split()
    assert [line.split()[0] for line in lines[1:]] == [LEFT, RIGHT, OTHER]
    assert lines[1].split()[1:7] == ["p1", "left", "4", "in", "full", "32^3"] and lines[1].endswith("good")
    assert "CC-BY-4.0" in lines[1] and "yes, 20" in lines[1] and len(lines) == 4
    assert not validate_dataset(tree / RENDERINGS, weights).problems, "a folder of capture folders"
    found = validate_dataset(tree / RENDERINGS / OTHER, weights)
    assert found.table.capture.tolist() == [OTHER] and not found.problems


def subject(**changes: object) -> Fault:
    """Changes entries of ``subject.json``; None removes one."""

    def apply(tree: Path) -> None:
        file = tree / RENDERINGS / LEFT / "subject.json"
        content = json.loads(file.read_text()) | changes
        file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))

    return apply


def content(name: str, text: str) -> Fault:
    return lambda tree: (tree / RENDERINGS / LEFT / name).write_text(text)


def removed(name: str) -> Fault:
    return lambda tree: (tree / RENDERINGS / LEFT / name).unlink()


def photo_bytes(change: Callable[[bytes], bytes]) -> Fault:
    return lambda tree: (tree / PHOTO).write_bytes(change((tree / PHOTO).read_bytes()))


def with_exif(tree: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    Image.open(tree / PHOTO).save(tree / PHOTO, exif=exif, comment=b"at home")


def cameras(change: Callable[[list], list]) -> Fault:
    def apply(tree: Path) -> None:
        file = tree / RENDERINGS / LEFT / "cameras.json"
        write_cameras(file, change(read_cameras(file)))

    return apply


AWAY = look_at((270, 40, 0, 0.5, 50), np.array([0.25, 0, 0.1]), 160, 160)


def solid(change: Callable[[np.ndarray], np.ndarray], places: tuple[Path, ...] = (RENDERINGS, VOXELS)) -> Fault:
    """Changes the grid in the capture folder and in the voxel folder."""

    def apply(tree: Path) -> None:
        for place in places:
            file = tree / place / LEFT / "model.binvox"
            grid = read_binvox(file)
            write_binvox(file, VoxelGrid(np.ascontiguousarray(change(grid.volume)), grid.cube))

    return apply


def hollow(volume: np.ndarray) -> np.ndarray:
    inner = np.all([np.roll(volume, shift, axis) for axis in range(3) for shift in (-1, 1)], axis=0)
    return volume & ~inner


def in_two_pieces(volume: np.ndarray) -> np.ndarray:
    parts = volume.copy()
    parts[14:16] = False
    return parts


def taxonomy(change: Callable[[dict], None]) -> Fault:
    def apply(tree: Path) -> None:
        (feet,) = json.loads((tree / "taxonomy.json").read_text())
        change(feet)
        (tree / "taxonomy.json").write_text(json.dumps([feet]))

    return apply


def without(feet: dict, *names: str) -> None:
    for split in ("train", "val", "test"):
        feet[split] = [name for name in feet[split] if name not in names]


def in_two_splits(feet: dict) -> None:
    without(feet, OTHER, RIGHT)
    feet["train"].append(OTHER)
    feet["train" if LEFT in feet["test"] else "test"].append(RIGHT)


FAULTS = {
    "no subject.json": (removed("subject.json"), "subject.json: no such file"),
    "not JSON": (content("subject.json", "{"), "subject.json: not JSON"),
    "a list": (content("subject.json", "[]"), "expected a JSON object with subject, side, licence, consent"),
    "a name": (subject(subject="Anna B."), "subject is 'Anna B.'; expected an id of letters, digits and dashes"),
    "no side": (subject(side=None), "side is None; expected left or right"),
    "other folder name": (subject(side="right"), "labelled as a right foot; expected a folder named p1-right"),
    "consent refused": (subject(consent={"given": "no"}), "no consent; ask the person"),
    "invalid cube": (subject(cube={"edge": 1}), "invalid cube"),
    "no list": (removed(LISTING), "renderings.txt: no such file"),
    "empty list": (content(LISTING, "\n"), "renderings.txt: empty"),
    "missing photo": (removed("rendering/01.jpg"), "01.jpg: missing; renderings.txt lists it"),
    "photo outside": (
        content(LISTING, "00.jpg\n01.jpg\n02.jpg\n../model.binvox"),
        "model.binvox: missing; renderings.txt",
    ),
    "unlisted photo": (content("rendering/extra.jpg", "-"), "extra.jpg not listed in renderings.txt"),
    "truncated photo": (photo_bytes(lambda data: data[:900]), "01.jpg: cannot be read (image file is truncated"),
    "EXIF": (with_exif, "01.jpg: contains more than pixels (APP1, COM, comment, exif); save it without"),
    "video in a photo": (photo_bytes(lambda data: data + b"video"), "contains more than pixels (bytes after its end)"),
    "other shape": (lambda tree: noise_image(9, 160, 120).save(tree / PHOTO), "160 x 120 pixels; its camera has 160 x"),
    "one row": (content(METADATA, "0 40 0 0.5 50\n"), "1 rows for 4 photos"),
    "a camera less": (cameras(lambda found: found[:3]), "3 cameras for 4 photos"),
    "no cameras": (content("cameras.json", "{}"), "cameras.json: cannot be read (no 'frames')"),
    "camera looks away": (cameras(lambda found: [*found[:3], AWAY]), "of the foot; expected at least 50%"),
    "broken grid": (content("model.binvox", "#binvox 1\ndim 32 32 32\n"), "model.binvox"),
    "empty grid": (solid(np.zeros_like), "empty; expected a solid foot"),
    "two different grids": (solid(in_two_pieces, (VOXELS,)), "model.binvox: differs from"),
    "shell": (solid(hollow), "hollow, by"),
    "two pieces": (solid(in_two_pieces), "in the largest; expected one"),
    "above the floor": (solid(lambda volume: np.roll(volume, 3, 1)), "its sole is 30 mm above the floor"),
    "toes to -x": (solid(lambda volume: volume[::-1, :, ::-1]), "its leg stands over the toes; expected toes to +x"),
    "toes to +z": (solid(lambda volume: volume.transpose(2, 1, 0)), "mm broad; expected 40 to 160"),
    "other side": (solid(lambda volume: volume[:, :, ::-1]), "labelled as a left foot; its solid is a right one: was"),
    "not in the taxonomy": (taxonomy(lambda feet: without(feet, OTHER)), "taxonomy.json: lacks p2-left"),
    "taxonomy only": (taxonomy(lambda feet: feet["train"].append("p9-left")), "lists p9-left, which does not exist"),
    "person in two splits": (taxonomy(in_two_splits), "p1 is in test and train; one person belongs in one split"),
    "no taxonomy": (lambda tree: (tree / "taxonomy.json").unlink(), "taxonomy.json: no such file"),
    "grid without capture": (lambda tree: (tree / VOXELS / "p9-left").mkdir(), "p9-left: a grid without its capture"),
    "interrupted run": (lambda tree: (tree / RENDERINGS / ".9.partial.p9-left").mkdir(), "left by an interrupted run"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_reported_once(fault, copy, weights):
    apply, message = FAULTS[fault]
    apply(copy)
    found = validate_dataset(copy, weights)
    assert sum(message in problem for problem in found.problems) == 1, found.problems
    assert all("\n" not in problem for problem in found.problems)
    others = found.table[found.table.capture.isin([RIGHT, OTHER])]
    assert (others.verdict == "good").all(), "a fault concerns one capture"


def test_command_prints_every_problem_and_fails(copy, capsys):
    subject(licence=None, consent=None)(copy)
    assert main(["validate", str(copy)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("2 problems") and "no licence" in lines[4] and "no consent" in lines[5] and len(lines) == 6
    assert main(["validate", str(copy / "none")]) == 1
    assert "no such folder; expected a data set of feet" in capsys.readouterr().err


def test_synthetic_foot_needs_no_consent(copy, weights):
    subject(consent=None, recipe={"seed": 1})(copy)
    found = validate_dataset(copy, weights)
    assert not found.problems and found.table.consent[0] == "synthetic"


@pytest.mark.parametrize("solid_file", ["model.binvox", None])
def test_close_photo_shows_the_foot_though_not_its_cube(copy, weights, solid_file):
    close = look_at((90, 60, 0, 0.26, 60), np.array([0.0, 0.04, 0.0]), 160, 160)
    left, top, right, bottom = close.crop_box(FOOT_CUBE, FOOT_CUT_HEIGHT)
    assert 0.5 * (right - left) * (bottom - top) > 160**2
    cameras(lambda found: [*found[:3], close])(copy)
    if solid_file is None:
        for place in (RENDERINGS, VOXELS):
            (copy / place / LEFT / "model.binvox").unlink()
    problems = validate_dataset(copy, weights).problems
    assert not [problem for problem in problems if "its camera shows" in problem]


def test_text_in_a_png_is_extra_content():
    info, stream = PngInfo(), io.BytesIO()
    info.add_text("Author", "Anna")
    noise_image(0).save(stream, "png", pnginfo=info)
    assert extra_content(stream.getvalue()) == ["Author"]
