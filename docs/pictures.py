"""Draws `docs/foot.jpg` and `docs/fit.jpg` from a reconstruction, in half a minute on one core: `make pictures`.

The foot is that of notebook 00, one of the 80 test feet. Trajectory and lighting are those of the data; the photos have
more pixels.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import zoom

from p2vlib.geometry.frames import SIDES
from p2vtools import viewer
from p2vtools.fit import pretrained, reconstruct, shoe_last, uncertainty
from p2vtools.fit.measure import measure_foot, shoe_sizes
from p2vtools.fit.photo_set import PhotoSet, photo_set_from_arrays
from p2vtools.fit.reconstruct import ReconstructedFoot
from p2vtools.fit.uncertainty import MeasureIntervals
from p2vtools.study.pretraining import pretrained_config
from p2vtools.synthesis.feet import foot as feet
from p2vtools.synthesis.feet.landmarks import true_measures
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.photos import trajectories
from p2vtools.synthesis.photos.rendering import render_phone_photos
from p2vtools.viewer.style import FAINTER, INK, STYLE, new_figure

PEOPLE, PERSON, SIDE, VIEWS = pretrained_config().feet.test_seed, 14, "right", 8

PIXELS, SAMPLES = 384, 12
"""Edge of a photo, and samples per pixel; the data have 128 and 6."""


def render_photos(foot: feet.SyntheticFoot) -> PhotoSet:
    """Renders the photos of a foot of the data again, from the same cameras."""
    rng = np.random.default_rng([PEOPLE, PERSON, SIDES.index(SIDE), False])
    walk = trajectories.sample_phone_trajectory(rng, VIEWS, np.array([0.0, 0.05, 0.0]), pixels=PIXELS)
    files = render_phone_photos(foot.leg_mesh, walk, SAMPLES)
    pictures = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    names = [f"{view:02d}.jpg" for view in range(VIEWS)]
    return photo_set_from_arrays(pictures, walk.cameras, names, SIDE, scale="rendered")


def overview_figure(photo_set: PhotoSet, foot: ReconstructedFoot, measured: MeasureIntervals, truth: float) -> Figure:
    """Photos, the solid and its measures side by side; ``truth``: the true length, mm."""
    mesh = measured.foot.mesh
    drawing = viewer.measurement_figure(mesh, measured.measures, replace(measure_foot(mesh, SIDE)[1], arch=None))
    drawing.set_size_inches(5.4, 4.9)
    photos = [np.asarray(photo) for photo in photo_set.photos[::2]]
    smooth = zoom(foot.probability, 2, order=1, mode="grid-constant", grid_mode=True) >= foot.threshold
    solid = viewer.render_voxels(smooth, azimuth=40, elevation=22, pixels=900)
    pictures = [viewer.mosaic([photos[:2], photos[2:]], gap=8), *viewer.crop_alike([solid], 12), rasterise(drawing)]
    size = shoe_sizes(measured.measures.length, measured.measures.ball_breadth, measured.half_widths["length"])["EU"]
    titles = [
        f"{VIEWS} photos (here: every second)",
        "a solid foot",
        f"{measured.measures.length:.0f} ± {measured.half_widths['length']:.0f} mm long (true: {truth:.0f}), EU {size}",
    ]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(15, 5.0)
        grid = figure.subplots(1, 3, width_ratios=[picture.shape[1] / picture.shape[0] for picture in pictures])
        for axes, picture, title in zip(grid, pictures, titles, strict=True):
            axes.imshow(picture, interpolation="antialiased")
            axes.set_title(title, fontsize=16, color=INK)
            axes.set_axis_off()
        for axes in grid[1:]:
            axes.annotate("→", (-0.04, 0.5), xycoords="axes fraction", fontsize=34, color=FAINTER, ha="center")
    return figure


def rasterise(figure: Figure) -> np.ndarray:
    """Renders a figure to pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def main() -> None:
    (person,) = sample_population(PEOPLE, 1, first=PERSON)
    true_foot, weights = feet.make_feet(person)[SIDE], pretrained.load_pretrained()
    photo_set = render_photos(true_foot)
    foot = reconstruct.reconstruct(weights, photo_set, 128, report=print)
    measured, truth = uncertainty.measure_with_intervals(weights, photo_set, foot), true_measures(true_foot)["length"]
    figures = {
        "foot.jpg": overview_figure(photo_set, foot, measured, truth),
        "fit.jpg": viewer.fit_map(shoe_last.fit_shoes(measured.foot.mesh, SIDE)),
    }
    for name, figure in figures.items():
        path = Path(__file__).with_name(name)
        figure.savefig(path, dpi=110, bbox_inches="tight", pil_kwargs={"quality": 88})
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
