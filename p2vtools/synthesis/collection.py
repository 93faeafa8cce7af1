"""The synthetic data set: capture folders of all people and objects of a config, and the packed file.

Feet:    ``data/feet/<scale>/<domain>/<sample>/``
Objects: ``data/objects/<scale>/ShapeNetRendering/<synset>/<sample>/`` and ``ShapeNetVox32/<synset>/<sample>/``

Each capture folder is complete or absent, so an interrupted collection continues where it stopped. A domain is how
photos are taken: in the studio of R2N2, with a phone, with a phone on a printed mat, or with a phone in the wild.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import trimesh

from p2vlib import progress
from p2vlib.config import DATA_RECIPE, Config
from p2vlib.data import packed
from p2vlib.files import write_bytes, write_text
from p2vlib.geometry.cameras import Camera, Row
from p2vlib.geometry.frames import FOOT_SYNSET, R2N2_DISTANCE_SCALE, R2N2_FOV, SIDES, Cube, object_cube
from p2vlib.geometry.grids import voxelise
from p2vlib.provenance import data_folder, home
from p2vtools.archives.capture_folder import RENDERINGS, SPLITS, VOXELS, read_subject, write_capture
from p2vtools.archives.photo_files import encode_photo
from p2vtools.executor import run_jobs
from p2vtools.files import atomic_directory, file_digests, file_lock, is_whole
from p2vtools.synthesis.packing import pack

if TYPE_CHECKING:
    from p2vtools.synthesis.feet.foot import SyntheticFoot
    from p2vtools.synthesis.feet.population import Person

DOMAINS = {"studio": "studio", "phone": "phone", "steady": "phone"}
"""Folder of a foot's captures -> domain. ``steady`` is the phone domain without the drift of the light."""

MAT_DOMAIN = "mat"
"""Folder and domain of feet on a printed mat, photographed with a phone."""

WILD_DOMAIN = "wild"
"""Folder and domain of people of wide variety in varied everyday scenes, photographed with a phone."""

Views = tuple[list[Row], list[Camera], list[bytes]]
"""Metadata rows, cameras and photo files of a capture, in clockwise order."""

WILD_SAMPLES = 4
"""Samples per pixel of a photo in the wild."""

GRID_SIZE = 32


@dataclass(frozen=True)
class CaptureJob:
    """All captures of one person or one object; its fields are saved as the recipe in ``subject.json``."""

    kind: str
    """``foot`` (a person, both feet), ``mat`` (the same on a printed mat), ``wild`` (another person of wide variety) or
    ``object``."""
    split: str
    seed: int
    index: int
    views: int
    studio_samples: int
    phone_samples: int = 0
    synset: str = FOOT_SYNSET

    @property
    def name(self) -> str:
        """The anonymous id of the person or object, unique over splits."""
        prefix = {"object": self.synset, WILD_DOMAIN: WILD_DOMAIN}.get(self.kind, "person")
        return f"{prefix}-{self.split}-{self.index:04d}"

    def folders(self, scale: str) -> dict[tuple[str, str], Path]:
        """(side, folder of the domain) -> capture folder."""
        if self.kind == "object":
            return {("", "studio"): data_folder("objects", scale) / RENDERINGS / self.synset / self.name}
        alone = self.kind in (MAT_DOMAIN, WILD_DOMAIN)
        domains = (self.kind,) if alone else DOMAINS if self.split == "test" else ("studio", "phone")
        root = data_folder("feet", scale)
        return {(side, domain): root / domain / f"{self.name}-{side}" for side in SIDES for domain in domains}

    def is_current(self, folder: Path) -> bool:
        """Whether the capture in ``folder`` was made from this recipe and has all of its files, unchanged."""
        try:
            subject = read_subject(folder)
        except ValueError as error:
            progress.log(f"{error}; it is made again")
            return False
        if subject.get("recipe") != self.recipe():
            return False
        digests = subject.get("sha256", {})
        whole = "model.binvox" in digests and is_whole(folder, digests)
        if whole and self.kind == "object":
            whole = is_whole(_grid(folder), {"model.binvox": digests["model.binvox"]})
        if not whole:
            progress.log(f"{folder}: files are missing or damaged; it is made again")
        return whole

    def recipe(self) -> dict:
        """What the captures depend on."""
        return {"version": DATA_RECIPE, **asdict(self)}


