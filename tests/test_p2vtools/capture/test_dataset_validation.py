"""A data set looked at: what is whole passes, and every single fault put into it is found and said."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p2vlib.geometry.cameras import look_at, read_cameras, write_cameras
from p2vlib.geometry.frames import FOOT_SYNSET, foot_cube
from p2vlib.geometry.grids import VoxelGrid, read_binvox, voxelise, write_binvox
from p2vtools.__main__ import main
from p2vtools.capture import capture_checks
from p2vtools.capture.dataset_validation import validate_dataset
from p2vtools.capture.submission import Submission, submit_capture
from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.population import sample_population

RENDERED, VOXELS = Path("ShapeNetRendering") / FOOT_SYNSET, Path("ShapeNetVox32") / FOOT_SYNSET
LEFT, RIGHT, OTHER = "p1-left", "p1-right", "p2-left"
VIEWS = 4


def noise(seed: int, size: int = 160) -> Image.Image:
    """A picture like no other."""
    cells = np.random.default_rng(seed).integers(20, 235, (10, 10, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC)


def capture_of(folder: Path, foot: SyntheticFoot, seed: int) -> Path:
    """A capture folder with the foot's own solid and cameras; its pictures show nothing, which no check here sees."""
    (folder / "rendering").mkdir(parents=True)
    rows = ""
    for number in range(VIEWS):
        noise(seed + number).save(folder / "rendering" / f"{number:02d}.jpg")
        rows += f"{360 / VIEWS * number:.1f} 40 0 0.5 50\n"
    (folder / "rendering" / "rendering_metadata.txt").write_text(rows)
    (folder / "subject.json").write_text(json.dumps({"side": foot.side}))
    foot.solid.export(folder / "model.obj")
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Three captures of two people."""
    work = tmp_path_factory.mktemp("filing")
    one, two = (make_feet(person) for person in sample_population(4714, 2))
    for name, foot, seed in ((LEFT, one["left"], 0), (RIGHT, one["right"], 10), (OTHER, two["left"], 20)):
        capture = capture_of(work / name, foot, seed)
        submit_capture(capture, Submission(work / "tree", name.partition("-")[0], foot.side, "yes"))
    return work / "tree"


@pytest.fixture
def copy(tree, tmp_path) -> Path:
    return Path(shutil.copytree(tree, tmp_path / "tree"))


def test_a_whole_tree_is_good(tree, capsys):
    assert main(["validate", str(tree)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == "capture subject side photos cameras model licence consent verdict".split()
    assert [line.split()[0] for line in lines[1:]] == [LEFT, RIGHT, OTHER]
    assert lines[1].split()[1:7] == ["p1", "left", "4", "in", "full", "32^3"] and lines[1].endswith("good")
    assert "CC-BY-4.0" in lines[1] and "yes, 20" in lines[1] and len(lines) == 4


def test_a_folder_of_captures_and_a_single_one_are_looked_at_as_well(tree, weights):
    assert not validate_dataset(tree / RENDERED, weights).problems
    found = validate_dataset(tree / RENDERED / OTHER, weights)
    assert found.table.capture.tolist() == [OTHER] and not found.problems


# ------------------------------------------------------------------------------------------------ one fault at a time


def described(**changes: object) -> Callable[[Path], None]:
    """Changes what ``subject.json`` tells; None removes it."""

    def put(tree: Path) -> None:
        file = tree / RENDERED / LEFT / "subject.json"
        told = json.loads(file.read_text()) | changes
        file.write_text(json.dumps({name: value for name, value in told.items() if value is not None}))

    return put


def written(name: str, content: str | bytes) -> Callable[[Path], None]:
    def put(tree: Path) -> None:
        (tree / RENDERED / LEFT / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return put


def removed(name: str) -> Callable[[Path], None]:
    return lambda tree: (tree / RENDERED / LEFT / name).unlink()


def with_exif(tree: Path) -> None:
    photo = tree / RENDERED / LEFT / "rendering" / "01.jpg"
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    Image.open(photo).save(photo, exif=exif, comment=b"at home")


def with_more_after_its_end(tree: Path) -> None:
    photo = tree / RENDERED / LEFT / "rendering" / "01.jpg"
    photo.write_bytes(photo.read_bytes() + b"a film of the same moment")


def cut_off(tree: Path) -> None:
    photo = tree / RENDERED / LEFT / "rendering" / "01.jpg"
    photo.write_bytes(photo.read_bytes()[:900])


def wide(tree: Path) -> None:
    noise(99).resize((160, 120)).save(tree / RENDERED / LEFT / "rendering" / "01.jpg")


def looking_away(tree: Path) -> None:
    file = tree / RENDERED / LEFT / "cameras.json"
    cameras = read_cameras(file)
    write_cameras(file, [*cameras[:3], look_at((270, 40, 0, 0.5, 50), np.array([0.25, 0, 0.1]), 160, 160)])


def one_camera_less(tree: Path) -> None:
    file = tree / RENDERED / LEFT / "cameras.json"
    write_cameras(file, read_cameras(file)[:3])


def solid(change: Callable[[np.ndarray], np.ndarray], beside: bool = True) -> Callable[[Path], None]:
    """Changes the grid, in the capture and, unless told otherwise, beside it."""

    def put(tree: Path) -> None:
        for place in (RENDERED, VOXELS) if beside else (VOXELS,):
            file = tree / place / LEFT / "model.binvox"
            grid = read_binvox(file)
            write_binvox(file, VoxelGrid(np.ascontiguousarray(change(grid.volume)), grid.cube))

    return put


def hollow(volume: np.ndarray) -> np.ndarray:
    inner = np.all([np.roll(volume, shift, axis) for axis in range(3) for shift in (-1, 1)], axis=0)
    return volume & ~inner


def in_two(volume: np.ndarray) -> np.ndarray:
    parted = volume.copy()
    parted[14:16] = False
    return parted


def retaxed(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def put(tree: Path) -> None:
        (feet,) = json.loads((tree / "taxonomy.json").read_text())
        change(feet)
        (tree / "taxonomy.json").write_text(json.dumps([feet]))

    return put


def unlisted(feet: dict) -> None:
    for split in ("train", "val", "test"):
        feet[split] = [name for name in feet[split] if name != OTHER]


def in_two_splits(feet: dict) -> None:
    unlisted(feet)
    for split in ("train", "val", "test"):
        feet[split] = [name for name in feet[split] if name != RIGHT]
    feet["train"].append(OTHER)
    feet["train" if LEFT in feet["test"] else "test"].append(RIGHT)


FAULTS = {
    "no description": (removed("subject.json"), "subject.json: missing"),
    "no JSON": (written("subject.json", "{"), "subject.json: not JSON"),
    "a large description": (written("subject.json", " " * 2_000_000), "subject.json: 2 MiB; at most 1 are read"),
    "a list": (written("subject.json", "[]"), "expected a JSON object with subject, side, licence, consent"),
    "a name": (described(subject="Anna B."), "subject is 'Anna B.'; expected an id of letters, digits and dashes"),
    "no side": (described(side=None), "side is None; expected left or right"),
    "a folder of another name": (described(side="right"), "told to be a right foot; expected a folder named p1-right"),
    "no licence": (described(licence=None), "no licence; nobody may use this capture"),
    "no consent": (described(consent=None), "no consent; ask the person, or remove the capture"),
    "consent refused": (described(consent={"given": "no"}), "no consent; ask the person"),
    "no cube": (described(cube={"edge": 1}), "its cube is none"),
    "no list": (removed("rendering/renderings.txt"), "renderings.txt: missing"),
    "a list of nothing": (written("rendering/renderings.txt", "\n"), "renderings.txt: names no photo"),
    "a picture that is not there": (removed("rendering/01.jpg"), "01.jpg: missing; renderings.txt names it"),
    "a picture from elsewhere": (
        written("rendering/renderings.txt", "00.jpg\n01.jpg\n02.jpg\n../model.binvox"),
        "model.binvox: missing; renderings.txt names it",
    ),
    "a picture not listed": (written("rendering/extra.jpg", "-"), "extra.jpg not listed in renderings.txt"),
    "a text named .jpg": (written("rendering/01.jpg", "text"), "01.jpg: not a readable image"),
    "a picture cut off": (cut_off, "01.jpg: not a readable image"),
    "EXIF": (with_exif, "01.jpg: tells more than a picture (APP1, COM, comment, exif); file it anew"),
    "a film in a photo": (with_more_after_its_end, "tells more than a picture (more after its end)"),
    "another shape": (wide, "160 x 120 pixels; its camera takes 160 x 160"),
    "a row that is no number": (
        written("rendering/rendering_metadata.txt", "0 40 0 0.5 50\n" * 3 + "270 40 nan 0.5 50\n"),
        "line 4 is [270.0, 40.0, nan, 0.5, 50.0]",
    ),
    "a row less": (written("rendering/rendering_metadata.txt", "0 40 0 0.5 50\n"), "1 rows for 4 photos"),
    "a camera less": (one_camera_less, "3 cameras for 4 photos"),
    "no cameras": (written("cameras.json", "{}"), "cameras.json: not a camera file"),
    "a camera that looks away": (looking_away, "of the place where the foot stands; expected 50%"),
    "a broken grid": (written("model.binvox", b"#binvox 1\ndim 32 32 32\n"), "model.binvox"),
    "an empty grid": (solid(np.zeros_like), "empty; expected a solid foot"),
    "another grid beside it": (solid(in_two, beside=False), "another solid than"),
    "a shell": (solid(hollow), "hollow, by"),
    "two pieces": (solid(in_two), "in the largest; expected one"),
    "above the floor": (solid(lambda volume: np.roll(volume, 3, 1)), "its sole is 30 mm above the floor"),
    "toes to -x": (solid(lambda volume: volume[::-1, :, ::-1]), "its leg stands over the toes; expected toes to +x"),
    "toes to +z": (solid(lambda volume: volume.transpose(2, 1, 0)), "mm broad; expected 40 to 160"),
    "the other foot": (
        solid(lambda volume: volume[:, :, ::-1]),
        "told to be a left foot; by its solid it is a right one: was the side swapped?",
    ),
    "not in the taxonomy": (retaxed(unlisted), "taxonomy.json: lacks p2-left"),
    "in the taxonomy alone": (
        retaxed(lambda feet: feet["train"].append("p9-left")),
        "lists p9-left, which is not there",
    ),
    "a person in two splits": (retaxed(in_two_splits), "p1 is in test and train; one person belongs in one split"),
    "no taxonomy": (lambda tree: (tree / "taxonomy.json").unlink(), "taxonomy.json: no such file"),
    "a grid alone": (lambda tree: (tree / VOXELS / "p9-left").mkdir(), "p9-left: a grid without its capture"),
    "left over": (lambda tree: (tree / RENDERED / ".9.partial.p9-left").mkdir(), "left by a run that was stopped"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_said(fault, copy, weights):
    put, sentence = FAULTS[fault]
    put(copy)
    found = validate_dataset(copy, weights)
    told = [problem for problem in found.problems if sentence in problem]
    assert len(told) == 1, found.problems
    assert all("\n" not in problem for problem in found.problems)
    others = found.table[found.table.capture.isin([RIGHT, OTHER])]
    assert (others.verdict == "good").all(), "one capture's fault is not another's"


def test_the_command_tells_every_problem_and_ends_with_one(copy, capsys):
    described(licence=None, consent=None)(copy)
    assert main(["validate", str(copy)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[1].endswith("2 problems") and "no licence" in told[4] and "no consent" in told[5] and len(told) == 6
    assert main(["validate", str(copy / "none")]) == 1
    assert "no such folder; expected a data set of feet" in capsys.readouterr().err


def test_a_foot_from_a_seed_needs_no_consent(copy, weights):
    described(consent=None, recipe={"seed": 1})(copy)
    found = validate_dataset(copy, weights)
    assert not found.problems and found.table.consent[0] == "nobody's foot"


def test_png_texts_are_told():
    from PIL.PngImagePlugin import PngInfo

    info, stream = PngInfo(), io.BytesIO()
    info.add_text("Author", "Anna")
    noise(0).save(stream, "png", pnginfo=info)
    assert capture_checks.extra_content(stream.getvalue()) == ["Author"]


def test_a_real_foot_is_plausible_at_every_size(tree):
    for foot in make_feet(sample_population(4714, 1)[0]).values():
        for size in (32, 64):
            grid = voxelise(foot.solid.vertices, foot.solid.faces, foot_cube(foot.solid.bounds), size)
            assert not capture_checks.solid_problems(grid)
