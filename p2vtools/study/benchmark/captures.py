"""Benchmark of captures: the accuracy of a mat's cameras, and of feet and measures by the source of the cameras."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from p2vlib.data.dataset import evenly_spaced
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_SHARE
from p2vlib.geometry.grids import iou, voxelise
from p2vtools.capture.capture_writer import WrittenCapture
from p2vtools.capture.charuco import undistort
from p2vtools.capture.mat_capture import capture_on_mat
from p2vtools.capture.sheet_capture import capture_on_sheet
from p2vtools.fit import pretrained
from p2vtools.fit.camera_alignment import note_by_hand
from p2vtools.fit.photo_set import PhotoSet, photo_set_from_arrays, read_photo_set
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.uncertainty import MEASURE_NAMES
from p2vtools.fit.verdict import reconstruct_and_judge
from p2vtools.study.benchmark.walks import Walk, render_walk
from p2vtools.study.validation_feet import change_cameras, perturb_cameras, solid_in_frame
from p2vtools.synthesis.feet.landmarks import true_measures

VIEWS = (1, 2, 4, 8)

TRACKING_ERROR = (0.5, 0.004)
"""Standard deviations of the error of each camera that a phone's tracking gives: degrees about each axis, metres along
it. Assumed; no app states its own."""


def evaluate_capture(case: int, views: int = 8) -> dict[str, pd.DataFrame]:
    """Evaluates person number ``case`` in ``views`` photos, on a mat and on a plain sheet of paper.

    Returns:
        ``photos``, one row per photo: mat (`Walk.surface`), board (share of the mat's corners that it shows; NaN for a
        sheet), solved, mm and degrees (errors of its camera), focal (relative error of the focal length).

        ``fits``, one row per way, number of photos and measure. Way ``mat`` has the cameras of the mat, ``sheet`` those
        of the sheet (four and all photos), ``exact`` the true ones, ``tracking`` those of a phone's tracking and
        ``noted`` those noted by hand, the last two with all photos. Columns: way, views, mat, measure, truth, found
        (mm; NaN: no foot), within (half-width of the interval, mm), iou (with the true solid at 32^3; placement found),
        verdict.
    """
    walk, weights = render_walk(case, views), pretrained.load_pretrained()
    capture, on_mat = _capture(walk, weights)
    exact, rng = _exact_capture(walk), np.random.default_rng(case)
    tracked = perturb_cameras(exact, *TRACKING_ERROR, rng)
    noted = change_cameras(exact, note_by_hand, rng)
    ways = {"mat": (on_mat, walk.to_mat, VIEWS), "exact": (exact, np.eye(4), VIEWS)}
    ways |= {"tracking": (tracked, np.eye(4), VIEWS[-1:]), "noted": (noted, np.eye(4), VIEWS[-1:])}
    fits = [row for way, arguments in ways.items() for row in _fit_rows(walk, weights, way, *arguments)]
    on_mat, on_sheet = _tables(case, walk, capture, fits), evaluate_sheet(case, views)
    return {part: pd.concat([on_mat[part], on_sheet[part]]) for part in on_mat}


def evaluate_sheet(case: int, views: int = 8) -> dict[str, pd.DataFrame]:
    """The rows of `evaluate_capture` for photos on a plain sheet of paper."""
    walk, weights = render_walk(case, views, plain=True), pretrained.load_pretrained()
    capture, on_sheet = _capture(walk, weights)
    return _tables(case, walk, capture, [*_fit_rows(walk, weights, "sheet", on_sheet, walk.to_mat, VIEWS[-2:])])


def _tables(case: int, walk: Walk, capture: WrittenCapture | None, fits: list[dict]) -> dict[str, pd.DataFrame]:
    labels = {"case": case, "person": walk.foot.subject, "side": walk.foot.side}
    tables = {"photos": [*_photo_rows(walk, capture)], "fits": fits}
    return {part: pd.DataFrame(rows).assign(**labels) for part, rows in tables.items()}


def _capture(walk: Walk, weights: PretrainedModel) -> tuple[WrittenCapture | None, PhotoSet | None]:
    """The capture that the command writes from the photos; None: too few of them show the mat or the sheet."""
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(ValueError):
        photos, folder, side = walk.write(Path(name) / "photos"), Path(name) / "capture", walk.foot.side
        if walk.mat is None:
            capture = capture_on_sheet(photos, walk.paper, side, folder, weights)
        else:
            capture = capture_on_mat(photos, walk.mat, side, folder)
        return capture, read_photo_set(folder)
    return None, None


def _photo_rows(walk: Walk, capture: WrittenCapture | None) -> Iterator[dict]:
    estimated = dict(zip(capture.names, capture.cameras, strict=True)) if capture else {}
    for view, true in enumerate(walk.cameras_on_mat):
        row: dict = {
            "view": view,
            "mat": walk.surface,
            "board": float(walk.visible_corners(view).mean()) if walk.mat else np.nan,
        }
        camera = estimated.get(f"{view:02d}.jpg")
        if camera is None:
            yield row | {"solved": False, "mm": np.nan, "degrees": np.nan, "focal": np.nan}
            continue
        rotation = Rotation.from_matrix(camera.extrinsics[:3, :3] @ true.extrinsics[:3, :3].T)
        yield row | {
            "solved": True,
            "mm": 1000 * float(np.linalg.norm(camera.position - true.position)),
            "degrees": float(np.rad2deg(rotation.magnitude())),
            "focal": float(camera.intrinsics[0, 0] / true.intrinsics[0, 0] - 1),
        }


def _exact_capture(walk: Walk) -> PhotoSet:
    """The photos, undistorted with the true lens, and the true cameras in the frame of the foot."""
    coefficients = np.array([walk.lens.distortion, 0, 0, 0, 0])
    pairs = zip(walk.images(), walk.cameras, strict=True)
    photos = [undistort(np.asarray(image), camera, coefficients) for image, camera in pairs]
    names = [f"{number:02d}.jpg" for number in range(len(photos))]
    return photo_set_from_arrays(photos, walk.cameras, names, walk.foot.side, scale="rendered")


def _fit_rows(
    walk: Walk,
    weights: PretrainedModel,
    way: str,
    photo_set: PhotoSet | None,
    pose: Float[np.ndarray, "4 4"],
    counts: Sequence[int],
) -> Iterator[dict]:
    """Measures and verdicts from numbers of photos; the largest of ``counts`` takes all photos that have a camera.

    Args:
        pose: the true pose of the foot in the frame of the cameras.
    """
    true = true_measures(walk.foot)
    solid = voxelise(walk.foot.solid.vertices, walk.foot.solid.faces, FOOT_CUBE).volume
    solid[:, round(FOOT_SHARE * len(solid)) :] = False
    for views in counts:
        measures, half_widths, overlap, verdict = {}, {}, np.nan, "not usable"
        available = len(photo_set.photos) if photo_set else 0
        if photo_set and (views <= available or views == counts[-1]):
            some = photo_set.subset(evenly_spaced(available, min(views, available)))
            with contextlib.suppress(ValueError):  # no foot found
                judged = reconstruct_and_judge(weights, some, cameras="noted" if way == "noted" else "exact")
                overlap, verdict = iou(solid_in_frame(judged.foot, pose), solid), judged.verdict.level
                if judged.measured:
                    measures, half_widths = dict(judged.measured.measures.items()), judged.measured.half_widths
        for name in MEASURE_NAMES:
            title = name.replace("_", " ")
            values = {"found": measures.get(title, np.nan), "within": half_widths.get(name, np.nan), "iou": overlap}
            yield {
                "way": way,
                "views": views,
                "measure": title,
                "truth": true[name],
                **values,
                "verdict": verdict,
                "mat": walk.surface,
            }
