"""Builds the embedded data set: every person and object of a config becomes capture folders, whole or absent.

Feet:    ``data/feet/<scale>/<look>/<sample>/``
Objects: ``data/objects/<scale>/ShapeNetRendering/<synset>/<sample>/`` and ``ShapeNetVox32/<synset>/<sample>/``

A capture folder holds ``rendering/`` (the photos in clockwise order, `renderings.txt`, `rendering_metadata.txt`),
`cameras.json`, `model.obj` (metres), `model.binvox` and `subject.json`. It is filled under another name and renamed
when it is complete, so a run that was killed leaves nothing that a later one would take for good.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import trimesh
from PIL import Image

from p2vlib.config import DATA_RECIPE, Config
from p2vlib.data import packed
from p2vlib.data.capture_folder import write_capture
from p2vlib.files import atomic_directory, file_lock, write_bytes, write_text
from p2vlib.geometry.cameras import Camera, Row
from p2vlib.geometry.frames import FOOT_SYNSET, R2N2_DISTANCE_SCALE, R2N2_FOV, SIDES, Cube, foot_cube, object_cube
from p2vlib.geometry.grids import voxelise
from p2vlib.provenance import data_folder, home
from p2vtools.executor import run_jobs
from p2vtools.synthesis.feet.legs import cache_legs

if TYPE_CHECKING:
    from p2vtools.synthesis.feet.foot import SyntheticFoot

DOMAINS = {"studio": "studio", "phone": "phone", "steady": "phone"}
"""Folder of a foot's captures -> look. ``steady`` is the phone look without the drift of light along the walk."""

MAT_DOMAIN = "mat"
"""Folder and look of a foot that stands on a printed mat, photographed with a phone."""

GRID_SIZE = 32


@dataclass(frozen=True)
class CaptureJob:
    """One person or one object to be captured, in one process."""

    kind: str
    """``foot`` (a person, both sides), ``mat`` (the same, standing on a printed mat) or ``object``."""
    split: str
    seed: int
    index: int
    views: int
    studio_samples: int
    phone_samples: int = 0
    synset: str = FOOT_SYNSET

    @property
    def name(self) -> str:
        """A person's or object's anonymous id, unique over splits."""
        return f"{self.synset if self.kind == 'object' else 'person'}-{self.split}-{self.index:04d}"

    def folders(self, root: Path) -> dict[tuple[str, str], Path]:
        """(side, folder of the look) -> capture folder below the data set's ``root``."""
        if self.kind == "object":
            return {("", "studio"): root / "ShapeNetRendering" / self.synset / self.name}
        looks = (MAT_DOMAIN,) if self.kind == "mat" else DOMAINS if self.split == "test" else ("studio", "phone")
        return {(side, look): root / look / f"{self.name}-{side}" for side in SIDES for look in looks}


def capture_jobs(config: Config) -> Iterator[CaptureJob]:
    """Every person and object of ``config``."""
    from p2vtools.synthesis.objects import FAMILIES

    feet, objects = config.feet, config.objects
    for split in ("train", "validation", "test"):
        seed = getattr(feet, f"{split}_seed")
        for index in range(getattr(feet, split)):
            yield CaptureJob("foot", split, seed, index, feet.views, feet.studio_samples, feet.phone_samples)
            if feet.mats:
                yield CaptureJob("mat", split, seed, index, feet.views, 0, feet.phone_samples)
    for synset in FAMILIES:
        for split in ("train", "validation", "test"):
            seed = getattr(objects, f"{split}_seed")
            for index in range(getattr(objects, split)):
                yield CaptureJob("object", split, seed, index, objects.views, objects.samples, synset=synset)


def dataset_root(job: CaptureJob, config: Config) -> Path:
    """The data set that a job belongs to."""
    return data_folder("objects" if job.kind == "object" else "feet", config.scale)


def ensure_collection(config: Config, workers: int | None = None) -> None:
    """Makes what is missing or stale of the data set of ``config``, with a progress bar; what is there stays.

    Two that want it at once do not both make it.
    """
    with file_lock(home() / ".runs" / config.scale / "data.lock", waiting=lambda: None):
        _complete(config, workers)


