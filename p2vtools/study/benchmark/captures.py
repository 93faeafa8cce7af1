"""From photos of unseen people on a mat to millimetres: how well cameras are found, and how right the measures are."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool
from scipy.spatial.transform import Rotation

from p2vlib.data.capture_folder import PhotoSet, evenly_spaced, photo_set_from_arrays, read_photo_set
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_SHARE
from p2vlib.geometry.grids import iou, voxelise
from p2vtools.capture.capture_writer import WrittenCapture
from p2vtools.capture.charuco import undistort
from p2vtools.capture.mat_capture import capture_on_mat
from p2vtools.fit import pretrained
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.reconstruct import reconstruct
from p2vtools.fit.uncertainty import MEASURE_NAMES, measure_with_intervals
from p2vtools.study.benchmark.walks import MatWalk, render_walk
from p2vtools.study.model_card import solid_in_frame
from p2vtools.synthesis.feet.landmarks import true_measures

VIEWS = (1, 2, 4, 8)


def evaluate_capture(case: int, views: int = 8) -> dict[str, pd.DataFrame]:
    """Person number ``case`` on a mat in ``views`` photos: rows of photos, and of measures by way and number of photos.

    ``photos``: board (the share of its corners that the photo shows), solved, mm and degrees that its camera is off,
    and focal (relative error of the focal length).
    ``fits``: way (``mat``; ``exact``: the same photos with true cameras), views, measure, truth and found in mm (not a
    number: it was refused), within (half of the interval that was told), iou of the solid at 32^3 with the true one,
    placed as it was found.
    """
    walk, weights = render_walk(case, views), pretrained.load_pretrained()
    with tempfile.TemporaryDirectory() as name:
        filed, intake, on_mat = Path(name) / "capture", None, None
        with contextlib.suppress(ValueError):
            intake = capture_on_mat(walk.write(Path(name) / "photos"), walk.mat, walk.foot.side, filed)
            on_mat = read_photo_set(filed)
    ways = {"mat": (on_mat, walk.to_mat), "exact": (_as_taken(walk), np.eye(4))}
    rows = [row for way, (shots, to_world) in ways.items() for row in _fits(walk, weights, way, shots, to_world)]
    photos = list(_photo_rows(walk, intake))
    who = {"case": case, "person": walk.foot.subject, "side": walk.foot.side, "mat": walk.mat.name}
    return {"photos": pd.DataFrame(photos).assign(**who), "fits": pd.DataFrame(rows).assign(**who)}


def _photo_rows(walk: MatWalk, intake: WrittenCapture | None) -> Iterator[dict]:
    found = dict(zip(intake.names, intake.cameras, strict=True)) if intake else {}
    for view, true in enumerate(walk.cameras_on_mat):
        row = {"view": view, "board": float(walk.visible_corners(view).mean())}
        camera = found.get(f"{view:02d}.jpg")
        if camera is None:
            yield {**row, "solved": False}
            continue
        turn = camera.extrinsics[:3, :3] @ true.extrinsics[:3, :3].T
        yield {
            **row,
            "solved": True,
            "mm": 1000 * float(np.linalg.norm(camera.position - true.position)),
            "degrees": float(np.rad2deg(Rotation.from_matrix(turn).magnitude())),
            "focal": float(camera.intrinsics[0, 0] / true.intrinsics[0, 0] - 1),
        }


def _as_taken(walk: MatWalk) -> PhotoSet:
    """The photos straightened with the true lens, and their true cameras, in the foot's own frame."""
    bend = np.array([walk.lens.distortion, 0, 0, 0, 0])
    pairs = zip(walk.pictures(), walk.cameras, strict=True)
    straight = [undistort(np.asarray(picture), camera, bend) for picture, camera in pairs]
    names = [f"{number:02d}.jpg" for number in range(len(straight))]
    return photo_set_from_arrays(straight, walk.cameras, names, walk.foot.side)


def _fits(
    walk: MatWalk, weights: PretrainedModel, way: str, shots: PhotoSet | None, to_world: np.ndarray
) -> Iterator[dict]:
    """Measures by number of photos; ``to_world`` is where the foot really stands in the frame of the cameras."""
    solid, true = _solid(walk), true_measures(walk.foot)
    for views in VIEWS:
        found, within, agrees = {}, {}, np.nan
        if shots and views <= len(shots.photos):
            some = shots.subset(evenly_spaced(len(shots.photos), views))
            with contextlib.suppress(ValueError):  # nothing seen, or nothing that can be measured as a foot
                foot = reconstruct(weights, some, 128)
                agrees = iou(solid_in_frame(foot, to_world), solid)
                known = measure_with_intervals(weights, some, foot)
                found, within = dict(known.measures.items()), known.half_widths
        for name in MEASURE_NAMES:
            spoken = name.replace("_", " ")
            told = {"truth": true[name], "found": found.get(spoken, np.nan), "within": within.get(name, np.nan)}
            yield {"way": way, "views": views, "measure": spoken, **told, "iou": agrees}


def _solid(walk: MatWalk) -> Bool[np.ndarray, "x y z"]:
    solid = voxelise(walk.foot.solid.vertices, walk.foot.solid.faces, FOOT_CUBE).volume
    solid[:, round(FOOT_SHARE * len(solid)) :] = False
    return solid
