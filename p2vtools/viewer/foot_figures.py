"""Figures of one foot: where it is measured, before and after a scan is cleaned, in shoes of neighbouring sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import trimesh
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure

from p2vtools.fit.measure import TOE_ROOM, Landmarks, Measures, shoe_sizes
from p2vtools.fit.shoe_last import ALONG, OPENING, ShoeFit
from p2vtools.viewer.style import FAINT, FAINTER, INK, PALETTE, SOLID, new_figure, study_style

COLOURS = "RdBu"
"""From pressed to roomy; colour-blind readers tell its ends apart (ColorBrewer)."""

MOST = 10.0
"""Millimetres of clearance at which the colours end."""

PRESSED = -1.0
"""Clearance below which a place counts as pressed, mm."""

SMALLEST = 20.0
"""Square millimetres of surface from which on a pressed place is marked."""

LIGHT = np.array([0.35, 0.85, 0.4])
"""Where the light comes from: along x, up, towards the viewer's side."""

VIEWS = {"from above": (1, 1.0), "inner side": (2, 1.0), "outer side": (2, -1.0)}
"""The axis that points at who looks, and its sign, in the frame of a last (`p2vtools.fit.shoe_last`)."""

BEHIND = ("toe 2", "toe 3", "toe 4", "toe 5", "fifth metatarsal", "heel, outer")
"""Landmarks that are hidden from the inner side: drawn there, but not named."""

CAPTION = (
    "The last is a schematic solid: length and ball girth of the foot, graded by size, {room:.0f} mm of toe allowance, "
    "and the mean proportions of this study's feet; its cap and its opening are assumed.\nIt is no maker's last: no "
    "heel lift, no toe spring; neither the shoe gives nor the foot. The sole and what is above the opening (grey) are "
    "not judged."
)


@study_style
def fit_map(fits: Sequence[ShoeFit], title: str = "") -> Figure:
    """A foot in lasts of neighbouring sizes (`last.fits`), side by side: how much room it has, as colours on it."""
    figure = new_figure(4.2 * len(fits) + 0.6, 7.4)
    rows = figure.subplots(len(VIEWS), len(fits), squeeze=False)
    long = max(fit.last.length for fit in fits) + TOE_ROOM
    for column, fit in zip(rows.T, fits, strict=True):
        places = _pressed(fit)
        for axes, (view, (axis, sign)) in zip(column, VIEWS.items(), strict=True):
            _shown(axes, fit.foot, axis, sign, _coloured(fit))
            _outlined(axes, fit, axis)
            _marked(axes, fit, axis, sign, places)
            half, high = 0.23 * long, 1000 * fit.foot.vertices[:, 1].max()
            axes.set(xlim=(-0.08 * long, 1.03 * long), ylim=(-half, half) if axis == 1 else (-4, high + 2))
            # Seen from above a left foot's inner side is below; from its outer side its toes are on the left.
            if axis == 1 and fit.side == "left":
                axes.invert_yaxis()
            if axis == 2 and (sign < 0) == (fit.side == "left"):
                axes.invert_xaxis()
            if fit is fits[0]:
                axes.set_ylabel(view)
        column[0].set_title(_told(fit, places))
    scale = ScalarMappable(Normalize(-MOST, MOST), matplotlib.colormaps[COLOURS])
    bar = figure.colorbar(scale, ax=rows, shrink=0.7, aspect=30, pad=0.01, extend="both")
    bar.set_label("pressed  ←  clearance [mm]  →  room")
    figure.suptitle(title)
    figure.supxlabel(CAPTION.format(room=TOE_ROOM), fontsize=8, color=FAINTER, ha="center")
    return figure


def _told(fit: ShoeFit, places: list[int]) -> str:
    worst = -min((fit.clearance[place] for place in places), default=0.0)
    pressed = f"{len(places)} place{'s' * (len(places) > 1)} pressed, up to {worst:.1f} mm" if places else "not pressed"
    return (
        f"Mondopoint {fit.last.length:.0f}, EU {shoe_sizes(fit.last.length)['EU']}\n"
        f"toe room {fit.toe_room:.0f} mm; {pressed}"
    )


def _coloured(fit: ShoeFit) -> Float[np.ndarray, "faces 3"]:
    """The colour of each face of the foot: grey outside the shoe."""
    room = fit.clearance[fit.foot.faces].mean(1)
    colours = matplotlib.colormaps[COLOURS](Normalize(-MOST, MOST, clip=True)(np.nan_to_num(room)))[:, :3]
    colours[np.isnan(room)] = to_rgb(FAINT)
    return colours


