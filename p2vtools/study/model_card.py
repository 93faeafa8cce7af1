"""What `reconstruct` gives on feet whose truth is known: what the card of the weights says of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import trimesh
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from scipy.spatial.transform import Rotation

from p2vlib import progress
from p2vlib.config import Config
from p2vlib.data import dataset
from p2vlib.data.capture_folder import PhotoSet, evenly_spaced, read_photo_set
from p2vlib.evaluation import bootstrap_interval, iou_at, predict
from p2vlib.files import write_atomically
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_SHARE
from p2vlib.geometry.grids import iou, voxelise
from p2vlib.provenance import data_folder
from p2vtools import viewer
from p2vtools.executor import run_jobs
from p2vtools.fit import camera_alignment, pretrained, uncertainty
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.reconstruct import ReconstructedFoot, pose_matrix, reconstruct
from p2vtools.fit.uncertainty import CALIBRATED_SIZE, CALIBRATION_KEY
from p2vtools.synthesis.collection import MAT_DOMAIN, build_collection
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.landmarks import true_measures
from p2vtools.synthesis.feet.population import sample_population

CAPTURE_SETTINGS = {
    "a mat's cameras, foot found": ("phone", "a mat"),
    "exact cameras, placement given": ("phone", None),
    "on a mat, its cameras, foot found": (MAT_DOMAIN, "a mat"),
}
"""How feet of the test are captured to be measured -> their look, and who measured the cameras (`measured_foot`)."""


def solid_in_frame(
    foot: ReconstructedFoot, pose: Float[np.ndarray, "4 4"], size: int = 32
) -> Bool[np.ndarray, "x y z"]:
    """The solid of ``foot`` on the grid of a foot whose true ``pose`` is known, interpolated."""
    from scipy.ndimage import map_coordinates

    there = np.linalg.inv(foot.pose) @ pose
    points = FOOT_CUBE.voxel_centres(size).reshape(-1, 3) @ there[:3, :3].T + there[:3, 3]
    places = (points - FOOT_CUBE.lower) / FOOT_CUBE.edge * len(foot.probability) - 0.5
    volume = map_coordinates(foot.probability, places.T, order=1, cval=0.0).reshape((size,) * 3)
    volume[:, round(FOOT_SHARE * size) :] = 0
    return volume >= foot.threshold


def evaluate_reconstruction(weights: PretrainedModel, folders: Sequence[Path], seed: int = 0) -> pd.DataFrame:
    """How well unseen feet are reconstructed from all photos of their capture folders: a row a foot.

    Columns: sample, subject, iou (placement given), iou at 128 (likewise), found (IoU when the foot stands up to 4 cm
    and 30 degrees away from where the capture says, in the foot's own frame), degrees and mm that it is then placed
    wrong, seconds at 32 and at 128.
    """
    rng, rows = np.random.default_rng(seed), []
    for folder in progress.bar(folders, "feet", unit="foot"):
        shots, mesh = read_photo_set(folder), trimesh.load_mesh(folder / "model.obj", process=False)
        truth = {size: voxelise(mesh.vertices, mesh.faces, FOOT_CUBE, size).volume for size in (32, 128)}
        given = reconstruct(weights, shots, 128, "given")
        coarse = reconstruct(weights, shots, 32, "given")
        shots, pose = displace_foot(shots, rng)
        began = time.perf_counter()
        found = reconstruct(weights, shots, 32)
        seconds = time.perf_counter() - began
        reconstruct(weights, shots, 128)
        slower = time.perf_counter() - began - seconds
        off = np.linalg.inv(found.pose) @ pose
        rows.append(
            {
                "sample": folder.name,
                "subject": folder.name.rsplit("-", 1)[0],
                "iou": iou(coarse.solid, truth[32]),
                "iou at 128": iou(given.solid, truth[128]),
                "found": iou(solid_in_frame(found, pose), truth[32]),
                "degrees": float(np.rad2deg(np.arctan2(off[2, 0], off[0, 0]))),
                "mm": float(1000 * np.hypot(off[0, 3], off[2, 3])),
                "seconds": seconds,
                "seconds at 128": slower,
            }
        )
    return pd.DataFrame(rows)


def displace_foot(shots: PhotoSet, rng: np.random.Generator) -> tuple[PhotoSet, Float[np.ndarray, "4 4"]]:
    """A capture whose foot stands up to 4 cm and 30 degrees away from where it is looked for, and its true pose."""
    angle, away = rng.uniform(0, 2 * np.pi), 0.04 * rng.uniform() ** 0.5
    pose = pose_matrix(rng.uniform(-30, 30), away * np.array([np.cos(angle), 0, np.sin(angle)]))
    back = np.linalg.inv(pose)
    moved = [replace(camera, extrinsics=camera.extrinsics @ back) for camera in shots.cameras]
    return replace(shots, cameras=moved, initial_position=np.zeros(3)), pose


def perturb_cameras(shots: PhotoSet, degrees: float, metres: float, rng: np.random.Generator) -> PhotoSet:
    """A capture whose cameras were measured with an error of their own each: standard deviations about and along the
    camera's axes."""
    cameras = []
    for camera in shots.cameras:
        wrong = np.eye(4)
        wrong[:3, :3] = Rotation.from_euler("xyz", rng.normal(scale=degrees, size=3), degrees=True).as_matrix()
        wrong[:3, 3] = rng.normal(scale=metres, size=3)
        cameras.append(replace(camera, extrinsics=wrong @ camera.extrinsics))
    return replace(shots, cameras=cameras)


def true_capture_measures(folder: Path) -> dict[str, float]:
    """The measures of the foot in a rendered capture folder, by anny's landmarks (`capture.landmarks`), mm."""
    subject = json.loads((folder / "subject.json").read_text())
    (person,) = sample_population(subject["recipe"]["seed"], 1, first=subject["recipe"]["index"])
    return true_measures(make_feet(person)[subject["side"]])


def measure_captures(
    weights: PretrainedModel, folders: Sequence[Path], who: str | None = "a mat", seed: int = 0
) -> pd.DataFrame:
    """`readings` of unseen feet, `measured_foot` each: a row a foot and measure."""
    jobs = [(weights, folder, who, np.random.default_rng([seed, number])) for number, folder in enumerate(folders)]
    return pd.concat(run_jobs(measure_capture, jobs, "feet measured", "foot"), ignore_index=True)


def measure_capture(weights: PretrainedModel, folder: Path, who: str | None, rng: np.random.Generator) -> pd.DataFrame:
    """What `uncertainty.readings` says of the foot in a capture folder beside the truth: a row a measure.

    Args:
        who: measured the cameras (`rough.NOISE`), and the foot is to be found (`elsewhere`); None: cameras and
            placement are exact.

    Columns: sample, subject, measure, value, grid, surface, photos, scale, truth (mm).
    """
    shots = read_photo_set(folder)
    if who:
        shots, _ = displace_foot(perturb_cameras(shots, *camera_alignment.CAMERA_NOISE[who], rng), rng)
    foot = reconstruct(weights, shots, CALIBRATED_SIZE, "found" if who else "given")
    table = uncertainty.uncalibrated_measures(weights, shots, foot).rename_axis("measure").reset_index()
    truth = table.measure.map(true_capture_measures(folder))
    return table.assign(sample=folder.name, subject=folder.name.rsplit("-", 1)[0], truth=truth)


def measure_errors(rows: pd.DataFrame, known: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """How far measures were off (`measured`) before and after the corrections of ``known`` (`uncertainty.fitted`), mm,
    and how many of them were inside their interval."""
    told = {}
    for name, one in rows.groupby("measure", sort=False):
        off = one.value - one.truth
        left = off + uncertainty.predict_correction(one.set_index("measure"), known).to_numpy()
        within = known[name]["factor"] * one.scale
        told[str(name).replace("_", " ")] = {
            "uncorrected, mean": round(float(off.mean()), 2),
            "mean": round(float(left.mean()), 2),
            "median of its size": round(float(left.abs().median()), 2),
            "95 % within": round(float(left.abs().quantile(0.95)), 2),
            "interval, mean": round(float(within.mean()), 2),
            "inside": round(float((left.abs() <= within).mean()), 3),
        }
    return told


def summarise_reconstruction(rows: pd.DataFrame) -> dict[str, object]:
    """What `examine` found, as a card says it."""
    told: dict[str, object] = {"feet": len(rows)}
    for column in ("iou", "iou at 128", "found"):
        told[column] = [
            round(value, 4) for value in bootstrap_interval(rows[column].to_numpy(), rows.subject.to_numpy())
        ]
    told["placed wrong, median degrees"] = round(float(rows.degrees.abs().median()), 2)
    told["placed wrong, median mm"] = round(float(rows.mm.median()), 2)
    told["seconds"] = round(float(rows.seconds.median()), 2)
    told["seconds at 128"] = round(float(rows["seconds at 128"].median()), 2)
    return told


def complete_card(path: Path, config: Config) -> dict[str, object]:
    """Adds to the card at ``path`` what capture folders give, and what wrong cameras cost; draws its picture.

    Measures are calibrated on floors and mats alike.
    """
    feet, weights = data_folder("feet", config.scale), pretrained.load_pretrained(path)
    known = [folder for look in ("phone", MAT_DOMAIN) for folder in sorted((feet / look).glob("person-validation-*"))]
    folders = {look: sorted((feet / look).glob("person-test-*")) for look in ("phone", MAT_DOMAIN)}
    tested = {
        title: measure_captures(weights, folders[look], who, seed=1) for title, (look, who) in CAPTURE_SETTINGS.items()
    }
    told = calibrate_card(path, measure_captures(weights, known), tested)
    weights = pretrained.load_pretrained(path)
    tested = evaluate_reconstruction(weights, folders["phone"])
    told |= {
        "reconstruct, all photos of unseen feet": summarise_reconstruction(tested),
        "wrong cameras": camera_noise_scores(weights, config),
    }
    pretrained.update_card(path, told)
    picture = card_figure(weights, tested, feet / "phone")
    write_atomically(path.with_suffix(".png"), lambda partial: picture.savefig(partial, dpi=110))
    return told


def calibrate_card(path: Path, known: pd.DataFrame, tested: Mapping[str, pd.DataFrame]) -> dict[str, object]:
    """Adds to the card at ``path`` how measures are corrected and how sure they are, and what that is worth.

    Args:
        known: validation people, `measured`; both come from them.
        tested: people of the test, likewise, by how they were captured.
    """
    told: dict[str, object] = {CALIBRATION_KEY: uncertainty.fit_calibration(known)}
    told["measures, mm"] = {title: measure_errors(rows, told[CALIBRATION_KEY]) for title, rows in tested.items()}
    pretrained.update_card(path, told)
    return told


def camera_noise_scores(weights: PretrainedModel, config: Config) -> dict[str, float]:
    """IoU on the test people with all photos by how well the cameras are known; placement true."""
    build_collection(config)
    feet = dataset.load_feet(config, "phone").select(light="drift")
    test, learnt = feet.select(split="test"), feet.select(split="train")
    every = range(test.photos.shape[1])
    told = {}
    for who, (degrees, metres) in {"true": (0.0, 0.0), **camera_alignment.CAMERA_NOISE}.items():
        volumes = predict(weights.model, camera_alignment.add_camera_noise(test, degrees, metres), every)
        title = who if who == "true" else f"of {who}: {degrees} degrees, {1000 * metres:.0f} mm"
        told[title] = float(iou_at(volumes, test.truth, (weights.threshold,)).mean())
    by_hand = camera_alignment.alignment_table(weights.model, test, learnt, weights.threshold, {"known": 0.0}).iloc[0]
    told["noted by hand, focal length known"] = by_hand["rough"]
    told["and realigned by silhouettes"] = by_hand["realigned"]
    told["and at the best scale"] = by_hand["realigned, best scale"]
    return {title: round(float(value), 4) for title, value in told.items()}


def card_figure(weights: PretrainedModel, rows: pd.DataFrame, feet: Path, size: int = 128) -> Figure:
    """The best, the median and the worst of the feet that were examined (`examine`), placement given."""
    ranked = rows.sort_values("iou at 128")["sample"].tolist()
    panels = []
    for title, sample in (("best", ranked[-1]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[0])):
        shots, mesh = read_photo_set(feet / sample), trimesh.load_mesh(feet / sample / "model.obj", process=False)
        truth = voxelise(mesh.vertices, mesh.faces, FOOT_CUBE, size).volume
        photos = [np.asarray(shots.photos[i]) for i in evenly_spaced(len(shots.photos), min(4, len(shots.photos)))]
        found = reconstruct(weights, shots, size, "given").solid
        panels.append(viewer.Panel(f"{title}\n{sample}", photos, truth, {f"{len(shots.photos)} photos": found}))
    return viewer.panels(panels)
