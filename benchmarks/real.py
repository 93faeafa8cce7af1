"""A benchmark on real photos with hand-drawn masks, on scans of real feet, and on the project's rendered photos.

    python benchmarks/real.py --photos FOLDER --scans FOLDER [--own [FOLDER]] [--weights FILE] [--only PART,...]
                              [--cache FOLDER] [--figures FOLDER] [--json OUT]

Prints one table in Markdown, with a row for each quantity whose data are given. Parts:

photos   Single photos with a mask. FOLDER holds ``photos_dev.json`` (a list: id, side, height_width, focal_px,
         rotation_world_to_camera, translation_m, foot_xz_m, foot_yaw_rad, foot_size_of_typical, leg_lean_shear),
         ``images/<id>.jpeg`` and ``metadata/<id>.json`` (polygons of label Foot in shares of width and height).
         Score: IoU of the silhouette of the reconstructed solid with the mask, outside the leg (`scored_region`),
         for the fitted placement (right), a start 2 cm and 15 degrees beside it (kept), and found from there (found).
scans    Eight photos of each scan in FOLDER (``*.ply``, `scan_photos`), and the first scan mirrored.
factors  Four photos of the second scan, with one factor changed at a time.
people   The project's rendered photos of unseen people (folders ``person-test-*``), true placement: IoU at 32^3.
found    16 of them, with the placement found from a start 2 cm and 15 degrees beside the foot.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import scan_photos
import trimesh
from jaxtyping import Bool, Float
from PIL import Image
from scan_photos import Mask, fill, silhouette
from scipy.spatial import ConvexHull

from p2vlib import progress
from p2vlib.data.dataset import evenly_spaced
from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE, Points
from p2vlib.geometry.grids import Faces, iou, to_mesh, voxelise
from p2vlib.provenance import data_folder
from p2vtools.archives.binvox import read_binvox
from p2vtools.archives.photo_files import read_photo
from p2vtools.fit.photo_set import DEFAULT_PHOTO_SIDE, PhotoSet, read_photo_set
from p2vtools.fit.pretrained import PretrainedModel, load_pretrained
from p2vtools.fit.reconstruct import ReconstructedFoot, pose_matrix, reconstruct
from p2vtools.fit.verdict import reconstruct_and_judge
from p2vtools.study.validation_feet import move_start, solid_in_frame

Quantity = tuple[str, str, str]  # its name, target, measured value

SCORE_PIXELS = 480
"""Longer side of the masks that are compared, pixels."""

TYPICAL_LENGTH = 0.25
"""Length of the typical foot in ``foot_size_of_typical``, metres."""

LEAN_FROM = 0.07
"""Height from which ``leg_lean_shear`` leans the leg, metres."""

LEG_FROM, LEG_TO, LEG_WIDTH, LEG_GROWTH = 0.10, 0.60, 1.5, 3.0
"""The leg that is not scored: heights, metres; factor on its section, and growth per metre, towards the calf."""

DRAWS, FOUND_FEET = 2, 16
"""Starts for each real photo; number of rendered captures of the part ``found``."""

# ---------------------------------------------------------------------------------------------------------- real photos


@dataclass(frozen=True, eq=False)
class RealPhoto:
    """A photo with a mask; the frame of its camera is that of the foot where it was fitted."""

    photo_set: PhotoSet
    camera: Camera
    """At the size of the masks."""
    mask: Mask
    scored: Mask
    """Pixels outside the leg (`scored_region`)."""
    typical: float
    """IoU of the typical foot in the fitted place and size."""


def masked_iou(a: Mask, b: Mask, scored: Mask) -> float:
    """IoU of two masks over the ``scored`` pixels."""
    return float((a & b & scored).sum() / max(1, ((a | b) & scored).sum()))


def typical_surface(weights: PretrainedModel, side: str) -> tuple[Points, Faces]:
    """The typical foot, `TYPICAL_LENGTH` long, in its own frame."""
    solid = weights.typical_foot.solid.numpy()
    vertices, faces = to_mesh(solid[:, :, ::-1] if side == "right" else solid, FOOT_CUBE)
    return vertices * TYPICAL_LENGTH / scan_photos.foot_length(vertices), faces


def scored_region(foot: trimesh.Trimesh, lean: Sequence[float], camera: Camera) -> Mask:
    """Pixels in which solid and mask are compared: outside the leg above the solid's cut.

    The convex hull of the fitted typical foot's section at `LEG_FROM`, widened about its middle by `LEG_WIDTH` and by
    `LEG_GROWTH` per metre, is swept up to `LEG_TO` with the lean that was fitted to the photo: at height y it is moved
    by ``lean * (y - LEAN_FROM)`` along x and z. What it covers in the photo is left out of both silhouettes, except
    where the typical foot below `LEAN_FROM` is seen.
    """
    section = foot.section([0, 1, 0], [0, LEG_FROM, 0]).vertices[:, [0, 2]]
    ring = section[ConvexHull(section).vertices]
    heights = np.linspace(LEG_FROM, LEG_TO, 40)[:, None, None]
    widths = LEG_WIDTH + LEG_GROWTH * (heights - LEG_FROM)
    rings = ring.mean(0) + widths * (ring - ring.mean(0)) + np.array(lean) * (heights - LEAN_FROM)
    points = np.insert(rings, 1, heights[:, :, 0], axis=2)
    pixels = camera.project(points.reshape(-1, 3)).reshape(points.shape)
    slabs = [pixels[i : i + 2].reshape(-1, 3) for i in range(len(heights) - 1)]
    hulls = [slab[ConvexHull(slab[:, :2]).vertices, :2] for slab in slabs if (slab[:, 2] > 0.01).all()]
    leg = np.any([fill(hull[None], camera) for hull in hulls], axis=0)
    below = [0, -1, 0], [0, LEAN_FROM, 0]
    vertices, faces, _ = trimesh.intersections.slice_faces_plane(foot.vertices, foot.faces, *below)
    return ~leg | silhouette(vertices, faces, camera)


def read_real_photo(folder: Path, record: dict[str, Any], weights: PretrainedModel) -> RealPhoto:
    """Reads one photo of ``photos_dev.json``."""
    path = folder / "images" / f"{record['id']}.jpeg"
    photo = read_photo(path)[0].convert("RGB")
    height, width = record["height_width"]
    if photo.size != (width, height):
        raise ValueError(f"{path}: {photo.width} x {photo.height} pixels; photos_dev.json expects {width} x {height}")
    focal, extrinsics = record["focal_px"], np.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = record["rotation_world_to_camera"], record["translation_m"]
    pose = pose_matrix(np.rad2deg(record["foot_yaw_rad"]), np.insert(record["foot_xz_m"], 1, 0.0))
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    camera = Camera(intrinsics, extrinsics @ pose, width, height)
    photo.thumbnail((DEFAULT_PHOTO_SIDE, DEFAULT_PHOTO_SIDE), reducing_gap=2.0)
    photos, cameras = [photo.convert("RGBA")], [camera.resized(*photo.size)]
    photo_set = PhotoSet(photos, cameras, [path.name], record["side"], scale="noted")
    small = camera.resized(*(round(SCORE_PIXELS * side / max(width, height)) for side in (width, height)))
    foot = trimesh.Trimesh(*typical_surface(weights, record["side"]), process=False)
    foot.apply_scale(record["foot_size_of_typical"])
    scored, fitted = scored_region(foot, record["leg_lean_shear"], small), silhouette(foot.vertices, foot.faces, small)
    regions = json.loads((folder / f"metadata/{record['id']}.json").read_text("utf-8"))["region_list"]
    feet = [region["border"]["vertices"] for region in regions if region["label"]["display_name"] == "Foot"]
    masks = [fill(np.array([[[small.width * p["x"], small.height * p["y"]] for p in foot]]), small) for foot in feet]
    mask = max(masks, key=lambda mask: (mask & fitted).sum())  # not another foot in the photo
    return RealPhoto(photo_set, small, mask, scored, masked_iou(fitted, mask, scored))


def photo_rows(weights: PretrainedModel, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row per photo, start and size."""
    records = json.loads((arguments.photos / "photos_dev.json").read_text("utf-8"))
    for record in progress.bar(records, "photos", unit="photo"):
        real = read_real_photo(arguments.photos, record, weights)
        rng, outlines = np.random.default_rng(record["id"]), {("mask", 32): real.mask}
        moved = [placed(real.photo_set, random_pose(rng, 0.02, 15.0)) for _ in range(DRAWS)]
        starts = [("right", size, real.photo_set, np.eye(4)) for size in (32, 128)]
        starts += [(name, 32, *start) for name in ("kept", "found") for start in moved]
        yield {"photo": record["id"], "start": "typical foot", "size": 32, "iou": real.typical, "verdict": "-"}
        for name, size, photo_set, pose in starts:
            if size == 32 and name != "found":
                foot, result = reconstruct(weights, photo_set, size, "given"), {"verdict": "-"}
            else:
                foot, result = judge(weights, photo_set, size, "found" if name == "found" else "given")
            outlines[name, size] = outline = np.zeros_like(real.mask)
            if foot:  # the solid, before the correction of its surface
                vertices, faces = to_mesh(foot.probability, FOOT_CUBE, foot.threshold)
                points = trimesh.transform_points(vertices, np.linalg.inv(pose) @ foot.pose)
                outlines[name, size] = outline = silhouette(points, faces, real.camera)
            overlap = masked_iou(outline, real.mask, real.scored)
            yield {"photo": record["id"], "start": name, "size": size, "iou": overlap, **result}
        if arguments.figures:
            draw(real, outlines, arguments.figures / f"{record['id']}.png")


