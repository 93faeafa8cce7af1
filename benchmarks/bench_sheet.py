"""Photos of feet on a plain sheet of paper: photos placed, errors of cameras and lengths, and intervals.

The people are those of `p2v evaluate`, eight photos each of 960 x 720 pixels. A minute of one core per person.

With ``--photos FOLDER`` real photos instead: FOLDER holds ``photos_dev.json`` (a list: id, height_width, focal_px,
sheet_corners_px of A4 sheets) and ``images/<id>.jpeg``. Photos of one focal length, relative to the longer side, count
as of one phone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from p2vtools.archives.photo_files import read_photo
from p2vtools.capture import sheet_capture
from p2vtools.capture.charuco import MIN_PHOTOS
from p2vtools.capture.mat_capture import MAX_PHOTO_SIDE
from p2vtools.study.benchmark import captures, summary
from p2vtools.synthesis.feet.legs import cache_legs


def real_photos(folder: Path) -> None:
    """Prints how many photos show the sheet, and how far its corners are from the noted ones."""
    records = json.loads((folder / "photos_dev.json").read_text("utf-8"))
    phones = pd.Series([round(one["focal_px"] / max(one["height_width"]), 1) for one in records])
    pictures = {
        str(one["id"]): np.asarray(
            read_photo(folder / "images" / f"{one['id']}.jpeg", MAX_PHOTO_SIDE)[0].convert("RGB")
        )
        for one in records
    }
    errors, tried = [], 0
    for _, numbers in phones.groupby(phones):
        if len(numbers) < MIN_PHOTOS:
            continue  # one photo does not tell its focal length
        tried += len(numbers)
        group = {str(records[number]["id"]): records[number] for number in numbers.index}
        fit, photos, _ = sheet_capture.find_sheets({name: pictures[name] for name in group}, "a4", dict.fromkeys(group))
        fitted = fit.fit(photos, {}) if len(photos) >= MIN_PHOTOS else []
        for photo in fitted if len(fitted) >= MIN_PHOTOS else []:
            height, width = group[photo.name]["height_width"]
            found = fit.corners(photo) * max(height, width) / 1000 + [width / 2, height / 2]
            noted = np.array(group[photo.name]["sheet_corners_px"])
            off = min(np.abs(np.roll(found, turn, 0) - noted).max() for turn in range(4)) * 1000 / max(height, width)
            errors.append(off)
            print(f"{photo.name}: corners at most {off:.1f} thousandths of the longer side from the noted ones")
    print(f"{len(errors)} of {tried} photos placed; median of the largest error of a corner: {np.median(errors):.1f}")
    print(f"left out, of phones with fewer than {MIN_PHOTOS} photos: {len(records) - tried}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--photos", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.photos:
        real_photos(arguments.photos)
        return
    people = arguments.people
    cache_legs()
    with multiprocessing.get_context("spawn").Pool(initializer=torch.set_num_threads, initargs=(1,)) as pool:
        results = pool.map(captures.evaluate_sheet, range(people), chunksize=1)
    photos, fits = (pd.concat([result[part] for result in results]) for part in ("photos", "fits"))
    fits = fits[fits.measure == "length"]
    pd.set_option("display.width", 160)
    print(summary.pose_table(photos).T.round(2).to_string(), end="\n\n")
    print(summary.error_table(fits, ("way", "views")).round(2).to_string(), end="\n\n")
    print(summary.size_table(fits).round(0).T.to_string(), end="\n\n")
    found = fits[fits.found.notna()]
    inside = (found.found - found.truth).abs() <= found.within
    print(inside.groupby(found.views).mean().rename("inside the interval").round(2).to_string())


if __name__ == "__main__":
    main()
