"""Every reader either reads a damaged file or raises a FileError of one line that names it; none hangs or crashes.

`tests.chaos` tries many more damages.
"""

import json
import os
import pickle
import random
import re
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import trimesh
from PIL import Image

from p2vlib.files import FileError, reading
from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import FOOT_CUBE
from p2vlib.geometry.grids import VoxelGrid
from p2vlib.training import checkpoints
from p2vtools.archives import pix3d
from p2vtools.archives.binvox import read_binvox, write_binvox
from p2vtools.archives.capture_folder import write_capture
from p2vtools.archives.photo_files import read_photo
from p2vtools.archives.published import load_published
from p2vtools.archives.shapenet import read_taxonomy
from p2vtools.capture import mat_capture, scan_files
from p2vtools.capture.app_exports import read_export
from p2vtools.capture.app_formats import colmap
from p2vtools.fit import records
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.fit.pretrained import load_pretrained, pretrained_path
from p2vtools.synthesis.mat import get_mat
from tests import export_writers
from tests.furniture import write_archive

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "5"))
SECONDS = 10
TOKENS = [b"NaN", b"-1", b"0", b"1e308", b"-1e999", b"9" * 400, b"null", b"[]", b'"x"', b"[" * 2000, b"true"]
WORDS = [b"\xff\xff\xff\x7f", b"\0" * 8, b"\xff" * 8, b"\0\0\xf8\x7f", b"\x80", b"\n", b"\0", b"x" * 300]


class Sample(NamedTuple):
    """A file to damage, and how it is read."""

    path: Path
    read: Callable[[], object]
    head: int = 2**30
    """Only so many bytes at the beginning are damaged."""


class TooSlowError(BaseException):
    """Processor time is used up; no handler of an exception catches it."""