def _complete(config: Config, workers: int | None) -> None:
    wanted = list(capture_jobs(config))
    missing = [
        job
        for job in wanted
        if not all(_is_current(folder, job) for folder in job.folders(dataset_root(job, config)).values())
    ]
    if missing:
        cache_legs()
        # A failed capture stops the collection: a data set that silently lacks a person would be another data set.
        run_jobs(_capture, [(job, dataset_root(job, config)) for job in missing], "captures", "subject", workers)
    objects = [job for job in wanted if job.kind == "object"]
    _write_taxonomy(data_folder("objects", config.scale) / "taxonomy.json", objects)


def build_collection(config: Config, workers: int | None = None) -> Path:
    """Renders and packs the data set of ``config`` unless its packed file is current; returns the packed file.

    A machine that only has the packed file needs no renderer.
    """
    if not packed.is_current(config):
        ensure_collection(config, workers)
        packed.pack(config, capture_folders(config))
    return packed.packed_path(config)


def capture_folders(config: Config) -> list[Path]:
    """The capture folders of ``config``, in the order in which they are packed."""
    return [folder for job in capture_jobs(config) for folder in job.folders(dataset_root(job, config)).values()]


def unseen_capture(config: Config, person: int, side: str) -> Path:
    """The phone photos of one foot of the test people of ``config``, as a capture folder: found, or made in seconds.

    It is the one that `ensure` makes or leaves alone; the rest of the data set is not needed for it.

    Raises:
        ValueError: there is no such person, or a side that is neither left nor right.
    """
    if side not in SIDES or not 0 <= person < config.feet.test:
        raise ValueError(
            f"person {person!r}, side {side!r}: expected a test person from 0 to {config.feet.test - 1}, left or right"
        )
    (job,) = (job for job in capture_jobs(config) if (job.kind, job.split, job.index) == ("foot", "test", person))
    folder = job.folders(data_folder("feet", config.scale))[side, "phone"]
    if not _is_current(folder, job):
        cache_legs()
        _capture_foot(job, _feet_of(job)[side], "phone", folder)
    return folder


def _recipe(job: CaptureJob) -> dict:
    return {"version": DATA_RECIPE, **asdict(job)}


def _is_current(folder: Path, job: CaptureJob) -> bool:
    subject = folder / "subject.json"
    return subject.is_file() and json.loads(subject.read_text())["recipe"] == _recipe(job)


def _capture(job: CaptureJob, root: Path) -> None:
    (_capture_object if job.kind == "object" else _capture_person)(job, root)


def _capture_person(job: CaptureJob, root: Path) -> None:
    feet = _feet_of(job)
    for (side, look), folder in job.folders(root).items():
        if not _is_current(folder, job):
            _capture_foot(job, feet[side], look, folder)


def _feet_of(job: CaptureJob) -> dict[str, SyntheticFoot]:
    from p2vtools.synthesis.feet.foot import make_feet
    from p2vtools.synthesis.feet.population import sample_population

    (person,) = sample_population(job.seed, 1, first=job.index)
    return make_feet(person)


def _capture_foot(job: CaptureJob, foot: SyntheticFoot, look: str, folder: Path) -> None:
    from p2vtools.synthesis.mat import MATS, random_sheet
    from p2vtools.synthesis.photos import trajectories as looks
    from p2vtools.synthesis.photos.rendering import render_phone_photos

    cube = foot_cube(foot.solid.bounds)
    # The same stream for both phone looks: they differ in the drift of light and in nothing else.
    rng = np.random.default_rng(
        [job.seed, job.index, SIDES.index(foot.side), {"studio": 1, MAT_DOMAIN: 2}.get(look, 0)]
    )
    if look == "studio":
        box = foot.solid.bounds
        unit, target = float(np.linalg.norm(box[1] - box[0])), box.mean(axis=0)
        rows, cameras = _clockwise(*looks.sample_studio_cameras(rng, job.views, unit, target))
        rows = [(*row[:3], row[3] * R2N2_DISTANCE_SCALE * unit, R2N2_FOV) for row in rows]
        files = _pngs(foot.leg_mesh, cameras, job.studio_samples)
    else:
        walk = looks.sample_phone_trajectory(
            rng, job.views, cube.centre * [1, 0, 1] + [0, 0.05, 0], drift=look != "steady"
        )
        mats = list(MATS.values())
        sheet = random_sheet(mats[job.index % len(mats)], rng) if look == MAT_DOMAIN else None
        rows, cameras = walk.rows, walk.cameras
        photos = render_phone_photos(foot.leg_mesh, walk, job.phone_samples, sheet)
        files = {f"{number:02d}.jpg": photo for number, photo in enumerate(photos)}
    told = DOMAINS.get(look, look)
    facts = {"subject": job.name, "side": foot.side, "look": told, "length": foot.length, "metadata": "metric"}
    _write(folder, job, foot.solid, cube, rows, cameras, files, facts)


