"""Evaluation of the pretrained weights on feet with known truth: the results that their card reports."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import trimesh
from matplotlib.figure import Figure

from p2vlib import progress
from p2vlib.config import Config
from p2vlib.data import dataset
from p2vlib.data.dataset import evenly_spaced
from p2vlib.evaluation import iou_at, predict
from p2vlib.files import write_atomically, write_text
from p2vlib.geometry.frames import FOOT_CUBE
from p2vlib.geometry.grids import iou, voxelise
from p2vlib.provenance import data_folder
from p2vtools import viewer
from p2vtools.archives.capture_folder import read_subject
from p2vtools.executor import run_jobs
from p2vtools.fit import camera_alignment, pretrained
from p2vtools.fit.measure import measure_foot
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.reconstruct import reconstruct
from p2vtools.fit.uncertainty import CALIBRATED_SIZE, MEASURE_NAMES
from p2vtools.fit.verdict import reconstruct_and_judge
from p2vtools.study import groups, validation_feet
from p2vtools.study.intervals import bootstrap_interval
from p2vtools.study.seeds import design_digest
from p2vtools.synthesis.collection import MAT_DOMAIN, WILD_DOMAIN, build_collection
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.landmarks import true_measures
from p2vtools.synthesis.feet.population import sample_population

CAPTURE_SETTINGS = {
    "a mat's cameras, foot found": ("phone", "a mat"),
    "exact cameras, placement given": ("phone", None),
    "on a mat, its cameras, foot found": (MAT_DOMAIN, "a mat"),
    "in the wild, a mat's cameras, foot found": (WILD_DOMAIN, "a mat"),
}
"""Title -> (domain of the photos, source of the camera noise), the settings in which test feet are measured."""


MEASURES, RECONSTRUCTIONS = "measures", "reconstructions"
"""The results of single feet that `save_rows` keeps: of `measure_captures` by setting, of `evaluate_reconstruction`."""


def save_rows(path: Path, name: str, rows: pd.DataFrame) -> Path:
    """Writes the rows from which the card of the weights at ``path`` is computed to a CSV file beside it."""
    file = path.with_name(f"{path.stem}-{name}.csv")
    write_text(file, rows.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    return file


def evaluate_reconstruction(weights: PretrainedModel, folders: Sequence[Path]) -> pd.DataFrame:
    """Reconstructs feet from all photos of their capture folders.

    Returns:
        One row per foot: sample, subject, iou and iou at 128 (given placement), found (IoU in the frame of the foot
        when it has to be found, up to 4 cm and 30 degrees away from its nominal place), degrees and mm (error of that
        placement), seconds and seconds at 128.
    """
    rng, rows = np.random.default_rng(0), []
    for folder in progress.bar(folders, "feet", unit="foot"):
        photo_set, mesh = read_photo_set(folder), trimesh.load_mesh(folder / "model.obj", process=False)
        truth = {size: voxelise(mesh.vertices, mesh.faces, FOOT_CUBE, size).volume for size in (32, 128)}
        fine = reconstruct(weights, photo_set, 128, "given")
        coarse = reconstruct(weights, photo_set, 32, "given")
        photo_set, pose = validation_feet.displace_foot(photo_set, rng)
        began = time.perf_counter()
        found = reconstruct(weights, photo_set, 32)
        seconds = time.perf_counter() - began
        reconstruct(weights, photo_set, 128)
        seconds_fine = time.perf_counter() - began - seconds
        error = np.linalg.inv(found.pose) @ pose
        rows.append(
            {
                "sample": folder.name,
                "subject": folder.name.rsplit("-", 1)[0],
                "iou": iou(coarse.solid, truth[32]),
                "iou at 128": iou(fine.solid, truth[128]),
                "found": iou(validation_feet.solid_in_frame(found, pose), truth[32]),
                "degrees": float(np.rad2deg(np.arctan2(error[2, 0], error[0, 0]))),
                "mm": float(1000 * np.hypot(error[0, 3], error[2, 3])),
                "seconds": seconds,
                "seconds at 128": seconds_fine,
            }
        )
    return pd.DataFrame(rows)


def true_capture_measures(folder: Path) -> dict[str, float]:
    """The true measures of the foot in a rendered capture folder, mm.

    They come from the landmarks of the body model. These do not hold for people of wide variety (domain ``wild``), so
    their feet are measured on the true mesh.
    """
    subject = read_subject(folder)
    if subject["look"] == WILD_DOMAIN:
        return vars(measure_foot(trimesh.load_mesh(folder / "model.obj", process=False), subject["side"])[0])
    (person,) = sample_population(subject["recipe"]["seed"], 1, first=subject["recipe"]["index"])
    return true_measures(make_feet(person)[subject["side"]])


def measure_captures(weights: PretrainedModel, folders: Sequence[Path], noise: str | None = "a mat") -> pd.DataFrame:
    """`measure_capture` of several folders in parallel: one row per foot and measure."""
    jobs = [(weights, folder, noise, np.random.default_rng([1, number])) for number, folder in enumerate(folders)]
    return pd.concat(run_jobs(measure_capture, jobs, "feet measured", "foot"), ignore_index=True)


def measure_capture(
    weights: PretrainedModel, folder: Path, noise: str | None, rng: np.random.Generator
) -> pd.DataFrame:
    """The measures of the foot in a capture folder before and after correction, with their intervals and the truth.

    They are those of `p2v reconstruct` (`reconstruct_and_judge`), which leaves out photos that disagree with the others
    or do not see the foot.

    Args:
        noise: key of `camera_alignment.CAMERA_NOISE`; the foot is then displaced and has to be found. None: exact
            cameras and given placement.

    Returns:
        One row per measure: measure, uncorrected, value, half_width, truth (mm), sample, subject. All but the truth are
        NaN if the solid cannot be measured as a foot.
    """
    photo_set = read_photo_set(folder)
    if noise:
        perturbed = validation_feet.perturb_cameras(photo_set, *camera_alignment.CAMERA_NOISE[noise], rng)
        photo_set, _ = validation_feet.displace_foot(perturbed, rng)
    judged = reconstruct_and_judge(weights, photo_set, CALIBRATED_SIZE, "found" if noise else "given")
    columns: dict[str, dict[str, float]] = {"uncorrected": {}, "value": {}, "half_width": {}}
    columns["truth"] = true_capture_measures(folder)
    if judged.measured:
        uncorrected = measure_foot(replace(judged.foot, corrected_surface=None).mesh, photo_set.side)[0]
        columns |= {"uncorrected": vars(uncorrected), "value": vars(judged.measured.measures)}
        columns["half_width"] = judged.measured.half_widths
    table = pd.DataFrame(columns, index=list(MEASURE_NAMES), dtype=float).rename_axis("measure").reset_index()
    return table.assign(sample=folder.name, subject=folder.name.rsplit("-", 1)[0])


def measure_errors(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Errors of `measure_captures` before and after correction, mm, and the coverage of the intervals, by measure.

    Feet that could not be measured count as outside of their intervals and are in no other column.
    """
    summary = {}
    for name, part in rows.groupby("measure", sort=False):
        error = part.value - part.truth
        summary[str(name).replace("_", " ")] = {
            "uncorrected, mean": round(float((part.uncorrected - part.truth).mean()), 2),
            "mean": round(float(error.mean()), 2),
            "median of its size": round(float(error.abs().median()), 2),
            "95 % within": round(float(error.abs().quantile(0.95)), 2),
            "interval, mean": round(float(part.half_width.mean()), 2),
            "inside": round(float((error.abs() <= part.half_width).mean()), 3),
        }
    return summary


