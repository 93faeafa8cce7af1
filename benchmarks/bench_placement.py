"""How well the foot is found in rendered captures: IoU, distance and angle for 1, 2, 4 and 8 photos and three starts.

The cameras of a capture are moved, so that the foot stands where the capture says, 2 cm and 15 degrees or 6 cm and 45
degrees away from there. IoU is that of the reconstructed solid with the true one, at 32^3 in the frame of the true
foot: with the start kept, with the foot found, and with the true placement. The time is that of `find_foot` alone.

    python benchmarks/bench_placement.py data/feet/quick/phone --people validation --captures 16
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from real import own_captures, placed, random_pose

from p2vlib.data.dataset import evenly_spaced
from p2vlib.geometry.grids import iou
from p2vtools.fit.photo_set import PhotoSet
from p2vtools.fit.placement import find_foot, pose_yaw
from p2vtools.fit.pretrained import PretrainedModel, load_pretrained
from p2vtools.fit.reconstruct import reconstruct
from p2vtools.study.validation_feet import solid_in_frame

STARTS = ((0.0, 0.0), (0.02, 15.0), (0.06, 45.0))
"""Errors of the start: metres, degrees."""


def measure(
    weights: PretrainedModel,
    photo_set: PhotoSet,
    pose: Float[np.ndarray, "4 4"],
    truth: Bool[np.ndarray, "x y z"],
) -> dict[str, Any]:
    """IoU with the start kept and with the foot found, and the errors of that placement."""
    kept = solid_in_frame(reconstruct(weights, photo_set, 32, "given"), pose)
    began = time.perf_counter()
    found = find_foot(weights, photo_set)
    seconds = time.perf_counter() - began
    moved = [replace(one, extrinsics=one.extrinsics @ found.pose) for one in photo_set.cameras]
    foot = reconstruct(weights, replace(photo_set, cameras=moved), 32, "given")
    error = np.linalg.inv(found.pose) @ pose
    return {
        "kept": iou(kept, truth),
        "found": iou(solid_in_frame(replace(foot, pose=found.pose), pose), truth),
        "mm": 1000 * float(np.hypot(error[0, 3], error[2, 3])),
        "degrees": abs(pose_yaw(error)),
        "agreement": found.agreement,
        "overlap": found.overlap,
        "at limit": found.at_limit,
        "method": found.method,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of capture folders")
    parser.add_argument("--people", default="validation", help="train, validation or test")
    parser.add_argument("--captures", type=int, default=16)
    parser.add_argument("--photos", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write all rows, CSV")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    weights, rows = load_pretrained(options.weights), []
    captures = own_captures(options.folder, options.captures, f"*-{options.people}-*")
    for number, (name, capture, truth) in enumerate(captures):
        rng = np.random.default_rng(number)
        for photos in options.photos:
            photo_set = capture.subset(evenly_spaced(len(capture.photos), photos))
            right = iou(reconstruct(weights, photo_set, 32, "given").solid, truth)
            for metres, degrees in STARTS:
                row = {"capture": name, "photos": photos, "start": f"{100 * metres:.0f} cm {degrees:.0f}"}
                displaced = placed(photo_set, random_pose(rng, metres, degrees))
                rows.append({**row, "true": right, **measure(weights, *displaced, truth)})
    table = pd.DataFrame(rows)
    if options.out:
        table.to_csv(options.out, index=False)
    by_start = table.groupby(["photos", "start"])
    summary = by_start[["kept", "found", "true", "mm", "degrees", "agreement", "overlap", "seconds"]].mean()
    summary["worst"], summary["max mm"] = by_start.found.min(), by_start.mm.max()
    summary["methods"] = by_start.method.agg(
        lambda found: " ".join(f"{k}:{n}" for k, n in found.value_counts().items())
    )
    print(summary.round(3).to_string())


if __name__ == "__main__":
    main()
