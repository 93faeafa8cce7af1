"""A benchmark on real feet: hand-drawn masks of real photos, photographed scans of real feet, and the own renders.

    python benchmarks/real.py --photos FOLDER --scans FOLDER [--own [FOLDER]] [--weights FILE] [--only PART,...]
                              [--cache FOLDER] [--figures FOLDER] [--json OUT]

Prints one table in Markdown, with a row for each quantity whose data are given. Parts:

photos   Single photos with a mask. FOLDER holds ``photos_dev.json`` (a list: id, side, height_width, focal_px,
         rotation_world_to_camera, translation_m, foot_xz_m, foot_yaw_rad, foot_size_of_typical, leg_lean_shear),
         ``images/<id>.jpeg`` and ``metadata/<id>.json`` (polygons of label Foot in shares of width and height).
         Score: IoU of the silhouette of the reconstructed solid with the mask, outside the leg (`scored_region`),
         with the cube where the foot was fitted (right), 2 cm and 15 degrees beside it (kept), and found from there.
scans    Eight photos of each scan in FOLDER (``*.ply``, `scan_photos`), and the first scan mirrored.
factors  Four photos of the second scan, with one factor changed at a time.
people   Own renders of unseen people (capture folders ``person-test-*``), cube right: IoU at 32^3.
found    16 of them, from a start 2 cm and 15 degrees beside the foot.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import scan_photos
import trimesh
from jaxtyping import Bool, Float
from PIL import Image, ImageOps
from scipy.spatial import ConvexHull

from p2vlib import progress
from p2vlib.data.capture_folder import DEFAULT_PHOTO_SIDE, PhotoSet, evenly_spaced, read_photo_set
from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_SHARE
from p2vlib.geometry.grids import iou, read_binvox, to_mesh, voxelise
from p2vlib.provenance import data_folder
from p2vtools.fit.pretrained import PretrainedModel, load_pretrained
from p2vtools.fit.reconstruct import ReconstructedFoot, pose_matrix, reconstruct
from p2vtools.fit.uncertainty import measure_with_intervals
from p2vtools.study.model_card import solid_in_frame

try:
    from p2vtools.fit.verdict import reconstruct_and_judge
except ImportError:  # a checkout from before the verdicts
    reconstruct_and_judge = None

PARTS = ("photos", "scans", "factors", "people", "found")

SCORE_PIXELS = 480
"""Longer side of the masks that are compared, pixels."""

TYPICAL_LENGTH = 0.25
"""Length of the typical foot in ``foot_size_of_typical``, metres."""

LEAN_FROM = 0.07
"""Height from which ``leg_lean_shear`` leans the leg, metres at the size of the typical foot."""

LEG_FROM, LEG_TO = 0.10, 0.60
"""The part of the leg that is not scored, heights in metres."""

LEG_WIDTH, LEG_GROWTH = 1.5, 3.0
"""Factor on the section of the leg at `LEG_FROM`, and its growth per metre of height, towards the calf."""

DRAWS = 2
"""Starts for each real photo."""

FOUND_FEET = 16
"""Own renders in which the foot is searched."""


# ---------------------------------------------------------------------------------------------------------- real photos


@dataclass(frozen=True, eq=False)
class RealPhoto:
    """A photo with a mask; the frame of its camera is that of the foot where it was fitted."""

    photo_set: PhotoSet
    camera: Camera
    """At the size of the masks."""
    mask: Bool[np.ndarray, "height width"]
    scored: Bool[np.ndarray, "height width"]
    """Pixels outside the leg (`scored_region`)."""
    typical: float
    """IoU of the typical foot in the fitted place and size."""


def fill(triangles: Float[np.ndarray, "triangles corners 2"], camera: Camera) -> Bool[np.ndarray, "height width"]:
    """Pixels inside any of the convex polygons."""
    image = np.zeros((camera.height, camera.width), np.uint8)
    for corners in np.rint(16 * (triangles - 0.5)).astype(np.int32):  # OpenCV's origin is the first pixel's centre
        cv2.fillConvexPoly(image, corners, 1, shift=4)
    return image > 0


def silhouette(
    vertices: Float[np.ndarray, "vertices 3"], faces: np.ndarray, camera: Camera
) -> Bool[np.ndarray, "height width"]:
    """Pixels of ``camera`` in which a mesh in its frame (metres) is seen; faces behind it are left out."""
    pixels = camera.project(vertices)
    return fill(pixels[faces][(pixels[faces][:, :, 2] > 0.01).all(1), :, :2], camera)


def masked_iou(a: np.ndarray, b: np.ndarray, scored: np.ndarray) -> float:
    """IoU of two masks over the ``scored`` pixels."""
    return float((a & b & scored).sum() / max(1, ((a | b) & scored).sum()))


def typical_surface(weights: PretrainedModel) -> tuple[Float[np.ndarray, "vertices 3"], np.ndarray]:
    """The typical left foot, `TYPICAL_LENGTH` long, in its own frame."""
    vertices, faces = to_mesh(weights.typical_foot.solid.numpy(), FOOT_CUBE)
    return vertices * TYPICAL_LENGTH / np.ptp(vertices[vertices[:, 1] < 0.045, 0]), faces


def scored_region(
    foot: trimesh.Trimesh, lean: Float[np.ndarray, " 2"], camera: Camera
) -> Bool[np.ndarray, "height width"]:
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
    rings = ring.mean(0) + widths * (ring - ring.mean(0)) + lean * (heights - LEAN_FROM)
    points = np.insert(rings, 1, heights[:, :, 0], axis=2)
    pixels = camera.project(points.reshape(-1, 3)).reshape(points.shape)
    slabs = [pixels[i : i + 2].reshape(-1, 3) for i in range(len(heights) - 1)]
    hulls = [slab[ConvexHull(slab[:, :2]).vertices, :2] for slab in slabs if (slab[:, 2] > 0.01).all()]
    leg = np.any([fill(hull[None], camera) for hull in hulls], axis=0)
    below = [0, -1, 0], [0, LEAN_FROM, 0]
    vertices, faces, _ = trimesh.intersections.slice_faces_plane(foot.vertices, foot.faces, *below)
    return ~leg | silhouette(vertices, faces, camera)


def read_real_photo(folder: Path, record: dict[str, Any], weights: PretrainedModel) -> RealPhoto:
    """Reads one photo of ``photos_dev.json``.

    Raises:
        ValueError: an image of another size than the record says.
    """
    path = folder / "images" / f"{record['id']}.jpeg"
    photo = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    height, width = record["height_width"]
    if photo.size != (width, height):
        raise ValueError(f"{path}: {photo.width} x {photo.height} pixels; photos_dev.json expects {width} x {height}")
    focal, extrinsics = record["focal_px"], np.eye(4)
    rotation, _, back = np.linalg.svd(np.array(record["rotation_world_to_camera"]))  # stored with five digits
    extrinsics[:3, :3], extrinsics[:3, 3] = rotation @ back, record["translation_m"]
    x, z = record["foot_xz_m"]
    pose = pose_matrix(np.rad2deg(record["foot_yaw_rad"]), np.array([x, 0.0, z]))
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    camera = Camera(intrinsics, extrinsics @ pose, width, height)
    photo.thumbnail((DEFAULT_PHOTO_SIDE, DEFAULT_PHOTO_SIDE), reducing_gap=2.0)
    names = [str(record["id"])]
    photo_set = PhotoSet([photo.convert("RGBA")], [camera.resized(*photo.size)], names, record["side"])
    share = SCORE_PIXELS / max(width, height)
    small = camera.resized(round(share * width), round(share * height))
    vertices, faces = typical_surface(weights)
    vertices = record["foot_size_of_typical"] * vertices * [1, 1, -1 if record["side"] == "right" else 1]
    fitted_foot = trimesh.Trimesh(vertices, faces, process=False)
    scored = scored_region(fitted_foot, np.array(record["leg_lean_shear"]), small)
    masks = _read_masks(folder / "metadata" / f"{record['id']}.json", small)
    fitted = silhouette(vertices, faces, small)
    mask = max(masks, key=lambda mask: (mask & fitted).sum())
    return RealPhoto(photo_set, small, mask, scored, masked_iou(fitted, mask, scored))


def _read_masks(path: Path, camera: Camera) -> list[Bool[np.ndarray, "height width"]]:
    """The drawn feet of a photo: the foot on the sheet, and others that it shows."""
    masks = []
    for region in json.loads(path.read_text("utf-8"))["region_list"]:
        if region["label"]["display_name"] == "Foot":
            points = [[camera.width * p["x"], camera.height * p["y"]] for p in region["border"]["vertices"]]
            image = np.zeros((camera.height, camera.width), np.uint8)
            cv2.fillPoly(image, [np.rint(16 * (np.array(points) - 0.5)).astype(np.int32)], 1, shift=4)
            masks.append(image > 0)
    return masks


def photo_rows(weights: PretrainedModel, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row per photo, start and size."""
    records = json.loads((arguments.photos / "photos_dev.json").read_text("utf-8"))
    for record in progress.bar(records, "photos", unit="photo"):
        real = read_real_photo(arguments.photos, record, weights)
        rng, outlines = np.random.default_rng(record["id"]), {}
        starts = [("right", size, *placed(real.photo_set, np.eye(4))) for size in (32, 128)]
        moved = [placed(real.photo_set, random_pose(rng, 0.02, 15.0)) for _ in range(DRAWS)]
        starts += [(name, 32, *start) for name in ("kept", "found") for start in moved]
        yield {"photo": record["id"], "start": "typical foot, fitted", "size": 32, "iou": real.typical, "verdict": "-"}
        for name, size, photo_set, pose in starts:
            found = product(weights, photo_set, size, "found" if name == "found" else "given")
            outline = np.zeros_like(real.mask)
            if found.foot:
                mesh = found.foot.mesh.copy().apply_transform(np.linalg.inv(pose) @ found.foot.pose)
                outline = silhouette(mesh.vertices, mesh.faces, real.camera)
            outlines[name, size] = outline
            overlap = masked_iou(outline, real.mask, real.scored)
            yield {"photo": record["id"], "start": name, "size": size, "iou": overlap, "verdict": found.verdict}
        if arguments.figures:
            draw(real, outlines, arguments.figures / f"{record['id']}.png")


