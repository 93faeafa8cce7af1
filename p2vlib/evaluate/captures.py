"""From photos of unseen people on a mat to millimetres: how well cameras are found, and how right the measures are."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool
from PIL import Image

from .. import shipped
from ..cameras import Camera
from ..capture.degrade import scanned
from ..capture.landmarks import truths
from ..conventions import FOOT_SHARE
from ..datasets import spread
from ..grids import iou, voxelise
from ..inference import reconstruct
from ..measure import measure
from ..phone.captured import Intake
from ..phone.clean import clean
from ..phone.intake import take
from ..phone.poses import undistorted
from ..shipped import Weights
from ..shots import FOOT_CUBE, KEPT, Shots, read_shots
from ..trial import seen_from
from ..uncertainty import NAMES, sized
from .walks import SEED, Walked, walked

VIEWS = (1, 2, 4, 8)


def examined(case: int, views: int = 8) -> dict[str, pd.DataFrame]:
    """Person number ``case`` on a mat in ``views`` photos: rows of photos, and of measures by way and number of photos.

    ``photos``: board (the share of its corners that the photo shows), solved, mm and degrees that its camera is off,
    and focal (relative error of the focal length).
    ``fits``: way (``mat``; ``exact``: the same photos with true cameras; ``scan``: no photos but a scan that was
    cleaned), views, measure, truth and found in mm (not a number: it was refused), within (half of the interval that
    was told), iou of the solid at 32^3 with the true one, placed as it was found.
    """
    walk, weights = walked(case, views), shipped.load(shipped.path())
    with tempfile.TemporaryDirectory() as name:
        filed, intake, on_mat = Path(name) / "capture", None, None
        with contextlib.suppress(ValueError):
            intake = take(walk.write(Path(name) / "photos"), walk.mat, walk.foot.side, filed)
            on_mat = read_shots(filed)
    ways = {"mat": (on_mat, walk.to_mat), "exact": (_as_taken(walk), np.eye(4))}
    rows = [row for way, (shots, to_world) in ways.items() for row in _fits(walk, weights, way, shots, to_world)]
    rows += _scanned(walk, weights, case)
    photos = list(_photo_rows(walk, intake))
    who = {"case": case, "person": walk.foot.subject, "side": walk.foot.side, "mat": walk.mat.name}
    return {"photos": pd.DataFrame(photos).assign(**who), "fits": pd.DataFrame(rows).assign(**who)}


def _photo_rows(walk: Walked, intake: Intake | None) -> Iterator[dict]:
    found = dict(zip(intake.names, intake.cameras, strict=True)) if intake else {}
    for view, true in enumerate(walk.on_mat):
        row = {"view": view, "board": float(walk.corners_seen(view).mean())}
        camera = found.get(f"{view:02d}.jpg")
        if camera is None:
            yield {**row, "solved": False}
            continue
        turn = camera.extrinsics[:3, :3] @ true.extrinsics[:3, :3].T
        yield {
            **row,
            "solved": True,
            "mm": 1000 * float(np.linalg.norm(camera.position - true.position)),
            "degrees": float(np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))),
            "focal": float(camera.intrinsics[0, 0] / true.intrinsics[0, 0] - 1),
        }


def _as_taken(walk: Walked) -> Shots:
    """The photos straightened with the true lens, and their true cameras, in the foot's own frame."""
    bend = np.array([walk.lens.distortion, 0, 0, 0, 0])
    photos, cameras = [], []
    for picture, camera in zip(walk.pictures(), walk.cameras, strict=True):
        photo = Image.fromarray(undistorted(np.asarray(picture), camera, bend)).convert("RGBA")
        photo.thumbnail((KEPT, KEPT))
        scale = np.diag([photo.width / camera.width, photo.height / camera.height, 1.0])
        photos.append(photo)
        cameras.append(Camera(scale @ camera.intrinsics, camera.extrinsics, *photo.size))
    names = [f"{number:02d}.jpg" for number in range(len(photos))]
    return Shots(photos, cameras, names, walk.foot.side, np.zeros(3))


def _fits(walk: Walked, weights: Weights, way: str, shots: Shots | None, to_world: np.ndarray) -> Iterator[dict]:
    """Measures by number of photos; ``to_world`` is where the foot really stands in the frame of the cameras."""
    solid, true = _solid(walk), truths(walk.foot)
    for views in VIEWS:
        found, within, agrees = {}, {}, np.nan
        if shots and views <= len(shots.photos):
            chosen = spread(len(shots.photos), views)
            parts = {name: [getattr(shots, name)[n] for n in chosen] for name in ("photos", "cameras", "names")}
            some = replace(shots, **parts)
            with contextlib.suppress(ValueError):  # nothing seen, or nothing that can be measured as a foot
                foot = reconstruct(weights, some, 128)
                agrees = iou(seen_from(foot, to_world), solid)
                known = sized(weights, some, foot)
                found, within = dict(known.measures.items()), known.within
        for name in NAMES:
            measure = name.replace("_", " ")
            told = {"truth": true[name], "found": found.get(measure, np.nan), "within": within.get(name, np.nan)}
            yield {"way": way, "views": views, "measure": measure, **told, "iou": agrees}


def _solid(walk: Walked) -> Bool[np.ndarray, "x y z"]:
    solid = voxelise(walk.foot.solid.vertices, walk.foot.solid.faces, FOOT_CUBE).volume
    solid[:, round(FOOT_SHARE * len(solid)) :] = False
    return solid


def _scanned(walk: Walked, weights: Weights, case: int) -> list[dict]:
    """Measures of the same foot as an app with a depth sensor would give it."""
    scan, _ = scanned(walk.foot, np.random.default_rng([SEED, case]))
    found, true, agrees = {}, truths(walk.foot), np.nan
    with contextlib.suppress(ValueError):
        cleaned = clean(scan, weights.typical.solid.numpy())
        found = dict(measure(cleaned.mesh, cleaned.side)[0].items())
        agrees = iou(cleaned.grid(32).volume, _solid(walk))
    facts = {"way": "scan", "views": 0, "within": np.nan, "iou": agrees}
    names = {name: name.replace("_", " ") for name in NAMES}
    return [
        {**facts, "measure": name, "truth": true[key], "found": found.get(name, np.nan)} for key, name in names.items()
    ]
