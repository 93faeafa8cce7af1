"""Reconstructions of the feet of validation people, on which intervals and verdicts are calibrated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import trimesh
from jaxtyping import Bool, Float
from torch import Tensor

from p2vlib.data import augmentation
from p2vlib.data.dataset import evenly_spaced
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_CUBE_EDGE, FOOT_SHARE, SIDES
from p2vlib.geometry.grids import iou, voxelise
from p2vtools.executor import run_jobs
from p2vtools.fit import camera_alignment, pretrained, uncertainty, verdict
from p2vtools.fit.measure import measure_foot
from p2vtools.fit.photo_set import PhotoSet, read_photo_set
from p2vtools.fit.placement import pose_matrix
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.reconstruct import ReconstructedFoot, reconstruct
from p2vtools.fit.surface_correction import correct_surface
from p2vtools.fit.uncertainty import CALIBRATED_SIZE, CALIBRATION_KEY
from p2vtools.study.verdict_limits import fit_verdict

DOMAINS = ("phone", "wild")
"""Domains whose validation people are used, if their captures exist."""

PHOTO_COUNTS = (1, 2, 4, 8)
"""Numbers of photos of a reconstruction."""

START = (0.03, 20.0)
"""Largest distance of a foot from the start of the search, metres, and its largest turn, degrees."""

FAULTS = ("far away", "wrong cameras", "wrong side")
"""Faults that are introduced into some captures, so that there are failures to recognise."""

FAR_AWAY = (0.07, 0.15)
"""Range of the distance of the cube from the foot in a capture with the fault ``far away``, metres."""

WRONG_CAMERAS = (6.0, 0.02)
"""Standard deviations of the camera errors with the fault ``wrong cameras``: about (degrees) and along (metres) each
axis."""

THRESHOLDS = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65)
"""Candidates of `choose_threshold`."""


def validation_folders(feet: Path) -> list[Path]:
    """One foot of every validation person in each of `DOMAINS`, left and right in turn."""
    folders = []
    for domain in DOMAINS:
        people = sorted({path.name.rsplit("-", 1)[0] for path in (feet / domain).glob("*-validation-*")})
        folders += [feet / domain / f"{person}-{SIDES[number % 2]}" for number, person in enumerate(people)]
    return folders


def reconstruct_validation_feet(weights: PretrainedModel, folders: Sequence[Path]) -> pd.DataFrame:
    """Reconstructs the feet in capture folders from 1, 2, 4 and 8 photos, in parallel.

    The foot is displaced from the start of the search and has to be found. Each foot has one further row: half of the
    feet with a fault of the capture (`FAULTS`), the others with cameras noted by hand.

    Returns:
        One row per reconstruction: sample, subject, domain, photos (that were used), class (`photo_class`), fault
        (empty: none), iou (with the true solid at 32^3; NaN: not a foot), the features of `verdict.FEATURES`, side,
        mesh (its surface; None: not a foot), measures (`uncertainty.uncalibrated_measures`) and truth (measurement ->
        mm).
    """
    jobs = [(weights, folder, number) for number, folder in enumerate(folders)]
    results = run_jobs(rows_of_foot, jobs, "validation feet", "foot")
    return pd.DataFrame([row for rows in results for row in rows])


def rows_of_foot(weights: PretrainedModel, folder: Path, number: int) -> list[dict[str, Any]]:
    """The rows of one foot in `reconstruct_validation_feet`.

    Args:
        number: position of ``folder`` in the list of folders; it determines the further row.
    """
    rng, every_photo = np.random.default_rng([0, number]), read_photo_set(folder)
    available = len(every_photo.photos)
    cases = [(count, "", "exact") for count in PHOTO_COUNTS if count <= available]
    if number % 4 in (1, 2):  # left and right feet alternate in `validation_folders`, so both come in both
        cases.append((int(rng.integers(2, available + 1)), "", "noted"))
    else:
        cases.append((min(available, int(rng.choice(PHOTO_COUNTS))), FAULTS[number // 2 % len(FAULTS)], "exact"))
    mesh = trimesh.load_mesh(folder / "model.obj", process=False)
    truth = vars(measure_foot(mesh, every_photo.side)[0])
    solid = voxelise(mesh.vertices - every_photo.initial_position, mesh.faces, FOOT_CUBE).volume
    rows = []
    for count, fault, cameras in cases:
        some = every_photo.subset(evenly_spaced(available, count))
        photo_set, pose = _displace(some, fault, cameras, rng)
        row = {"sample": folder.name, "subject": folder.name.rsplit("-", 1)[0], "domain": folder.parent.name}
        row |= {"side": photo_set.side, "fault": fault, "photos": count, "truth": truth}
        row |= {"class": uncertainty.photo_class(count, cameras)}
        rows.append(row | _judge_reconstruction(weights, photo_set, pose, solid, fault == "far away", cameras))
    return rows


def _displace(
    photo_set: PhotoSet, fault: str, cameras: str, rng: np.random.Generator
) -> tuple[PhotoSet, Float[np.ndarray, "4 4"]]:
    """The capture with camera errors and with its foot displaced from the start of the search; the pose of the foot."""
    noise = WRONG_CAMERAS if fault == "wrong cameras" else camera_alignment.CAMERA_NOISE["a mat"]
    if cameras == "noted":
        noisy = change_cameras(photo_set, camera_alignment.note_by_hand, rng)
    else:
        noisy = perturb_cameras(photo_set, *noise, rng)
    if fault == "wrong side":
        noisy = replace(noisy, side=SIDES[1 - SIDES.index(photo_set.side)])
    return displace_foot(noisy, rng, FAR_AWAY if fault == "far away" else (0.0, START[0]), START[1])


def _judge_reconstruction(
    weights: PretrainedModel,
    photo_set: PhotoSet,
    pose: Float[np.ndarray, "4 4"],
    solid: Bool[np.ndarray, "x y z"],
    is_given: bool,
    cameras: str,
) -> dict[str, Any]:
    """IoU, features, mesh, measures and photos used of one reconstruction.

    Args:
        pose, solid: of the true foot.
    """
    try:
        placement = "given" if is_given else "found"
        foot, photo_set, _ = verdict.reconstruct_consistent(weights, photo_set, CALIBRATED_SIZE, placement, cameras)
        table, halves_iou = uncertainty.uncalibrated_measures(weights, photo_set, foot, cameras)
    except ValueError:  # no foot found, or not a foot: not usable without any limit
        return {"iou": np.nan, "mesh": None, "measures": None}
    features = verdict.reconstruction_features(weights, foot, halves_iou, photo_set.side)
    # Aligned cameras are in the frame of the reconstructed foot; in others the true pose is known.
    is_aligned = cameras == "noted" and foot.placement is None
    overlap = iou(solid_in_frame(foot, foot.pose if is_aligned else pose), solid)
    used = {"photos": len(photo_set.photos), "class": uncertainty.photo_class(len(photo_set.photos), cameras)}
    return features | used | {"iou": float(overlap), "mesh": foot.mesh, "measures": table}


# ---------------------------------------------------------------------------------------------------------- calibration


def choose_threshold(
    weights: PretrainedModel, folders: Sequence[Path], workers: int | None = None
) -> tuple[float, dict[float, float]]:
    """Chooses the occupancy from which a voxel is solid, on the grid of the results (`CALIBRATED_SIZE`).

    On the coarser grid of the network a lower threshold is the best, at which the solids of the finer grid are too
    large. The feet in the capture folders are reconstructed from all photos, with given placement, in parallel.

    Returns:
        The threshold of `THRESHOLDS` with the highest mean IoU, and the mean IoU of each.
    """
    scores = run_jobs(iou_by_threshold, [(weights, folder) for folder in folders], "threshold", "foot", workers)
    means = dict(zip(THRESHOLDS, np.mean(scores, axis=0).round(4).tolist(), strict=True))
    return max(means, key=lambda threshold: means[threshold]), means


def iou_by_threshold(weights: PretrainedModel, folder: Path) -> list[float]:
    """IoU of the foot in a capture folder with its true solid at `CALIBRATED_SIZE`, for each of `THRESHOLDS`."""
    photo_set, mesh = read_photo_set(folder), trimesh.load_mesh(folder / "model.obj", process=False)
    vertices = mesh.vertices - photo_set.initial_position
    truth = voxelise(vertices, mesh.faces, FOOT_CUBE, CALIBRATED_SIZE).volume
    probability = reconstruct(weights, photo_set, CALIBRATED_SIZE, "given").probability
    return [float(iou(probability >= threshold, truth)) for threshold in THRESHOLDS]


def calibrate(path: Path, rows: pd.DataFrame) -> dict[str, Any]:
    """Adds the calibration of intervals and the limits of the verdict to the card at ``path``; returns the entries.

    Args:
        rows: `reconstruct_validation_feet` of validation people.
    """
    entries = {CALIBRATION_KEY: fit_intervals(rows), verdict.VERDICT_KEY: fit_verdict(rows)}
    pretrained.update_card(path, entries)
    return entries


def fit_intervals(rows: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """`photo_class` -> measurement -> softness and factor, from the captures without a fault.

    The errors from which a factor is chosen are those of people on whom the correction was not fitted: the people are
    split into halves, the softness of each half corrects the other, and the factors are fitted on both together.

    Raises:
        ValueError: a class without people in one of the halves.
    """
    feet = rows[(rows.fault == "") & rows.mesh.notna()]
    people = np.unique(feet.subject)
    half = np.searchsorted(people, feet.subject) // 2 % 2  # by pairs: left and right feet alternate
    classes = [set(feet["class"][half == number]) for number in (0, 1)]
    if classes[0] != classes[1]:
        raise ValueError(
            f"{len(people)} people are too few to calibrate intervals; expected some of each class in both halves"
        )
    parts = [
        corrected_rows(feet[half != fitted], uncertainty.fit_softness(measure_rows(feet[half == fitted])))
        for fitted in (0, 1)
    ]
    factors, softness = uncertainty.fit_factors(pd.concat(parts)), uncertainty.fit_softness(measure_rows(feet))
    return {
        photos: {name: {"softness": softness[photos][name], "factor": factor} for name, factor in by_name.items()}
        for photos, by_name in factors.items()
    }


def measure_rows(feet: pd.DataFrame) -> pd.DataFrame:
    """One row per foot and measurement: class, domain, sample, subject, measure, truth and the columns of its table."""
    tables = []
    for foot in feet.to_dict("records"):
        labels = {name: foot[name] for name in ("class", "domain", "sample", "subject")}
        tables.append(foot["measures"].assign(truth=foot["measures"].index.map(foot["truth"]), **labels))
    return pd.concat(tables).rename_axis("measure").reset_index()


def corrected_rows(feet: pd.DataFrame, softness: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """`measure_rows` with the values measured on the corrected surfaces."""
    tables = []
    for foot in feet.to_dict("records"):
        calibration = {name: {"softness": value} for name, value in softness[foot["class"]].items()}
        targets = uncertainty.corrected_targets(foot["measures"], calibration)
        measures = vars(measure_foot(correct_surface(foot["mesh"], foot["side"], targets), foot["side"])[0])
        tables.append(foot["measures"].assign(value=pd.Series(measures)))
    return measure_rows(feet.assign(measures=tables))


# -------------------------------------------------------------------------------------------------------- displacement


def solid_in_frame(
    foot: ReconstructedFoot, pose: Float[np.ndarray, "4 4"], size: int = 32
) -> Bool[np.ndarray, "x y z"]:
    """Resamples the solid of ``foot`` on the grid of a foot with the true ``pose``, by linear interpolation."""
    from scipy.ndimage import map_coordinates

    to_foot = np.linalg.inv(foot.pose) @ pose
    points = FOOT_CUBE.voxel_centres(size).reshape(-1, 3) @ to_foot[:3, :3].T + to_foot[:3, 3]
    indices = (points - FOOT_CUBE.lower) / FOOT_CUBE.edge * len(foot.probability) - 0.5
    volume = map_coordinates(foot.probability, indices.T, order=1, cval=0.0).reshape((size,) * 3)
    volume[:, round(FOOT_SHARE * size) :] = 0
    return volume >= foot.threshold


def displace_foot(
    photo_set: PhotoSet, rng: np.random.Generator, distances: tuple[float, float] = (0.0, 0.04), turn: float = 30.0
) -> tuple[PhotoSet, Float[np.ndarray, "4 4"]]:
    """Moves the foot of a capture on the floor, away from the start of the search.

    Args:
        distances: smallest and largest distance, metres.
        turn: largest angle to both sides, degrees.

    Returns:
        The capture, and the pose of the foot in the frame of its cameras.
    """
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(*np.square(distances)) ** 0.5
    pose = pose_matrix(rng.uniform(-turn, turn), distance * np.array([np.cos(angle), 0, np.sin(angle)]))
    return move_start(photo_set, np.linalg.inv(pose)), pose


def move_start(photo_set: PhotoSet, error: Float[np.ndarray, "4 4"]) -> PhotoSet:
    """The capture in the frame of a start that is off by ``error`` from a foot at `initial_position`, toes along +x."""
    to_foot = pose_matrix(0.0, photo_set.initial_position) @ error
    moved = [replace(camera, extrinsics=camera.extrinsics @ to_foot) for camera in photo_set.cameras]
    return replace(photo_set, cameras=moved, initial_position=np.zeros(3))


def perturb_cameras(photo_set: PhotoSet, degrees: float, metres: float, rng: np.random.Generator) -> PhotoSet:
    """Adds independent noise to the pose of every camera.

    Args:
        degrees, metres: standard deviations about and along each axis of the camera.
    """
    change = partial(augmentation.perturb_cameras, degrees=degrees, shift=metres / FOOT_CUBE_EDGE, share=False)
    return change_cameras(photo_set, change, rng)


def change_cameras(photo_set: PhotoSet, change: Callable[..., Tensor], rng: np.random.Generator) -> PhotoSet:
    """``photo_set`` with the poses that ``change`` makes of its cameras (`Camera.normalised`).

    Args:
        change: its arguments are ``cameras``, of the shape (1, views, 3, 7), and ``generator``.
    """
    normalised = [camera.normalised(FOOT_CUBE, (0, 0, camera.width, camera.height)) for camera in photo_set.cameras]
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    changed = change(torch.tensor(np.stack(normalised), dtype=torch.float32)[None], generator=generator)[0].numpy()
    poses = np.tile(np.eye(4), (len(changed), 1, 1))
    poses[:, :3, :3] = changed[..., 3:6]
    poses[:, :3, 3] = FOOT_CUBE.edge * changed[..., 6] - poses[:, :3, :3] @ np.array(FOOT_CUBE.lower)
    cameras = [replace(camera, extrinsics=pose) for camera, pose in zip(photo_set.cameras, poses, strict=True)]
    return replace(photo_set, cameras=cameras)
