"""How well cameras are found from a blank A4 sheet: rendered photos of the domain wild, and real photos with corners.

    python benchmarks/bench_sheet.py FOLDER [--captures 12] [--pixels 640] [--real PHOTOS] [--reconstruct]

Renders captures with one lens into FOLDER unless it is there. Errors of the centres are those after the best rigid
motion of all cameras of a capture. PHOTOS holds ``photos_dev.json`` and ``images``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd
import trimesh

from p2vlib.data.camera_files import read_cameras, write_cameras
from p2vtools.capture.export_capture import capture_from_export
from p2vtools.capture.sheet_cameras import locate_sheets
from p2vtools.capture.sheet_capture import read_photos_on_sheet
from p2vtools.capture.sheet_detection import SIZES, sheet_corners
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.fit.pretrained import load_pretrained
from p2vtools.fit.verdict import reconstruct_and_judge
from p2vtools.synthesis.feet.appearance import paint, sample_appearance
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.photos import wild_cameras, wild_rendering, wild_scenes


def render(folder: Path, index: int, side: str) -> None:
    """Renders eight photos of a foot on a blank A4 sheet, unless the lens differs between them."""
    (person,), rng = sample_population(771901, 1, index, "wide"), np.random.default_rng([771901, index, 3])
    foot = make_feet(person)[side]
    painted = paint(foot.leg_mesh, side, sample_appearance(rng, person))
    scene = wild_scenes.sample_wild_scene(rng, 8, foot.leg_mesh, side)
    cameras = scene.cameras.cameras
    if len({round(one.intrinsics[0, 0] / max(one.width, one.height), 3) for one in cameras}) == 1:
        (folder / "rendering").mkdir(parents=True)
        for number, photo in enumerate(wild_rendering.render_wild_photos(foot.leg_mesh, painted, scene, 4)):
            (folder / "rendering" / f"{number:02d}.jpg").write_bytes(photo)
        write_cameras(folder / "cameras.json", cameras)
        frame = next(flat.frame for flat in scene.flats if flat.name == "paper")
        (folder / "truth.json").write_text(json.dumps({"length": foot.length, "sheet": frame.tolist()}))


def measure(folder: Path, weights, reconstruct: bool) -> list[dict]:
    """One row for each photo."""
    side, truth = folder.name[4:], json.loads((folder / "truth.json").read_text())
    along = np.linspace(-1, 1, 21)
    outline = np.concatenate(
        [np.stack([a, b], 1) for s in (-1, 1) for a, b in ((along, 0 * along + s), (0 * along + s, along))]
    )
    border = np.column_stack([outline, 0 * outline[:, 0], 1 + 0 * outline[:, 0]]) @ np.array(truth["sheet"]).T
    true = {f"{number:02d}.jpg": one for number, one in enumerate(read_cameras(folder / "cameras.json"))}
    rows = {}
    for name, one in true.items():
        x, y, depth = one.project(border[:, :3]).T
        inside = (depth > 0) & (x > 0) & (x < one.width) & (y > 0) & (y < one.height)
        rows[name] = {"capture": folder.name, "photo": name, "shown": inside.mean(), "mm": np.nan}
    with TemporaryDirectory() as temporary:
        try:
            export = read_photos_on_sheet(folder / "rendering", "a4", side, weights)
            made = capture_from_export(export, side, Path(temporary) / "capture", weights)
        except ValueError as error:
            print(error)
            return list(rows.values())
        pairs = [
            np.stack([one.position for one in cameras]) for cameras in (made.cameras, [true[n] for n in made.names])
        ]
        moved = (
            trimesh.registration.procrustes(*pairs, reflection=False, scale=False)[1]
            if len(made.names) > 2
            else pairs[0]
        )
        for name, error in zip(made.names, np.linalg.norm(moved - pairs[1], axis=1), strict=True):
            rows[name]["mm"] = 1000 * error
        if reconstruct:
            found = reconstruct_and_judge(weights, read_photo_set(made.folder), 64, "found", "exact", print).measured
            if found:
                print(folder.name, "length", found.measures.length, found.half_widths["length"], 1000 * truth["length"])
    return list(rows.values())


def measure_real(folder: Path) -> str:
    """Counts photos with all corners within 2 % of the longer side; those of one focal length are of one phone."""
    records, errors = pd.DataFrame(json.loads((folder / "photos_dev.json").read_text())), {}
    for _, phone in records.groupby(
        [round(f / max(s), 2) for f, s in zip(records.focal_px, records.height_width, strict=True)]
    ):
        pictures = {str(n): cv2.imread(str(folder / "images" / f"{n}.jpeg"))[..., ::-1].copy() for n in phone.id}
        found = locate_sheets(pictures, SIZES["a4"])
        for name, camera in zip(found.names, found.cameras, strict=True):
            true = np.array(phone[phone.id == int(name)].sheet_corners_px.iloc[0])
            pixels = camera.project(sheet_corners(SIZES["a4"]))[:, :2]
            turns = [np.roll(order, k, 0) - true for order in (pixels, pixels[::-1]) for k in range(4)]
            errors[name] = min(np.linalg.norm(t, axis=1).max() for t in turns) / max(camera.width, camera.height)
    right = sum(error < 0.02 for error in errors.values())
    return f"{len(errors)} of {len(records)} placed, {right} right, median error {np.median([*errors.values()]):.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--captures", type=int, default=12)
    parser.add_argument("--pixels", type=int, default=640)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--reconstruct", action="store_true")
    options = parser.parse_args()
    wild_cameras.LONG_SIDE, wild_scenes.PAPER_PRINTS = options.pixels, ("blank",) * 5
    wild_scenes.PAPER_SHARE, wild_scenes.SHEETS, wild_scenes.SHEET_SHARES = 1.0, {"a4": SIZES["a4"]}, (1.0,)
    for index in range(0 if options.folder.is_dir() else options.captures):
        side = ("left", "right")[index % 2]
        render(options.folder / f"{index:03d}-{side}", index, side)
    weights, folders = load_pretrained(), sorted(options.folder.glob("*-*"))[: options.captures]
    table = pd.DataFrame([row for folder in folders for row in measure(folder, weights, options.reconstruct)])
    print(
        table.groupby("capture", sort=False).mm.apply(lambda mm: " ".join(f"{value:.1f}" for value in mm)).to_string()
    )
    for label, rows in (("all", table), ("70 % shown", table[table.shown >= 0.7])):
        counts = f"{rows.mm.notna().mean():.0%} placed, {(rows.mm < 20).mean():.0%} within 20 mm"
        print(f"{label}: {len(rows)} photos, {counts}, median error of centres {rows.mm.median():.1f} mm")
    if options.real:
        print(f"real photos: {measure_real(options.real)}")


if __name__ == "__main__":
    main()