def summarise_reconstruction(rows: pd.DataFrame) -> dict[str, object]:
    """The entries of the card for the rows of `evaluate_reconstruction`."""
    entries: dict[str, object] = {"feet": len(rows)}
    for column in ("iou", "iou at 128", "found"):
        interval = bootstrap_interval(rows[column].to_numpy(), rows.subject.to_numpy())
        entries[column] = [round(value, 4) for value in interval]
    errors = {"placed wrong, median degrees": rows.degrees.abs(), "placed wrong, median mm": rows.mm}
    for title, values in (errors | {name: rows[name] for name in ("seconds", "seconds at 128")}).items():
        entries[title] = round(float(values.median()), 2)
    return entries


def complete_card(path: Path, config: Config) -> dict[str, object]:
    """Adds the results on capture folders and the effect of camera noise to the card at ``path``; draws its figure.

    Returns:
        The new entries. The threshold is chosen, and intervals and verdicts are calibrated, on validation people
        (`validation_feet`).
    """
    feet = data_folder("feet", config.scale)
    domains = [groups.NEVER_SEEN, *(domain for domain, _ in CAPTURE_SETTINGS.values())]
    test = {domain: sorted((feet / domain).glob("*-test-*")) for domain in domains}
    validation = validation_feet.validation_folders(feet)
    threshold, by_threshold = validation_feet.choose_threshold(pretrained.load_pretrained(path), validation)
    entries: dict[str, object] = {"threshold": threshold, "validation IoU at 128, by threshold": by_threshold}
    pretrained.update_card(path, entries)
    rows = validation_feet.reconstruct_validation_feet(pretrained.load_pretrained(path), validation)
    entries |= validation_feet.calibrate(path, rows)
    weights = pretrained.load_pretrained(path)
    measured = {
        title: measure_captures(weights, test[domain], noise) for title, (domain, noise) in CAPTURE_SETTINGS.items()
    }
    entries["measures, mm"] = {title: measure_errors(rows) for title, rows in measured.items()}
    rows = evaluate_reconstruction(weights, test["phone"])
    save_rows(path, MEASURES, pd.concat(measured, names=["setting"]).reset_index("setting"))
    save_rows(path, groups.GROUPS, measure_groups(weights, config, test, measured))
    save_rows(path, RECONSTRUCTIONS, rows)
    entries["reconstruct, all photos of unseen feet"] = summarise_reconstruction(rows)
    entries["wrong cameras"] = camera_noise_scores(weights, config)
    entries["design"] = design_digest([__name__])
    pretrained.update_card(path, entries)
    figure = card_figure(weights, rows, feet / "phone")
    write_atomically(path.with_suffix(".png"), lambda partial: figure.savefig(partial, dpi=100))
    return entries