def write_photos(folder: Path) -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (24, 32, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif.get_ifd(0x8769)[0xA405] = 6, 26
    for name, image in (
        ("photo.jpg", Image.fromarray(picture)),
        ("photo.png", Image.fromarray(picture)),
        ("grey.png", Image.fromarray(picture[..., 0].astype(np.uint16) << 8)),
        ("photo.webp", Image.fromarray(picture)),
    ):
        image.save(folder / name, exif=exif)
        yield Sample(folder / name, lambda path=folder / name: read_photo(path, mat_capture.MAX_PHOTO_SIDE))


def write_captures(folder: Path) -> Iterator[Sample]:
    rows = [(azimuth, 30.0, 0.0, 0.5, 50.0) for azimuth in (0.0, 90.0)]
    content = (folder / "photo.jpg").read_bytes()
    subject = {"side": "left", "foot length, mm": 250, "cube": {"lower": [-0.16, 0, -0.16], "edge": 0.32}}
    for name, cameras in (("exact", [look_at(row, np.zeros(3), 24, 32) for row in rows]), ("noted", [])):
        write_capture(folder / name, {"0.jpg": content, "1.jpg": content}, rows, cameras, subject)
        paths = [folder / name / file for file in ("subject.json", "cameras.json")]
        if name == "noted":
            (folder / name / "cameras.json").unlink()
            paths = [folder / name / "rendering" / f"{file}.txt" for file in ("renderings", "rendering_metadata")]
        for path in paths:
            yield Sample(path, lambda capture=folder / name: read_photo_set(capture))


def write_scans(folder: Path) -> Iterator[Sample]:
    from pxr import Usd, UsdGeom

    ball = trimesh.creation.icosphere(subdivisions=1)
    for name in ("ball.obj", "ball.ply", "ball.stl", "ball.off", "ball.glb"):
        ball.export(folder / name)
    (folder / "text.ply").write_bytes(trimesh.exchange.ply.export_ply(ball, encoding="ascii"))
    for name in ("ball.usda", "ball.usdc"):
        stage = Usd.Stage.CreateNew(str(folder / name))
        mesh = UsdGeom.Mesh.Define(stage, "/Ball")
        mesh.CreatePointsAttr(ball.vertices.tolist())
        mesh.CreateFaceVertexCountsAttr([3] * len(ball.faces))
        mesh.CreateFaceVertexIndicesAttr(ball.faces.ravel().tolist())
        stage.Save()
    write_binvox(folder / "ball.binvox", VoxelGrid(np.pad(np.ones((6, 6, 6), bool), 1), FOOT_CUBE))
    for path in [*folder.glob("ball.*"), folder / "text.ply"]:
        yield Sample(path, lambda path=path: scan_files.read_scan(path))
    yield Sample(folder / "ball.binvox", lambda: read_binvox(folder / "ball.binvox"))


def write_exports(folder: Path) -> Iterator[Sample]:
    world, size = np.eye(4), (export_writers.LONG, export_writers.SHORT)
    cameras = [look_at((azimuth, 40, 0, 0.5, 46), np.zeros(3), *size) for azimuth in (0.0, 120.0, 240.0)]
    pictures = [np.full((*size[::-1], 3), 99, np.uint8)] * 3
    depths, points = np.ones((3, *size[::-1])), np.random.default_rng(0).normal(size=(9, 3))
    for app, more in (
        ("polycam", (trimesh.creation.icosphere(subdivisions=1),)),
        ("record3d", (depths,)),
        ("nerfstudio", (points,)),
        ("scannerapp", (trimesh.creation.icosphere(subdivisions=1),)),
        ("colmap", (points,)),
        ("colmap", (points, True)),
    ):
        (place := folder / f"{app}{len(more)}").mkdir()
        export = getattr(export_writers, app)(place, world, cameras, pictures, *more)
        paths = [export] if export.is_file() else sorted(export.rglob("*.json"))[:1] + [*export.glob("sparse/0/*")]
        for path in paths:
            yield Sample(path, lambda app=app, export=export: read_export(app, export))


def write_networks(folder: Path) -> Iterator[Sample]:
    torch.save({"encoder_state_dict": {"a": torch.zeros(3, 4)}, "epoch_idx": 3}, folder / "published.pth")
    yield Sample(folder / "published.pth", lambda: load_published(folder / "published.pth"))
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    checkpoint, history = folder / "checkpoint.safetensors", pd.DataFrame({"loss": [1.0, 2.0]})
    checkpoints.save(checkpoint, network, {"seed": 0}, history, optimizer, 5)
    yield Sample(checkpoint, lambda: checkpoints.resume(checkpoint, network, optimizer))
    yield Sample(checkpoint, lambda: checkpoints.read_provenance(checkpoint))
    weights = folder / "weights.safetensors"
    weights.write_bytes(pretrained_path().read_bytes())
    yield Sample(weights, lambda: load_pretrained(weights), 30_000)


def write_archives(folder: Path) -> Iterator[Sample]:
    taxonomy = folder / "ShapeNet.json"
    entry = {"taxonomy_id": "03001627", "taxonomy_name": "chair", "train": ["a1"], "val": [], "test": ["b2"]}
    taxonomy.write_text(json.dumps([entry]))
    yield Sample(taxonomy, lambda: read_taxonomy(taxonomy))
    (root := folder / "pix3d").mkdir()
    write_archive(root)
    for path in (root / pix3d.INDEX, next(root.rglob("voxel.mat"))):
        yield Sample(path, lambda: [pix3d.read_picture(root, *item) for item in pix3d.read_index(root).items()])
    foot = folder / "foot.obj"
    foot.write_text("v 0 0 0\n")
    content = {"format": records.FORMAT, "sha256": records._digest(foot), "side": "left", "verdict": "good"}
    content |= {"measures, mm": {"length": 250}, "half widths, mm": {"length": 3}, "reasons": [], "metric": True}
    (folder / "foot.json").write_text(json.dumps(content))
    yield Sample(folder / "foot.json", lambda: records.read_record(foot))
    video = folder / "walk.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 5, (64, 48))
    for shade in (0, 90, 200):
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    arguments = (get_mat("a4"),)
    yield Sample(video, lambda: mat_capture.read_in_process(mat_capture._choose_frames, video, *arguments, expected=""))


WRITERS = (write_photos, write_captures, write_scans, write_exports, write_networks, write_archives)


def limit_memory() -> None:
    """Allows this process a GiB more than it has now; a limit that it has already is kept."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + 2**30
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def read_in_fork(read: Callable, path: Path, *arguments: object, expected: str, seconds: float = 1.0) -> object:
    """As `executor.read_in_process`, but faster, and with a second of processor time: a fork, on Linux only."""
    receive, send = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.close(receive)
            for number in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            signal.setitimer(signal.ITIMER_PROF, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
            limit_memory()
            try:
                with reading(path, expected):
                    answer = read(path, *arguments)
            except FileError as error:
                answer = error
                if isinstance(error.__cause__, MemoryError):  # the limit of this process
                    answer = FileError(path, "needs too much memory", expected)
            with os.fdopen(send, "wb") as stream:
                stream.write(pickle.dumps(answer))
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as stream:
        content = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    answer = pickle.loads(content) if content else FileError(path, f"ended with {status}", expected)
    if isinstance(answer, FileError):
        raise answer
    return answer


LONG_NAMES = (
    18, 132, 212, 355, 397, 545, 585, 816, 858, 1564, 1584, 1764, 2226, 2251, 2395,
    2481, 2557, 2655, 2883, 2922, 3024, 3179, 3255, 3432, 3612, 3839, 4206, 4505,
)  # fmt: skip
FOUND: dict[str, tuple[int, ...]] = {"ball.glb": (26, 54), "pix3d/pix3d.json": LONG_NAMES}
"""File -> seeds of damages that once were neither read nor refused well."""


def damage(content: bytes, seed: int, head: int = 2**30) -> bytes:
    """``content`` with one to three random changes among its first ``head`` bytes."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 3)):
        kind = rng.choice(["number", "number", "write", "write", "insert", "delete", "cut", "repeat"])
        word = rng.choice([rng.choice(TOKENS), rng.choice(WORDS), rng.randbytes(rng.randint(1, 8))])
        start, length = rng.randrange(max(1, min(len(content), head))), rng.randint(1, 64)
        numbers = list(re.finditer(rb"-?\d+\.?\d*(e-?\d+)?", content[:head])) if kind == "number" else []
        if numbers:
            start, stop = rng.choice(numbers).span()
            content = content[:start] + word + content[stop:]
        elif kind == "insert":
            content = content[:start] + word + content[start:]
        elif kind == "delete":
            content = content[:start] + content[start + length :]
        elif kind == "cut":
            content = content[:start]
        elif kind == "repeat":
            content = content[:start] + content[start : start + length] * 9 + content[start:]
        else:
            content = content[:start] + word + content[start + len(word) :]
    return content


def too_slow(*_: object) -> None:
    raise TooSlowError


def outcome(sample: Sample, original: bytes, seed: int, folder: Path) -> str:
    """How a damaged copy of ``original`` is answered: ``read``, ``refused``, or what is wrong with the answer."""
    sample.path.write_bytes(damage(original, seed, sample.head))
    signal.signal(signal.SIGPROF, too_slow)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sample.read()
        return "read"
    except FileError as error:
        line = str(error)
        good = str(folder) in line and line.isprintable() and "MemoryError" not in line
        return "refused" if good else f"refused by {line!r}"
    except TooSlowError:
        return f"not read within {SECONDS} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        sample.path.write_bytes(original)


def replace_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (mat_capture, scan_files, colmap):
        monkeypatch.setattr(module, "read_in_process", read_in_fork)


def samples(write: Callable[[Path], Iterator[Sample]], folder: Path) -> list[Sample]:
    """What ``write`` writes, and the photos that others need."""
    if write is not write_photos:
        list(write_photos(folder))
    return list(write(folder))


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.removeprefix("write_"))
def test_damaged_files_are_read_or_refused(write, tmp_path, monkeypatch):
    replace_processes(monkeypatch)
    for sample in samples(write, tmp_path):
        if sample.path.suffix not in (".mp4", ".pth"):  # a video of a mat and a whole checkpoint would be large
            sample.read()
        original, name = sample.path.read_bytes(), sample.path.relative_to(tmp_path).as_posix()
        for seed in (*range(EXAMPLES), *FOUND.get(name, ())):
            assert outcome(sample, original, seed, tmp_path) in ("read", "refused"), f"{name}, seed {seed}"