def _shown(axes: Axes, mesh: trimesh.Trimesh, axis: int, sign: float, colours: Float[np.ndarray, "faces 3"]) -> None:
    """A surface in millimetres, shaded, seen along ``axis``: what faces the viewer, the farthest first."""
    normals, corners = mesh.face_normals, 1000 * mesh.triangles
    facing = np.flatnonzero(sign * normals[:, axis] > 0)
    facing = facing[(sign * corners[facing, :, axis].mean(1)).argsort()]
    light = LIGHT * [1, 1, sign] / np.linalg.norm(LIGHT)
    shade = (0.72 + 0.30 * (normals[facing] @ light)).clip(0, 1)[:, None]
    flat = corners[facing][:, :, [0, 3 - axis]]
    tones = (colours[facing] * shade).clip(0, 1)
    axes.add_collection(PolyCollection(flat, facecolors=tones, edgecolors=tones, linewidths=0.2, rasterized=True))
    axes.autoscale_view()
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _outlined(axes: Axes, fit: ShoeFit, axis: int) -> None:
    """The last around the foot: its outline from above, or its profile up to the shoe's opening."""
    rings = 1000 * np.asarray(fit.last.mesh.vertices)[:-2].reshape(ALONG, -1, 3)
    along = rings[:, 0, 0]
    if axis == 1:
        edges = np.concatenate([rings[..., 2].min(1), rings[::-1, :, 2].max(1)])
        axes.plot([*along, *along[::-1], along[0]], [*edges, edges[0]], color=INK, linewidth=1.2)
    else:
        share, height = np.array(OPENING).T
        top = np.minimum(rings[..., 1].max(1), fit.last.girth * np.interp(along / fit.last.length, share, height))
        axes.plot([0, *along, along[-1], 0], [0, *top, 0, 0], color=INK, linewidth=1.2)


def _pressed(fit: ShoeFit) -> list[int]:
    """The vertex that is pressed most of each pressed place, the worst first."""
    faces = np.asarray(fit.foot.faces)
    tight = np.flatnonzero((np.nan_to_num(fit.clearance)[faces] < PRESSED).all(1))
    neighbours = fit.foot.face_adjacency[np.isin(fit.foot.face_adjacency, tight).all(1)]
    places = trimesh.graph.connected_components(neighbours, nodes=tight, min_len=1)
    places = [place for place in places if 1e6 * fit.foot.area_faces[place].sum() > SMALLEST]
    deepest = [faces[place].ravel()[fit.clearance[faces[place].ravel()].argmin()] for place in places]
    return sorted((int(vertex) for vertex in deepest), key=lambda vertex: fit.clearance[vertex])


def _marked(axes: Axes, fit: ShoeFit, axis: int, sign: float, places: list[int]) -> None:
    """Circles and millimetres at the pressed places that face the viewer."""
    for place in places:
        if sign * fit.foot.vertex_normals[place, axis] < 0.2:
            continue
        point = 1000 * fit.foot.vertices[place][[0, 3 - axis]]
        axes.plot(*point, "o", markersize=9, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.1)
        axes.annotate(
            f"{fit.clearance[place]:.1f}".replace("-", "−"), point, (7, 5), textcoords="offset points", fontsize=8
        )