def draw(real: RealPhoto, outlines: dict[tuple[str, int], np.ndarray], path: Path) -> None:
    """The photo with the mask (green), the solids with the cube right (red), kept (blue), found (yellow); leg: grey."""
    picture = np.asarray(real.photo_set.photos[0].convert("RGB").resize((real.camera.width, real.camera.height))).copy()
    picture[~real.scored] = picture[~real.scored] // 2 + 90
    colours = {("kept", 32): (60, 90, 255), ("found", 32): (255, 210, 0), ("right", 32): (255, 0, 0)}
    for mask, colour in [*((outlines[key], colour) for key, colour in colours.items()), (real.mask, (0, 255, 0))]:
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, colour, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


# ----------------------------------------------------------------------------------------------- starts and the product


def random_pose(rng: np.random.Generator, shift: float, turn: float) -> Float[np.ndarray, "4 4"]:
    """``shift`` metres in a random direction, turned by ``turn`` degrees to a random side."""
    angle = rng.uniform(0, 2 * np.pi)
    return pose_matrix(turn * rng.choice([-1, 1]), shift * np.array([np.cos(angle), 0, np.sin(angle)]))


def placed(photo_set: PhotoSet, error: Float[np.ndarray, "4 4"]) -> tuple[PhotoSet, Float[np.ndarray, "4 4"]]:
    """The photos with a start that is off by ``error`` from the foot at `initial_position`, toes along +x.

    Returns:
        The photos in the frame of the start, and the pose of the foot in that frame.
    """
    foot = pose_matrix(0.0, photo_set.initial_position)
    cameras = [replace(camera, extrinsics=camera.extrinsics @ foot @ error) for camera in photo_set.cameras]
    return replace(photo_set, cameras=cameras, initial_position=np.zeros(3)), np.linalg.inv(error)