def capture_jobs(config: Config) -> Iterator[CaptureJob]:
    """Yields a job for every person and object of ``config``.

    Raises:
        ValueError: two splits have the same seed, and so the same people or objects.
    """
    from p2vtools.synthesis.objects import FAMILIES

    feet, objects = config.feet, config.objects
    for part in (feet, objects):
        seeds = [getattr(part, f"{split}_seed") for split in SPLITS]
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds of {type(part).__name__} are {seeds}; expected another for each split")
    for split in SPLITS:
        seed, people = getattr(feet, f"{split}_seed"), getattr(feet, split)
        wild = (split == "train" and feet.wild_train) or people
        for index in range(max(people, wild)):
            if index < people:
                yield CaptureJob("foot", split, seed, index, feet.views, feet.studio_samples, feet.phone_samples)
                if feet.mats:
                    yield CaptureJob("mat", split, seed, index, feet.views, 0, feet.phone_samples)
            if feet.wild and index < wild:
                yield CaptureJob("wild", split, seed, index, feet.views, 0, WILD_SAMPLES)
    for synset in FAMILIES:
        for split in SPLITS:
            seed = getattr(objects, f"{split}_seed")
            for index in range(getattr(objects, split)):
                yield CaptureJob("object", split, seed, index, objects.views, objects.samples, synset=synset)


def ensure_collection(config: Config, workers: int | None = None, scheduler: str | None = None) -> None:
    """Renders the captures of ``config`` that are missing or stale, with a progress bar, and writes the taxonomy.

    If another process is doing the same, it waits for that process first.

    Args:
        workers, scheduler: as of `run_jobs`.
    """
    with _lock(config.scale, "data"):
        _render_missing(config, workers, scheduler)


def _lock(scale: str, name: str) -> contextlib.AbstractContextManager[None]:
    """The lock of all data of a scale (``data``), or of the captures of one person or object."""
    return file_lock(home() / ".runs" / scale / "locks" / f"{name}.lock")


def _render_missing(config: Config, workers: int | None = None, scheduler: str | None = None) -> None:
    jobs = list(capture_jobs(config))
    missing = [job for job in jobs if not all(map(job.is_current, job.folders(config.scale).values()))]
    if missing:
        if not scheduler:
            from p2vtools.synthesis.feet.legs import cache_legs

            cache_legs()
        # An exception stops the collection: a data set without one of its people would be another data set.
        requests = [(job, config.scale) for job in missing]
        run_jobs(_capture, requests, "captures", "subject", workers, scheduler, _files_of)
    _write_taxonomy(jobs, config.scale)


def build_collection(config: Config) -> Path:
    """Renders and packs the data set of ``config`` unless its packed file is current; returns the packed file.

    A machine that only has the packed file needs no renderer.
    """
    if not packed.is_current(config):
        with _lock(config.scale, "data"):
            if not packed.is_current(config):  # another process may have packed it meanwhile
                _render_missing(config)
                pack(config, [path for job in capture_jobs(config) for path in job.folders(config.scale).values()])
    return packed.packed_path(config)


def unseen_capture(config: Config, person: int, side: str) -> Path:
    """Returns the phone capture of one foot of a test person of ``config``, rendered in seconds if it is missing.

    It is the capture that `ensure_collection` makes; the rest of the data set is not needed for it.

    Raises:
        ValueError: there is no such person or side.
    """
    if side not in SIDES or not 0 <= person < config.feet.test:
        raise ValueError(
            f"person {person!r}, side {side!r}: expected a test person from 0 to {config.feet.test - 1}, left or right"
        )
    (job,) = (job for job in capture_jobs(config) if (job.kind, job.split, job.index) == ("foot", "test", person))
    folder = job.folders(config.scale)[side, "phone"]
    with _lock(config.scale, job.name):
        if not job.is_current(folder):
            _capture_foot(job, _make_feet(job)[side], "phone", folder)
    return folder


