"""Draws the pictures of the README from a real run, in half a minute of one core: `make pictures`.

The foot is that of notebook 00, the middle one of the 80 feet that the weights were tested on. It is photographed on
the same walk and in the same light, with more pixels, so that a reader sees something.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import trimesh
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import zoom

from p2vlib.data.capture_folder import PhotoSet, photo_set_from_arrays
from p2vlib.geometry.frames import SIDES
from p2vtools import viewer
from p2vtools.fit import pretrained, reconstruct, shoe_last, uncertainty
from p2vtools.fit.measure import measure_foot, shoe_sizes
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
"""Of a photo, and light paths for each of them: three times a side and twice as many as in the data."""


def photographed(foot: feet.SyntheticFoot) -> PhotoSet:
    """The walk around the foot that the data have, photographed once more."""
    rng = np.random.default_rng([PEOPLE, PERSON, SIDES.index(SIDE), False])
    walk = trajectories.sample_phone_trajectory(rng, VIEWS, np.array([0.0, 0.05, 0.0]), pixels=PIXELS)
    files = render_phone_photos(foot.leg_mesh, walk, SAMPLES)
    pictures = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    return photo_set_from_arrays(pictures, walk.cameras, [f"{view:02d}.jpg" for view in range(VIEWS)], SIDE)


def lengthened(mesh: trimesh.Trimesh, known: MeasureIntervals) -> trimesh.Trimesh:
    """A reconstructed surface with what is missing at the tips of its toes, which are thinner than a voxel."""
    longer = known.measures.length / measure_foot(mesh, SIDE)[0].length
    return mesh.copy().apply_transform(np.diag([longer, 1.0, 1.0, 1.0]))


def from_photos_to_millimetres(
    shots: PhotoSet, foot: ReconstructedFoot, known: MeasureIntervals, truth: float
) -> Figure:
    """Photos, the solid and what was measured side by side; ``truth``: the true length, mm."""
    mesh = lengthened(foot.mesh, known)
    drawn = viewer.measurement_figure(mesh, known.measures, replace(measure_foot(mesh, SIDE)[1], arch=None))
    drawn.set_size_inches(5.4, 4.9)
    photos = [np.asarray(photo) for photo in shots.photos[::2]]
    smooth = zoom(foot.probability, 2, order=1, mode="grid-constant", grid_mode=True) >= foot.threshold
    solid = viewer.render_voxels(smooth, azimuth=40, elevation=22, pixels=900)
    pictures = [viewer.mosaic([photos[:2], photos[2:]], gap=8), cut(solid), raster(drawn)]
    size = shoe_sizes(known.measures.length, known.measures.ball_breadth, known.half_widths["length"])["EU"]
    titles = [
        f"{VIEWS} photos (here: every second)",
        "a solid foot",
        f"{known.measures.length:.0f} ± {known.half_widths['length']:.0f} mm long (true: {truth:.0f}), EU {size}",
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


def cut(picture: np.ndarray, margin: int = 12) -> np.ndarray:
    """A picture with clear surroundings, cut to what it shows."""
    rows, columns = (np.flatnonzero(picture[..., 3].any(axis=axis)) for axis in (1, 0))
    return np.pad(picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], ((margin,) * 2, (margin,) * 2, (0, 0)))


def raster(figure: Figure) -> np.ndarray:
    """A figure as a picture."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def main() -> None:
    (person,) = sample_population(PEOPLE, 1, first=PERSON)
    true_foot, weights = feet.make_feet(person)[SIDE], pretrained.load_pretrained()
    shots = photographed(true_foot)
    foot = reconstruct.reconstruct(weights, shots, 128, report=print)
    known, truth = uncertainty.measure_with_intervals(weights, shots, foot), true_measures(true_foot)["length"]
    figures = {
        "foot.jpg": from_photos_to_millimetres(shots, foot, known, truth),
        "fit.jpg": viewer.fit_map(shoe_last.fit_shoes(lengthened(foot.mesh, known), SIDE)),
    }
    for name, figure in figures.items():
        path = Path(__file__).with_name(name)
        figure.savefig(path, dpi=110, bbox_inches="tight", pil_kwargs={"quality": 88})
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