@dataclass(frozen=True, eq=False)
class Product:
    """What a user gets."""

    foot: ReconstructedFoot | None = None
    verdict: str = "not usable"
    length: float = np.nan
    half_width: float = np.nan
    """Of the interval of the length, mm."""


def product(
    weights: PretrainedModel, photo_set: PhotoSet, size: int, placement: str, measured: bool = False
) -> Product:
    """Reconstructs, measures and judges; a refusal is a `Product` without a foot."""
    try:
        if reconstruct_and_judge:
            judged = reconstruct_and_judge(weights, photo_set, size, placement)
            foot, measures, verdict = judged.foot, judged.measured, judged.verdict.level
        else:
            foot, verdict = reconstruct(weights, photo_set, size, placement), "-"
            measures = measure_with_intervals(weights, photo_set, foot) if measured else None
    except (ValueError, MemoryError):
        return Product()
    if not measures:
        return Product(foot, verdict)
    return Product(foot, verdict, measures.measures.length, measures.half_widths.get("length", np.nan))


# --------------------------------------------------------------------------------------------------- scans, own renders


def scan_rows(weights: PretrainedModel, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Eight photos of each scan."""
    scans = scan_photos.all_scans(arguments.scans, weights.typical_foot.solid.numpy())
    for seed, scan in enumerate(progress.bar(scans, "scans", unit="scan")):
        photo_set = scan_photos.photograph(scan, scan_photos.Look(), 8, seed, arguments.cache)
        yield from capture_rows(weights, scan, photo_set, scan.name)


def factor_rows(weights: PretrainedModel, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Four photos of one scan, one factor changed at a time."""
    path = sorted(arguments.scans.glob("*.ply"))[1]
    for name, look in progress.bar(scan_photos.FACTORS.items(), "factors", unit="capture"):
        scan = scan_photos.read_scan(path, weights.typical_foot.solid.numpy(), look.length)
        photo_set = scan_photos.photograph(scan, look, 4, 17, arguments.cache)
        yield from capture_rows(weights, scan, photo_set, name)


def capture_rows(
    weights: PretrainedModel, scan: scan_photos.Scan, photo_set: PhotoSet, name: str
) -> Iterator[dict[str, Any]]:
    """Rows for the placement found (from 15 mm and 10 degrees beside the foot) and given."""
    truth = {size: voxelise(scan.mesh.vertices, scan.mesh.faces, FOOT_CUBE, size).volume for size in (32, 128)}
    for volume in truth.values():
        volume[:, round(FOOT_SHARE * len(volume)) :] = False
    vertices, faces = typical_surface(weights)
    faces = faces[:, ::-1] if scan.side == "right" else faces
    typical = voxelise(vertices * [1, 1, -1 if scan.side == "right" else 1], faces, FOOT_CUBE, 128).volume
    rng = np.random.default_rng(len(photo_set.photos))
    for placement, error in (("given", np.eye(4)), ("found", random_pose(rng, 0.015, 10.0))):
        start, pose = placed(photo_set, error)
        found = product(weights, start, 128, placement, measured=True)
        row = {
            f"iou {size}": iou(solid_in_frame(found.foot, pose, size), truth[size]) if found.foot else 0.0
            for size in truth
        }
        yield {
            "capture": name,
            "photos": len(photo_set.photos),
            "placement": placement,
            **row,
            "iou 32, network": iou(reconstruct(weights, start, 32, "given").solid, truth[32])
            if placement == "given"
            else np.nan,
            "typical foot": iou(typical, truth[128]),
            "true length": scan.length,
            "length": found.length,
            "half width": found.half_width,
            "verdict": found.verdict,
        }


def own_folders(arguments: argparse.Namespace) -> list[Path]:
    """The capture folders of unseen people.

    Raises:
        ValueError: there are none.
    """
    folders = sorted(arguments.own.glob("person-test-*"))
    if not folders:
        raise ValueError(f"{arguments.own}: no person-test-*; expected rendered captures, as made by `p2v data`")
    return folders


def people_rows(weights: PretrainedModel, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Own renders with the cube right."""
    for folder in progress.bar(own_folders(arguments), "people", unit="capture"):
        photo_set, truth = read_photo_set(folder), read_binvox(folder / "model.binvox").volume
        for views in (8, 4, 1):
            some = photo_set.subset(evenly_spaced(len(photo_set.photos), views))
            foot = reconstruct(weights, some, 32, "given")
            yield {"capture": folder.name, "photos": views, "iou": iou(foot.solid, truth)}


def found_rows(weights: PretrainedModel, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Own renders, from a start beside the foot."""
    folders = own_folders(arguments)
    folders = folders[:: max(1, len(folders) // FOUND_FEET)][:FOUND_FEET]
    for seed, folder in enumerate(progress.bar(folders, "found", unit="capture")):
        photo_set, truth = read_photo_set(folder), read_binvox(folder / "model.binvox").volume
        start, pose = placed(photo_set, random_pose(np.random.default_rng(seed), 0.02, 15.0))
        for views in (1, 2, 4, 8):
            some = start.subset(evenly_spaced(len(photo_set.photos), views))
            found = product(weights, some, 32, "found")
            overlap = iou(solid_in_frame(found.foot, pose), truth) if found.foot else 0.0
            yield {"capture": folder.name, "photos": views, "iou": overlap, "verdict": found.verdict}


# ---------------------------------------------------------------------------------------------------------------- table


def number(value: float) -> str:
    """An IoU as in the issue: three digits, no leading zero."""
    return f"{value:.3f}".replace("0.", ".", 1)


def worst_tenth(values: pd.Series) -> float:
    """Mean of the lowest tenth, at least of one."""
    return float(values.nsmallest(max(1, round(0.1 * len(values)))).mean())


def photo_table(rows: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """Rows of the table for real photos."""

    def summary(start: str, size: int = 32) -> str:
        values = rows[(rows.start == start) & (rows["size"] == size)].iou
        return f"{number(values.mean())} / {worst_tenth(values):.2f} (median {values.median():.2f})"

    judged = rows[rows.verdict != "-"]
    wrong = judged[(judged.verdict == "good") & (judged.iou < 0.5)]
    counts = ", ".join(f"{count} {level}" for level, count in judged.verdict.value_counts().items())
    title = "real single photos, solid: "
    return [
        (f"{title}cube right, mean / worst tenth", ".836 / .61", ".90 / .80", summary("right")),
        (f"{title}cube right, 128^3", "", "", summary("right", 128)),
        (f"{title}start 2 cm, 15 degrees off, found", ".558", ".87", summary("found")),
        (f"{title}the same start kept", ".808", "", summary("kept")),
        (f"{title}typical foot, fitted", "", "", summary("typical foot, fitted")),
        (
            "judged good but below .5",
            "several",
            "none",
            f"{len(wrong)} of {len(judged)} ({counts})" if len(judged) else "-",
        ),
    ]


def scan_table(rows: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """Rows of the table for scans and factors."""
    found, table = rows[rows.placement == "found"], []
    if len(eight := found[found.photos == 8]):
        errors = eight.length - eight["true length"]
        given = rows[(rows.placement == "given") & (rows.photos == 8)]
        table += [
            ("real scans, 8 photos, 128^3, found", ".835", ".90", number(eight["iou 128"].mean())),
            ("real scans, 8 photos, 128^3, cube right", "", "", number(given["iou 128"].mean())),
            ("real scans, 8 photos, 32^3, cube right", "", "", number(given["iou 32, network"].mean())),
            ("typical foot of 250 mm on scans, 128^3", ".656", "", number(eight["typical foot"].mean())),
            (
                "lengths of scans, 8 photos: median, bias, mm",
                "4, +2.4",
                "2, within 1",
                f"{errors.abs().median():.1f}, {errors.mean():+.1f}",
            ),
        ]
    four = found[found.photos == 4].set_index("capture")
    if len(four):
        names = ["striped sock", "tattoo", "box", "sun"]
        child = four.loc["child"]
        others = four.drop(index=[*names, "child"])["iou 128"]
        table += [
            (
                "sock / tattoo / box / sun, 4 photos",
                ".58 / .76 / .79 / .80",
                ".85 each",
                " / ".join(number(four.loc[name, "iou 128"]) for name in names),
            ),
            (
                "every other factor, 4 photos",
                ".84-.88",
                "",
                f"{number(others.min())} ({others.idxmin()}) - {number(others.max())}",
            ),
            (
                f"child of {child['true length']:.0f} mm",
                "219 ± 7",
                "within 5 and inside",
                f"{child.length:.0f} ± {child['half width']:.0f}",
            ),
        ]
    inside = (found.length - found["true length"]).abs() <= found["half width"]
    shares = [f"{inside[part].sum()} of {part.sum()}" for part in (found.photos == 4, found.photos == 8) if part.any()]
    return [*table, ("interval holds on scans, 4 / 8 photos", "half / all", "90 %", " / ".join(shares))]


def own_table(rows: pd.DataFrame, title: str, today: str, asked: str) -> list[tuple[str, str, str, str]]:
    """The row of the table for own renders, by number of photos."""
    means = rows.groupby("photos", sort=False).iou.mean()
    return [(f"{title}, {' / '.join(map(str, means.index))} photos", today, asked, " / ".join(map(number, means)))]


def markdown(header: list[str], rows: list[tuple]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [header, ["---"] * len(header), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of real photos with masks")
    parser.add_argument("--scans", type=Path, help="folder of scans, *.ply")
    parser.add_argument("--own", type=Path, nargs="?", const=data_folder("feet", "quick") / "phone", help="own renders")
    parser.add_argument("--weights", type=Path, help="default: those of the project")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {','.join(PARTS)}")
    parser.add_argument("--cache", type=Path, default=Path(".runs/real"), help="folder of the rendered photos of scans")
    parser.add_argument("--figures", type=Path, help="folder for the real photos with outlines")
    parser.add_argument("--json", type=Path, help="file for the rows of every photo and capture")
    arguments = parser.parse_args()
    parts: dict[str, tuple[Path | None, Callable[..., Iterator[dict[str, Any]]]]] = {
        "photos": (arguments.photos, photo_rows),
        "scans": (arguments.scans, scan_rows),
        "factors": (arguments.scans, factor_rows),
        "people": (arguments.own, people_rows),
        "found": (arguments.own, found_rows),
    }
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"--only {','.join(sorted(unknown))}; expected parts of {','.join(PARTS)}")
    if not (wanted := [part for part in chosen if parts[part][0]]):
        parser.error("nothing to measure: pass --photos, --scans or --own")
    weights = load_pretrained(arguments.weights)
    rows = {part: pd.DataFrame(parts[part][1](weights, arguments)) for part in wanted}
    table = photo_table(rows["photos"]) if "photos" in rows else []
    scans = [rows[part] for part in ("scans", "factors") if part in rows]
    if scans:
        table += scan_table(pd.concat(scans, ignore_index=True))
    if "found" in rows:
        table += own_table(rows["found"], "own renders, found", ".53 / .85 / .89 / .89", ".77 / .87 / .895 / .90")
    if "people" in rows:
        title = "unseen people, old phone look, cube right"
        table += own_table(rows["people"], title, ".904 / .895 / .77", ".90 / .89 / .78")
    print(markdown(["", "today", "asked", "measured"], table))
    for part in ("scans", "factors"):
        if part in rows:
            print(f"\n{part}\n\n" + markdown(list(rows[part]), rows[part].round(3).to_numpy().tolist()))
    if arguments.json:
        content = {
            "table": table,
            **{part: json.loads(frame.to_json(orient="records")) for part, frame in rows.items()},
        }
        arguments.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
