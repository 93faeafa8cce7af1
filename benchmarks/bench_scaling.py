"""How time and memory grow with size: voxelising, packed captures, a training step, `reconstruct` and the metrics.

Each part doubles its size a few times. The table has the seconds (the fastest of ``--repeats``), the growth of the
memory of the process, and the exponent: the slope of log time over log size between the last two sizes, against that of
linear work (voxels grow with the cube of the edge). A figure shows all parts. Run `p2v data --scale smoke` before.

    python benchmarks/bench_scaling.py --figure scaling.png
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
import trimesh
from bench_published import Way, random_batch, seconds
from matplotlib.figure import Figure

from p2vlib.config import from_params
from p2vlib.data.dataset import load
from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import voxelise
from p2vlib.models import build
from p2vlib.provenance import data_folder, home
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.fit.pretrained import load_pretrained
from p2vtools.fit.reconstruct import reconstruct
from p2vtools.study.metrics_csv import read_metrics

Part = Iterator[tuple[int, Callable[[], object]]]
"""Sizes, and the work of each."""


def voxelising(sizes: list[int]) -> Part:
    """The edge of the grid, voxels; a sphere of 5,120 faces."""
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=0.4)
    for size in sizes:
        yield size, lambda size=size: voxelise(sphere.vertices, sphere.faces, Cube((-0.5, -0.5, -0.5), 1.0), size)


def training_step(sizes: list[int]) -> Part:
    """Views of one capture, Pix2Vox-F narrow."""
    for views in sizes:
        model = build("pix2vox-f-narrow")
        yield views, Way(model, random_batch(model.config.image_size, 1, views), plain=False).step


def reconstructing(sizes: list[int]) -> Part:
    """Photos of one foot at 128^3; those of a capture of scale smoke, repeated."""
    folder = sorted((data_folder("feet", "smoke") / "phone").glob("person-test-*"))[0]
    photos, weights = read_photo_set(folder), load_pretrained()
    for number in sizes:
        rows = [row % len(photos.photos) for row in range(number)]
        yield number, lambda rows=rows: reconstruct(weights, photos.subset(rows), 128, "given")


def selecting(sizes: list[int]) -> Part:
    """Captures of a packed file: a split is selected from so many."""
    captures = load(from_params("smoke"))
    for number in sizes:
        rows = torch.arange(number) % len(captures)
        table = captures.table.iloc[rows.numpy()].reset_index(drop=True)
        many = replace(captures, table=table, photos=captures.photos[rows], truth=captures.truth[rows], cameras=None)
        yield number, lambda many=many: many.select(split="test")


def metrics(sizes: list[int]) -> Part:
    """Rows of metrics.csv that a report reads and checks."""
    header, *lines = (home() / "reports/quick/metrics.csv").read_text("utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder:
        for number in sizes:
            path = Path(folder) / "metrics.csv"
            path.write_text("\n".join([header, *lines[:number]]) + "\n", "utf-8")
            yield min(number, len(lines)), lambda path=path: read_metrics(path)


PARTS = {
    "voxelise, edge": (voxelising, [32, 64, 128, 256], 3),
    "training step, views": (training_step, [1, 2, 4, 8, 16, 24], 1),
    "reconstruct, photos": (reconstructing, [1, 2, 4, 8, 16, 24], 1),
    "select, captures": (selecting, [100, 1000], 1),
    "metrics, rows": (metrics, [1000, 10_000, 37_296], 1),
}
"""Part and its size -> its works, the sizes, and the power of the size with which linear work grows."""


def measure(name: str, sizes: list[int], repeats: int) -> pd.DataFrame:
    """Seconds, memory in MiB and exponent of a part at each size."""
    rows: list[dict] = []
    part, _, linear = PARTS[name]
    for size, work in part(sizes):
        work()
        before = psutil.Process().memory_info().rss
        times = [seconds(work) for _ in range(repeats)]
        row = {"part": name, "size": size, "seconds": min(times)}
        row["MiB"] = (psutil.Process().memory_info().rss - before) / 2**20
        if rows:
            last = rows[-1]
            row["exponent"] = math.log(row["seconds"] / last["seconds"]) / math.log(size / last["size"]) / linear
        rows.append(row)
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Figure:
    """Seconds over size, each relative to its first size; the dashed line is linear."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, rows in table.groupby("part", sort=False):
        work = (rows["size"] / rows["size"].iloc[0]) ** PARTS[name][2]
        axes.loglog(work, rows.seconds / rows.seconds.iloc[0], marker="o", label=name)
    axes.loglog(limits := np.array(axes.get_xlim()), limits, "k--", linewidth=1, label="linear")
    axes.set_xlabel("work, relative to the smallest size")
    axes.set_ylabel("seconds, relative to the smallest size")
    axes.legend()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS), metavar="PART")
    parser.add_argument("--repeats", type=int, default=3, help="counted runs (3)")
    parser.add_argument("--figure", type=Path, help="also draw them, PNG")
    options = parser.parse_args()
    tables = []
    for name in options.only:
        tables.append(measure(name, PARTS[name][1], options.repeats))
        print(tables[-1].to_string(index=False, float_format="{:.3g}".format, na_rep=""), flush=True)
    if options.figure:
        draw(pd.concat(tables)).savefig(options.figure, dpi=110)


if __name__ == "__main__":
    main()