def measure_groups(
    weights: PretrainedModel, config: Config, test: dict[str, list[Path]], measured: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """`groups.group_rows` of the domains phone, studio and wild.

    Args:
        test: domain -> the captures of the test feet.
        measured: setting of `CAPTURE_SETTINGS` -> `measure_captures`.
    """
    lengths = {
        "phone": measured["a mat's cameras, foot found"],
        groups.NEVER_SEEN: measure_captures(weights, test[groups.NEVER_SEEN]),
        WILD_DOMAIN: measured["in the wild, a mat's cameras, foot found"],
    }
    rows = pd.concat(lengths, names=["look"]).reset_index("look")
    return groups.group_rows(weights, config, {look: test[look] for look in lengths}, rows[rows.measure == "length"])


def camera_noise_scores(weights: PretrainedModel, config: Config) -> dict[str, float]:
    """Mean IoU on test people with all photos and true placement, by the accuracy of the cameras."""
    build_collection(config)
    feet = dataset.load_feet(config, "phone").select(light="drift")
    test, train = feet.select(split="test"), feet.select(split="train")
    views = range(test.photos.shape[1])
    scores = {}
    for source, (degrees, metres) in {"true": (0.0, 0.0), **camera_alignment.CAMERA_NOISE}.items():
        volumes = predict(weights.model, camera_alignment.add_camera_noise(test, degrees, metres), views)
        title = source if source == "true" else f"of {source}: {degrees} degrees, {1000 * metres:.0f} mm"
        scores[title] = float(iou_at(volumes, test.truth, (weights.threshold,)).mean())
    noted = camera_alignment.alignment_table(weights.model, test, train, weights.threshold, {"known": 0.0}).iloc[0]
    scores["noted by hand, focal length known"] = noted["rough"]
    scores["and realigned by silhouettes"] = noted["realigned"]
    scores["and at the best scale"] = noted["realigned, best scale"]
    return {title: round(float(value), 4) for title, value in scores.items()}


def card_figure(weights: PretrainedModel, rows: pd.DataFrame, feet: Path, size: int = 128) -> Figure:
    """The best, the median and the worst foot of `evaluate_reconstruction` with given placement."""
    ranked = rows.sort_values("iou at 128")["sample"].tolist()
    panels = []
    for title, sample in (("best", ranked[-1]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[0])):
        photo_set = read_photo_set(feet / sample)
        mesh = trimesh.load_mesh(feet / sample / "model.obj", process=False)
        truth = voxelise(mesh.vertices, mesh.faces, FOOT_CUBE, size).volume
        count = len(photo_set.photos)
        photos = [np.asarray(photo_set.photos[i]) for i in evenly_spaced(count, min(4, count))]
        solid = reconstruct(weights, photo_set, size, "given").solid
        panels.append(viewer.Panel(f"{title}\n{sample}", photos, truth, {f"{count} photos": solid}))
    return viewer.panels(panels)