def _capture_object(job: CaptureJob, root: Path) -> None:
    from p2vtools.synthesis.objects import make_object
    from p2vtools.synthesis.photos import trajectories as looks

    mesh = make_object(job.synset, job.seed, job.index)
    cube = object_cube(mesh.bounds)
    rng = np.random.default_rng([job.seed, job.index, int(job.synset)])
    rows, cameras = _clockwise(*looks.sample_studio_cameras(rng, job.views, 1.0, np.zeros(3)))
    (folder,) = job.folders(root).values()
    facts = {"subject": job.name, "look": "studio", "metadata": "r2n2"}
    _write(folder, job, mesh, cube, rows, cameras, _pngs(mesh, cameras, job.studio_samples), facts)
    voxels = root / "ShapeNetVox32" / job.synset / job.name / "model.binvox"
    write_bytes(voxels, (folder / "model.binvox").read_bytes())


def _clockwise(rows: list[Row], cameras: list[Camera]) -> tuple[list[Row], list[Camera]]:
    """Sorts views by azimuth, the one nearest the front first."""
    azimuths = np.array([row[0] for row in rows])
    first = azimuths[np.abs((azimuths + 180) % 360 - 180).argmin()]
    order = np.argsort((azimuths - first) % 360)
    return [rows[i] for i in order], [cameras[i] for i in order]


def _pngs(mesh: trimesh.Trimesh, cameras: list[Camera], samples: int) -> dict[str, bytes]:
    from p2vtools.synthesis.photos.rendering import render_studio_photos

    files = {}
    for number, photo in enumerate(render_studio_photos(mesh, cameras, samples)):
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, "png")
        files[f"{number:02d}.png"] = buffer.getvalue()
    return files


def _write(
    folder: Path,
    job: CaptureJob,
    solid: trimesh.Trimesh,
    cube: Cube,
    rows: list[Row],
    cameras: list[Camera],
    photos: dict[str, bytes],
    facts: dict,
) -> None:
    subject = {
        **facts,
        "split": job.split,
        "taxonomy": job.synset,
        "made": f"{'manifold3d' if job.kind == 'object' else 'anny'} and Mitsuba",
        "licence": "CC0-1.0",
        "cube": asdict(cube),
        "voxels": "occupied where the centre is inside",
        "recipe": _recipe(job),
    }
    mesh = trimesh.exchange.obj.export_obj(solid, include_normals=False, include_color=False, digits=6)
    truth = voxelise(solid.vertices, solid.faces, cube, GRID_SIZE)
    with atomic_directory(folder, replace=True) as partial:
        write_capture(partial, photos, rows, cameras, subject, truth, mesh)


def _write_taxonomy(path: Path, object_jobs: list[CaptureJob]) -> None:
    """R2N2's taxonomy file: who is in which split, by category."""
    from p2vtools.synthesis.objects import FAMILIES

    splits = {"train": "train", "validation": "val", "test": "test"}
    taxonomy = []
    for synset, family in FAMILIES.items():
        members = {
            short: [j.name for j in object_jobs if (j.synset, j.split) == (synset, split)]
            for split, short in splits.items()
        }
        taxonomy.append({"taxonomy_id": synset, "taxonomy_name": family.name, **members})
    content = json.dumps(taxonomy, indent=1)
    if not path.is_file() or path.read_text() != content:
        write_text(path, content)
