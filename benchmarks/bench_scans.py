"""The pretrained weights on scans of real feet, photographed by the renderer of the training photos.

    python benchmarks/bench_scans.py --scans FOLDER [--views 8]

A real foot in a familiar scene of the domain phone; `real.py` has the same scans by another renderer. FOLDER holds
``*.ply``; the first scan is also mirrored. Prints IoU and length of each scan, placement found from 15 mm and 10
degrees beside the foot and given, and the rows of `real.py` for scans.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import pandas as pd
import real
import scan_photos
from PIL import Image

from p2vlib import progress
from p2vtools.fit.photo_set import PhotoSet, photo_set_from_arrays
from p2vtools.fit.pretrained import load_pretrained
from p2vtools.synthesis.photos.rendering import render_phone_photos
from p2vtools.synthesis.photos.trajectories import sample_phone_trajectory

SAMPLES = 6
"""Samples per pixel, as in the training photos."""


def photograph(scan: scan_photos.Scan, views: int, seed: int) -> PhotoSet:
    """Photos of ``scan`` in the domain phone, with the cameras in its frame."""
    trajectory = sample_phone_trajectory(np.random.default_rng(seed), views, np.array([0.0, 0.05, 0.0]))
    photos = render_phone_photos(scan.mesh, trajectory, SAMPLES)
    images = [np.asarray(Image.open(io.BytesIO(photo)).convert("RGB")) for photo in photos]
    names = [f"{view:02d}.jpg" for view in range(views)]
    return photo_set_from_arrays(images, trajectory.cameras, names, scan.side, scale="rendered")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=Path, required=True, help="folder of scans, *.ply")
    parser.add_argument("--views", type=int, default=8, help="photos of each scan")
    arguments = parser.parse_args()
    weights = load_pretrained()
    scans = scan_photos.all_scans(arguments.scans, weights.typical_foot.solid.numpy())
    rows = []
    for seed, scan in enumerate(progress.bar(scans, "scans", unit="scan")):
        rows += real.capture_rows(weights, scan, photograph(scan, arguments.views, seed), scan.name)
    table = pd.DataFrame(rows)
    print(real.markdown(list(table), table.round(3).to_numpy().tolist()))
    print(real.markdown(["", "asked of real.py", "measured"], real.scan_table(table)))


if __name__ == "__main__":
    main()