@study_style
def landmark_figure(
    mesh: trimesh.Trimesh, marks: Mapping[str, Float[np.ndarray, "points 3"]], title: str = ""
) -> Figure:
    """Where true measures are taken (`capture.landmarks`): points by name and closed outlines, on the foot.

    Args:
        mesh: the foot in its own frame, metres; a left one is seen from above and from its inner side.
    """
    figure = new_figure(10, 8.4)
    grid = figure.subplots(2, 1, sharex=True)
    grey = np.tile(to_rgb(SOLID), (len(mesh.faces), 1))
    for axes, axis in zip(grid, (1, 2), strict=True):
        _shown(axes, mesh, axis, 1.0, grey)
        for number, (name, points) in enumerate(marks.items()):
            flat, colour = 1000 * points[:, [0, 3 - axis]], PALETTE[number % len(PALETTE)]
            if len(points) > 1:
                axes.plot(*flat.T, "-", color=colour, label=name)
                continue
            axes.plot(*flat.T, "o", color=colour, markersize=5)
            if axis == 1 or name not in BEHIND:
                axes.annotate(name, flat[0], (6, 6), textcoords="offset points", color=colour, fontsize=9)
        axes.margins(0.06, 0.12)
    grid[0].invert_yaxis()
    grid[0].set_ylabel("from above")
    grid[1].set_ylabel("inner side")
    grid[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.suptitle(title)
    return figure


@study_style
def measurement_figure(mesh: trimesh.Trimesh, measures: Measures, marks: Landmarks, title: str = "") -> Figure:
    """A foot from above and from the side, with the lines along which it was measured and their millimetres."""
    points = 1000 * np.asarray(mesh.vertices)
    deep, high = np.ptp(points[:, 2]) + 40, 1.1 * np.ptp(points[:, 1])
    figure = new_figure(10, 5.6)
    above, beside = figure.subplots(2, 1, sharex=True, height_ratios=(deep, high))
    for axes, up in ((above, 2), (beside, 1)):
        _flattened(axes, mesh, up)
    heel, toe, inner, outer = (1000 * point for point in (marks.heel, marks.toe, marks.inner, marks.outer))
    aside = points[:, 2].max() + 12
    above.set_ylim(aside + 22, points[:, 2].min() - 6)  # +z is the right side: below, seen from above
    above.plot([heel[0], toe[0]], [aside] * 2, "|-", color=PALETTE[0])
    above.text(
        (heel[0] + toe[0]) / 2, aside + 5, f"length {measures.length:.0f}", color=PALETTE[0], ha="center", va="top"
    )
    above.plot([inner[0], outer[0]], [inner[2], outer[2]], "o-", color=PALETTE[1])
    above.text(*((inner + outer) / 2 + 5)[[0, 2]], f"ball width {measures.ball_width:.0f}", color=PALETTE[1])
    rear = 1000 * marks.rear
    above.plot([rear[0, 0]] * 2, rear[:, 2], "--", color=PALETTE[2])
    above.text(rear[0, 0] + 4, heel[2], f"heel breadth {measures.heel_breadth:.0f}", color=PALETTE[2], va="center")
    for tape, colour, name, value in (
        (1000 * marks.ball, PALETTE[1], "ball girth", measures.ball_girth),
        (1000 * marks.instep, PALETTE[3], "instep girth", measures.instep_girth),
    ):
        beside.plot(tape[:, 0], tape[:, 1], color=colour)
        beside.text(tape[:, 0].mean(), tape[:, 1].max() + 3, f"{name} {value:.0f}", color=colour, ha="center")
    if marks.arch is not None:
        arch = 1000 * marks.arch
        beside.plot([arch[0]] * 2, [0, arch[1]], "_-", color=INK)
        beside.text(arch[0] - 4, arch[1] / 2, f"arch {measures.arch_height:.0f}", color=INK, ha="right", va="center")
    beside.set_xlabel("x, towards the toes [mm]")
    figure.suptitle(title)
    return figure


AROUND = np.array([90.0, 150.0, 90.0])
"""How much of a scan is shown on each side of the foot that was found in it, mm."""


@study_style
def cleaning_figure(scan: trimesh.Trimesh, foot: trimesh.Trimesh) -> Figure:
    """A scan and the foot that was found in it, both in the foot's frame, from above and from the right side.

    Surfaces that show their inner side, through a hole or an open end, are dark; the line is the floor.
    """
    figure = new_figure(10, 6.2)
    grid = figure.subplots(2, 2, sharex=True, sharey="row")
    lower = np.maximum(1000 * scan.bounds[0] - 8, 1000 * foot.bounds[0] - AROUND)
    upper = np.minimum(1000 * scan.bounds[1] + 8, 1000 * foot.bounds[1] + AROUND)
    lower, upper = np.minimum(lower, 1000 * foot.bounds[0] - 8), np.maximum(upper, 1000 * foot.bounds[1] + 8)
    for column, (mesh, title) in enumerate(((scan, "as it was scanned"), (foot, "cleaned"))):
        for axes, up in zip(grid[:, column], (2, 1), strict=True):
            _shaded(axes, mesh, up)
        grid[1, column].axhline(0, color=INK, linewidth=0.8)
        grid[0, column].set_title(title)
        grid[1, column].set_xlabel("x, towards the toes [mm]")
    # +z is the right side: below, seen from above.
    grid[0, 0].set(xlim=(lower[0], upper[0]), ylim=(upper[2], lower[2]), ylabel="z [mm]")
    grid[1, 0].set(ylim=(lower[1], upper[1]), ylabel="y [mm]")
    return figure


def _shaded(axes: Axes, mesh: trimesh.Trimesh, up: int) -> None:
    """A lit surface along x and the axis ``up``, in millimetres, seen from above or from the right side."""
    corners, normals = 1000 * np.asarray(mesh.triangles), np.asarray(mesh.face_normals)
    nearer = corners[:, :, 3 - up].mean(1).argsort()  # from above along y, from the right side along z
    light = 0.45 + 0.6 * (normals @ [0.35, 0.7, 0.62]).clip(0, 1)
    light[normals[:, 3 - up] < 0] = 0.35
    tones = (np.array(to_rgb(SOLID)) * light[:, None]).clip(0, 1)[nearer]
    # Without edges of their own colour, hairlines of paper show between triangles.
    flat = PolyCollection(corners[nearer][:, :, [0, up]], facecolors=tones, edgecolors=tones, linewidths=0.2)
    axes.add_collection(flat)
    axes.set(aspect="equal")


def _flattened(axes: Axes, mesh: trimesh.Trimesh, up: int) -> None:
    """A surface along x and the axis ``up``, in millimetres; what is nearer to who looks is drawn over the rest."""
    corners = 1000 * np.asarray(mesh.vertices)[mesh.faces]
    nearer = corners[:, :, 3 - up].mean(1).argsort()  # from above along y, from the right side along z
    flat = corners[nearer][:, :, [0, up]]
    axes.add_collection(PolyCollection(flat, facecolors=SOLID, edgecolors=SOLID, linewidths=0.2))
    axes.autoscale_view()
    axes.set(aspect="equal", ylabel=f"{'xyz'[up]} [mm]")