def _capture(job: CaptureJob, scale: str) -> None:
    """Renders the missing captures of ``job``, unless another process has done so meanwhile."""
    with _lock(scale, job.name):
        missing = {key: folder for key, folder in job.folders(scale).items() if not job.is_current(folder)}
        feet = _make_feet(job) if missing and job.kind != "object" else {}
        for (side, domain), folder in missing.items():
            if feet:
                _capture_foot(job, feet[side], domain, folder)
            else:
                _capture_object(job, folder)


def _files_of(job: CaptureJob, scale: str) -> list[Path]:
    """The folders that `_capture` writes, relative to `home`."""
    folders = list(job.folders(scale).values())
    grids = map(_grid, folders) if job.kind == "object" else ()
    return [folder.relative_to(home()) for folder in (*folders, *grids)]


def _make_feet(job: CaptureJob) -> dict[str, SyntheticFoot]:
    from p2vtools.synthesis.feet.foot import make_feet

    return make_feet(_person(job))


def _person(job: CaptureJob) -> Person:
    from p2vtools.synthesis.feet.population import sample_population

    variety = "wide" if job.kind == WILD_DOMAIN else "usual"
    (person,) = sample_population(job.seed, 1, first=job.index, variety=variety)
    return person


def _capture_foot(job: CaptureJob, foot: SyntheticFoot, domain: str, folder: Path) -> None:
    from p2vtools.synthesis.mat import MATS, random_sheet
    from p2vtools.synthesis.photos.rendering import render_phone_photos
    from p2vtools.synthesis.photos.trajectories import sample_phone_trajectory

    # "phone" and "steady" share one random stream: they differ only in the drift of the light.
    stream = {"studio": 1, MAT_DOMAIN: 2, WILD_DOMAIN: 3}.get(domain, 0)
    rng = np.random.default_rng([job.seed, job.index, SIDES.index(foot.side), stream])
    if domain == "studio":
        bounds = foot.solid.bounds
        diagonal = float(np.linalg.norm(bounds[1] - bounds[0]))
        rows, *rest = _render_studio(rng, job, foot.leg_mesh, diagonal, bounds.mean(axis=0))
        views = [(*row[:3], row[3] * R2N2_DISTANCE_SCALE * diagonal, R2N2_FOV) for row in rows], *rest
    elif domain == WILD_DOMAIN:
        views = _render_wild(rng, job, foot)
    else:
        target = foot.cube.centre * [1, 0, 1] + [0, 0.05, 0]
        trajectory = sample_phone_trajectory(rng, job.views, target, drift=domain != "steady")
        mats = list(MATS.values())
        sheet = random_sheet(mats[job.index % len(mats)], rng) if domain == MAT_DOMAIN else None
        photos = render_phone_photos(foot.leg_mesh, trajectory, job.phone_samples, sheet)
        views = trajectory.rows, trajectory.cameras, photos
    description = {"side": foot.side, "look": DOMAINS.get(domain, domain), "length": foot.length, "metadata": "metric"}
    _write(folder, job, foot.solid, foot.cube, views, description)


def _render_wild(rng: np.random.Generator, job: CaptureJob, foot: SyntheticFoot) -> Views:
    from p2vtools.synthesis.feet.appearance import paint, sample_appearance
    from p2vtools.synthesis.photos.wild_rendering import render_wild_photos
    from p2vtools.synthesis.photos.wild_scenes import sample_wild_scene

    painted = paint(foot.leg_mesh, foot.side, sample_appearance(rng, _person(job)))
    scene = sample_wild_scene(rng, job.views, foot.leg_mesh, foot.side)
    photos = render_wild_photos(foot.leg_mesh, painted, scene, job.phone_samples)
    return scene.rows, scene.cameras, photos