def draw(real: RealPhoto, outlines: dict[tuple[str, int], np.ndarray], path: Path) -> None:
    """Draws the mask (green) and the solids of the starts right (red), kept (blue), found (yellow); leg: grey."""
    picture = np.array(real.photo_set.photos[0].convert("RGB").resize(real.mask.shape[::-1]))
    picture[~real.scored] = picture[~real.scored] // 2 + 90
    colours = {"kept": (60, 90, 255), "found": (255, 210, 0), "right": (255, 0, 0), "mask": (0, 255, 0)}
    for start, colour in colours.items():
        contours, _ = cv2.findContours(outlines[start, 32].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, colour, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


# -------------------------------------------------------------------------------------------------- starts and verdicts


def random_pose(rng: np.random.Generator, shift: float, turn: float) -> Float[np.ndarray, "4 4"]:
    """``shift`` metres in a random direction, turned by ``turn`` degrees to a random side."""
    angle = rng.uniform(0, 2 * np.pi)
    return pose_matrix(turn * rng.choice([-1, 1]), shift * np.array([np.cos(angle), 0, np.sin(angle)]))


def placed(photo_set: PhotoSet, error: Float[np.ndarray, "4 4"]) -> tuple[PhotoSet, Float[np.ndarray, "4 4"]]:
    """`move_start` of the photos, and the pose of the foot in the frame of the start."""
    return move_start(photo_set, error), np.linalg.inv(error)


def judge(
    weights: PretrainedModel, photo_set: PhotoSet, size: int, placement: str
) -> tuple[ReconstructedFoot | None, dict[str, Any]]:
    """The result for a user: the foot (None: refused), its verdict, and its length with half of the interval, mm."""
    result = {"verdict": "not usable", "length": np.nan, "half width": np.nan}
    try:
        judged = reconstruct_and_judge(weights, photo_set, size, placement)
    except ValueError:
        return None, result
    result["verdict"] = judged.verdict.level
    if judged.measured:
        result |= {"length": judged.measured.measures.length, "half width": judged.measured.half_widths["length"]}
    return judged.foot, result


# --------------------------------------------------------------------------------------------- scans, rendered captures


def scan_rows(weights: PretrainedModel, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Eight photos of each scan."""
    scans = scan_photos.all_scans(arguments.scans, weights.typical_foot.solid.numpy())
    for seed, scan in enumerate(progress.bar(scans, "scans", unit="scan")):
        photo_set = scan_photos.photograph(scan, scan_photos.Look(), 8, seed, arguments.cache)
        yield from capture_rows(weights, scan, photo_set, scan.name)


def factor_rows(weights: PretrainedModel, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Four photos of one scan, one factor changed at a time."""
    path, template = sorted(arguments.scans.glob("*.ply"))[1], weights.typical_foot.solid.numpy()
    lengths = {look.length for look in scan_photos.FACTORS.values()}
    scans = {length: scan_photos.read_scan(path, template, length) for length in lengths}
    for name, look in progress.bar(scan_photos.FACTORS.items(), "factors", unit="capture"):
        photo_set = scan_photos.photograph(scans[look.length], look, 4, 17, arguments.cache)
        yield from capture_rows(weights, scans[look.length], photo_set, name)


def capture_rows(
    weights: PretrainedModel, scan: scan_photos.Scan, photo_set: PhotoSet, name: str
) -> Iterator[dict[str, Any]]:
    """Rows for the placement found (from 15 mm and 10 degrees beside the foot) and given."""
    labels = {"capture": name, "photos": len(photo_set.photos), "true length": scan.length}
    typical = voxelise(*typical_surface(weights, scan.side), FOOT_CUBE, 128).volume
    labels["typical foot"] = iou(typical, scan.solids[128])
    error = random_pose(np.random.default_rng(labels["photos"]), 0.015, 10.0)
    for placement in ("given", "found"):
        start, pose = placed(photo_set, error if placement == "found" else np.eye(4))
        for size in scan.solids:
            foot, result = judge(weights, start, size, placement)
            overlap = iou(solid_in_frame(foot, pose, size), scan.solids[size]) if foot else 0.0
            yield {**labels, "placement": placement, "size": size, "iou": overlap, **result}


def own_captures(folder: Path, limit: int | None = None) -> Iterator[tuple[str, PhotoSet, Bool[np.ndarray, "x y z"]]]:
    """Name, photos and true solid of the test captures in ``folder``, at most ``limit`` of them, evenly spaced."""
    folders = sorted(folder.glob("person-test-*"))
    if not folders:
        raise ValueError(f"{folder}: no person-test-*; expected rendered captures, as made by `p2v data`")
    chosen = [folders[number] for number in evenly_spaced(len(folders), min(limit or len(folders), len(folders)))]
    for capture in progress.bar(chosen, "captures", unit="foot"):
        yield capture.name, read_photo_set(capture), read_binvox(capture / "model.binvox").volume


def people_rows(weights: PretrainedModel, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The project's rendered photos with the true placement."""
    for name, photo_set, truth in own_captures(arguments.own):
        for views in (8, 4, 1):
            some = photo_set.subset(evenly_spaced(len(photo_set.photos), views))
            foot = reconstruct(weights, some, 32, "given")
            yield {"capture": name, "photos": views, "iou": iou(foot.solid, truth)}


def found_rows(weights: PretrainedModel, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The project's rendered photos, from a start 2 cm and 15 degrees beside the foot."""
    for seed, (name, photo_set, truth) in enumerate(own_captures(arguments.own, FOUND_FEET)):
        start, pose = placed(photo_set, random_pose(np.random.default_rng(seed), 0.02, 15.0))
        for views in (1, 2, 4, 8):
            some = start.subset(evenly_spaced(len(photo_set.photos), views))
            foot, result = judge(weights, some, 32, "found")
            overlap = iou(solid_in_frame(foot, pose), truth) if foot else 0.0
            yield {"capture": name, "photos": views, "iou": overlap, **result}


# ---------------------------------------------------------------------------------------------------------------- table


def digits(values: Iterable[float]) -> str:
    """IoUs with three digits and no leading zero."""
    return " / ".join(f"{value:.3f}".replace("0.", ".", 1) for value in values)


def photo_table(rows: pd.DataFrame) -> Iterator[Quantity]:
    """Quantities of real photos."""
    expected = {
        ("right", 32): ("cube right, mean / worst tenth", ".90 / .80"),
        ("right", 128): ("cube right, at 128^3", ""),
        ("found", 32): ("start 2 cm, 15 degrees off, found", ".87"),
        ("kept", 32): ("the same start kept", ""),
        ("typical foot", 32): ("typical foot, fitted to the mask", ""),
    }
    for (start, size), (name, target) in expected.items():
        values = rows[(rows.start == start) & (rows["size"] == size)].iou
        means = digits([values.mean(), values.nsmallest(max(1, round(0.1 * len(values)))).mean()])
        yield f"real single photos, solid: {name}", target, f"{means} (median {digits([values.median()])})"
    judged = rows[rows.verdict != "-"]
    counts = ", ".join(f"{count} {level}" for level, count in judged.verdict.value_counts().items())
    wrong = int(((judged.verdict == "good") & (judged.iou < 0.5)).sum())
    yield "judged good but below .5", "none", f"{wrong} ({counts})"


def scan_table(rows: pd.DataFrame) -> Iterator[Quantity]:
    """Quantities of eight photos of each scan."""
    means = rows.groupby(["placement", "size"]).iou.mean()
    fine = rows[(rows.placement == "found") & (rows["size"] == 128)]
    errors = fine.length - fine["true length"]
    yield "real scans, 8 photos, 128^3, found", ".90", digits([means["found", 128]])
    others = [("found", 32), ("given", 128), ("given", 32)]
    yield "the same at 32^3 / cube right, 128^3 / 32^3", "", digits(means[others])
    yield "typical foot of 250 mm, cube right", "", digits([fine["typical foot"].mean()])
    lengths = f"{errors.abs().median():.1f}, {errors.mean():+.1f}"
    yield "lengths of scans, 8 photos: median, bias, mm", "2, within 1", lengths
    yield "interval holds on scans, 8 photos", "90 %", inside(fine)


def factor_table(rows: pd.DataFrame) -> Iterator[Quantity]:
    """Quantities of four photos with one factor changed."""
    fine = rows[(rows.placement == "found") & (rows["size"] == 128)].set_index("capture")
    names, child = ["striped sock", "tattoo", "box", "sun"], fine.loc["child"]
    others = fine.drop(index=[*names, "child"]).iou
    yield "sock / tattoo / box / sun, 4 photos", ".85 each", digits(fine.loc[names].iou)
    extremes = f"{digits([others.min()])} ({others.idxmin()}) to {digits([others.max()])} ({others.idxmax()})"
    yield "all other factors, 4 photos", "", extremes
    result = f"{child.length:.0f} ± {child['half width']:.0f}"
    yield f"child of {child['true length']:.0f} mm", "within 5 and inside", result
    yield "interval holds, 4 photos", "90 %", inside(fine)


def inside(rows: pd.DataFrame) -> str:
    """In how many captures the interval of the length holds the true one."""
    return f"{((rows.length - rows['true length']).abs() <= rows['half width']).sum()} of {len(rows)}"


def own_table(rows: pd.DataFrame) -> Iterator[Quantity]:
    """Quantities of the project's rendered photos, with the true placement or found from a start beside the foot."""
    means = digits(rows.groupby("photos", sort=False).iou.mean())
    if "verdict" in rows:
        yield "rendered captures, found, 1 / 2 / 4 / 8 photos", ".77 / .87 / .895 / .90", means
    else:
        yield "unseen people, domain phone, cube right, 8 / 4 / 1 photos", ".90 / .89 / .78", means


PARTS = {
    "photos": ("photos", photo_rows, photo_table),
    "scans": ("scans", scan_rows, scan_table),
    "factors": ("scans", factor_rows, factor_table),
    "people": ("own", people_rows, own_table),
    "found": ("own", found_rows, own_table),
}
"""Part -> argument with its data, its rows, its quantities."""


def markdown(header: list[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [header, ["---"] * len(header), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of real photos with masks")
    parser.add_argument("--scans", type=Path, help="folder of scans, *.ply")
    parser.add_argument("--own", type=Path, nargs="?", const=data_folder("feet", "quick") / "phone", help="captures")
    parser.add_argument("--weights", type=Path, help="default: those of the project")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {','.join(PARTS)}")
    parser.add_argument("--cache", type=Path, default=Path(".runs/real"), help="folder of the rendered photos of scans")
    parser.add_argument("--figures", type=Path, help="folder for the real photos with outlines")
    parser.add_argument("--json", type=Path, help="file for the table and the rows of all photos and captures")
    arguments = parser.parse_args()
    chosen = set(arguments.only.split(","))
    wanted = [part for part in PARTS if part in chosen and getattr(arguments, PARTS[part][0])]
    if not wanted or chosen - set(PARTS):
        parser.error(f"nothing to measure: pass --photos, --scans or --own, and parts of {','.join(PARTS)}")
    if "factors" in wanted and len(list(arguments.scans.glob("*.ply"))) < 2:
        parser.error(f"{arguments.scans}: fewer than two *.ply, which the part factors needs; choose others by --only")
    weights, table, rows = load_pretrained(arguments.weights), [], {}
    for part in wanted:
        _, measure, summarise = PARTS[part]
        rows[part] = pd.DataFrame(measure(weights, arguments))
        table += summarise(rows[part])
    print(markdown(["", "target", "measured"], table))
    for part in [part for part in wanted if PARTS[part][0] == "scans"]:
        found = rows[part][(rows[part].placement == "found") & (rows[part]["size"] == 128)].round(3)
        print(f"\n{part}, found, 128^3\n\n{markdown(list(found), found.to_numpy().tolist())}")
    if arguments.json:
        records = {part: json.loads(frame.to_json(orient="records")) for part, frame in rows.items()}
        arguments.json.write_text(json.dumps({"table": table, **records}, indent=1))


if __name__ == "__main__":
    main()