def _capture_object(job: CaptureJob, folder: Path) -> None:
    from p2vtools.synthesis.objects import make_object

    mesh = make_object(job.synset, job.seed, job.index)
    rng = np.random.default_rng([job.seed, job.index, int(job.synset)])
    views = _render_studio(rng, job, mesh, 1.0, np.zeros(3))
    _write(folder, job, mesh, object_cube(mesh.bounds), views, {"look": "studio", "metadata": "r2n2"})
    write_bytes(_grid(folder) / "model.binvox", (folder / "model.binvox").read_bytes())


def _grid(folder: Path) -> Path:
    """The folder with the grid of the object in the capture ``folder``."""
    return folder.parents[2] / VOXELS / folder.parent.name / folder.name


def _render_studio(
    rng: np.random.Generator, job: CaptureJob, mesh: trimesh.Trimesh, unit: float, target: np.ndarray
) -> Views:
    """Renders PNG files, the view nearest to the front first."""
    from p2vtools.synthesis.photos.rendering import render_studio_photos
    from p2vtools.synthesis.photos.trajectories import sample_studio_cameras

    rows, cameras = sample_studio_cameras(rng, job.views, unit, target)
    azimuths = np.array([row[0] for row in rows])
    first = azimuths[np.abs((azimuths + 180) % 360 - 180).argmin()]
    order = np.argsort((azimuths - first) % 360)
    rows, cameras = [rows[i] for i in order], [cameras[i] for i in order]
    images = render_studio_photos(mesh, cameras, job.studio_samples)
    return rows, cameras, [encode_photo(image, "PNG") for image in images]


def _write(folder: Path, job: CaptureJob, solid: trimesh.Trimesh, cube: Cube, views: Views, description: dict) -> None:
    """Writes a capture folder, complete or not at all."""
    subject = {
        "subject": job.name,
        **description,
        "split": job.split,
        "taxonomy": job.synset,
        "made": f"{'manifold3d' if job.kind == 'object' else 'anny'} and Mitsuba",
        "licence": "CC0-1.0",
        "cube": asdict(cube),
        "voxels": "occupied where the centre is inside",
        "recipe": job.recipe(),
    }
    mesh = trimesh.exchange.obj.export_obj(solid, include_normals=False, include_color=False, digits=6)
    truth = voxelise(solid.vertices, solid.faces, cube, GRID_SIZE)
    rows, cameras, photos = views
    with atomic_directory(folder, replace=True) as partial:
        suffix = "png" if description["look"] == "studio" else "jpg"
        files = {f"{number:02d}.{suffix}": photo for number, photo in enumerate(photos)}
        write_capture(partial, files, rows, cameras, subject, truth, mesh)
        digests = file_digests(partial)
        del digests["subject.json"]
        write_text(partial / "subject.json", json.dumps({**subject, "sha256": digests}, indent=1))


def _write_taxonomy(jobs: list[CaptureJob], scale: str) -> None:
    """Writes the splits of the thirteen object categories and the foot in the format of R2N2's taxonomy file."""
    from p2vtools.synthesis.objects import FAMILIES

    names = {synset: family.name for synset, family in FAMILIES.items()} | {FOOT_SYNSET: "foot"}
    splits = {synset: {key: [] for key in SPLITS.values()} for synset in names}
    for job in jobs:
        if job.kind not in (MAT_DOMAIN, WILD_DOMAIN):  # the taxonomy lists the feet of kind "foot" only
            samples = sorted({folder.name for folder in job.folders(scale).values()})
            splits[job.synset][SPLITS[job.split]] += samples
    taxonomy = [{"taxonomy_id": synset, "taxonomy_name": name, **splits[synset]} for synset, name in names.items()]
    path, content = data_folder("objects", scale) / "taxonomy.json", json.dumps(taxonomy, indent=1)
    if not path.is_file() or path.read_bytes() != content.encode():  # a damaged file may not be UTF-8
        write_text(path, content)
