"""Figures of one foot: where it is measured, before and after scan cleaning, and in shoe lasts of three sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import numpy as np
import trimesh
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure

from p2vtools.fit.measure import MONDOPOINT_STEP, TOE_ROOM, Landmarks, Measures, shoe_sizes
from p2vtools.fit.shoe_last import SECTIONS, ShoeFit, opening_height
from p2vtools.viewer.style import FAINT, FAINTER, INK, PALETTE, SOLID, hide_axes, new_figure, study_style

CLEARANCE_COLOURS, MAX_CLEARANCE = "RdBu", 10.0
"""Colour map from pressed to loose (ColorBrewer, safe for colour-blind readers), and its limit, mm."""

PRESSURE_CLEARANCE, PRESSURE_AREA = -1.0, 20.0
"""A pressure point has less clearance (mm) on more area (mm²)."""

LIGHT = np.array([0.35, 0.85, 0.4])
"""Direction of the light: along x, up, towards the viewer."""

VIEWS = {"from above": (1, 1.0), "inner side": (2, 1.0), "outer side": (2, -1.0)}
"""View -> the axis that points at the viewer and its sign, in the frame of a last (`p2vtools.fit.shoe_last`)."""

HIDDEN = ("toe 2", "toe 3", "toe 4", "toe 5", "fifth metatarsal", "heel, outer")
"""Landmarks that are not labelled in the view of the inner side, which hides them."""

SCAN_MARGIN = np.array([90.0, 150.0, 90.0])
"""How much of a scan is drawn on each side of the foot, mm."""

CAPTION = (
    "The last is a schematic solid: length and ball girth of the foot, graded by size, {room:.0f} mm of toe allowance, "
    "and the mean proportions of this study's feet; its toe cap and opening are assumed.\nIt is not a manufacturer's "
    "last: no heel lift, no toe spring; neither shoe nor foot deforms. The sole and the part above the opening (grey) "
    "are not evaluated."
)


def draw_mesh(
    axes: Axes,
    mesh: trimesh.Trimesh,
    axis: int,
    sign: float = 1.0,
    colours: Float[np.ndarray, "faces 3"] | str = SOLID,
) -> None:
    """Draws a shaded surface in millimetres, seen along ``axis``: 1 from above (x and z), 2 from the side (x and y).

    The inner side of an open surface is dark.
    """
    corners, normals = 1000 * np.asarray(mesh.triangles), np.asarray(mesh.face_normals)
    is_front = sign * normals[:, axis] > 0
    faces = np.flatnonzero(is_front) if mesh.is_watertight else np.arange(len(corners))
    faces = faces[(sign * corners[faces, :, axis].mean(1)).argsort()]  # the farthest first
    light = LIGHT * [1, 1, sign] / np.linalg.norm(LIGHT)
    shade = np.where(is_front, (0.72 + 0.30 * (normals @ light)).clip(0, 1), 0.35)[faces, None]
    base = np.array(to_rgb(colours)) if isinstance(colours, str) else colours[faces]
    tones, outlines = (base * shade).clip(0, 1), corners[faces][:, :, [0, 3 - axis]]
    # Edges in the colour of the face close the hairline gaps between triangles.
    axes.add_collection(PolyCollection(outlines, facecolors=tones, edgecolors=tones, linewidths=0.2, rasterized=True))
    axes.autoscale_view()
    axes.set(aspect="equal", ylabel="z [mm]" if axis == 1 else "y [mm]")


@study_style
def fit_map(fits: Sequence[ShoeFit], title: str = "", caption: bool = True) -> Figure:
    """Clearance of a foot in lasts of neighbouring sizes (`fit_shoes`), as colours on the foot.

    Args:
        caption: whether `CAPTION`, which is wider than one size, is below the figure.
    """
    figure = new_figure(4.2 * len(fits) + 0.6, 7.4)
    grid = figure.subplots(len(VIEWS), len(fits), squeeze=False)
    length = max(fit.last.length for fit in fits) + TOE_ROOM
    for column, fit in zip(grid.T, fits, strict=True):
        points = _pressure_points(fit)
        for axes, (view, (axis, sign)) in zip(column, VIEWS.items(), strict=True):
            draw_mesh(axes, fit.foot, axis, sign, _clearance_colours(fit))
            hide_axes(axes)
            _draw_last(axes, fit, axis)
            _mark_pressure(axes, fit, axis, sign, points)
            half, top = 0.23 * length, 1000 * fit.foot.vertices[:, 1].max()
            axes.set(xlim=(-0.08 * length, 1.03 * length), ylim=(-half, half) if axis == 1 else (-4, top + 2))
            axes.set_ylabel(view if fit is fits[0] else "")
            # From above, the inner side of a left foot is below; from its outer side, its toes point left.
            if axis == 1 and fit.side == "left":
                axes.invert_yaxis()
            if axis == 2 and (sign < 0) == (fit.side == "left"):
                axes.invert_xaxis()
        column[0].set_title(_fit_title(fit, points))
    scale = ScalarMappable(Normalize(-MAX_CLEARANCE, MAX_CLEARANCE), matplotlib.colormaps[CLEARANCE_COLOURS])
    bar = figure.colorbar(scale, ax=grid, shrink=0.7, aspect=30, pad=0.01, extend="both")
    bar.set_label("pressed  ←  clearance [mm]  →  loose")
    figure.suptitle(title)
    if caption:
        figure.supxlabel(CAPTION.format(room=TOE_ROOM), fontsize=8, color=FAINTER, ha="center")
    return figure


def _fit_title(fit: ShoeFit, points: list[int]) -> str:
    """Size, room and pressure: a larger shoe presses on less area, which may lie in more places."""
    deepest = -min((fit.clearance[point] for point in points), default=0.0)
    area = 1e4 * fit.foot.area_faces[_pressed_faces(fit)].sum()
    pressure = f"pressed on {area:.0f} cm², up to {deepest:.1f} mm" if points else "no pressure"
    eu = shoe_sizes(fit.last.length)["EU"].split(" ")[0]  # of a shoe, not of a foot: without the other possible ones
    size = f"Mondopoint {fit.last.length:.0f}, EU {eu}"
    nearest = "nearest to this foot" if abs(fit.toe_room - TOE_ROOM) <= MONDOPOINT_STEP / 2 else ""
    return f"{nearest}\n{size}\ntoe room {fit.toe_room:.0f} mm\n{pressure}"


def _pressed_faces(fit: ShoeFit) -> Int[np.ndarray, " pressed"]:
    faces = np.asarray(fit.foot.faces)
    return np.flatnonzero((np.nan_to_num(fit.clearance)[faces] < PRESSURE_CLEARANCE).all(1))


def _clearance_colours(fit: ShoeFit) -> Float[np.ndarray, "faces 3"]:
    """Colour of each face; grey where the clearance is not evaluated."""
    room = fit.clearance[fit.foot.faces].mean(1)
    share = Normalize(-MAX_CLEARANCE, MAX_CLEARANCE, clip=True)(np.nan_to_num(room))
    colours = matplotlib.colormaps[CLEARANCE_COLOURS](share)[:, :3]
    colours[np.isnan(room)] = to_rgb(FAINT)
    return colours


def _draw_last(axes: Axes, fit: ShoeFit, axis: int) -> None:
    """The outline of the last from above, or its profile up to the opening of the shoe."""
    rings = 1000 * np.asarray(fit.last.mesh.vertices)[:-2].reshape(SECTIONS, -1, 3)
    x = rings[:, 0, 0]
    if axis == 1:
        z = np.concatenate([rings[..., 2].min(1), rings[::-1, :, 2].max(1)])
        axes.plot([*x, *x[::-1], x[0]], [*z, z[0]], color=INK, linewidth=1.2)
    else:
        top = np.minimum(rings[..., 1].max(1), 1000 * opening_height(fit.last, x / 1000))
        axes.plot([0, *x, x[-1], 0], [0, *top, 0, 0], color=INK, linewidth=1.2)


def _pressure_points(fit: ShoeFit) -> list[int]:
    """The vertex with the least clearance of each connected pressed area, the deepest first."""
    faces, pressed = np.asarray(fit.foot.faces), _pressed_faces(fit)
    neighbours = fit.foot.face_adjacency[np.isin(fit.foot.face_adjacency, pressed).all(1)]
    areas = trimesh.graph.connected_components(neighbours, nodes=pressed, min_len=1)
    areas = [faces[area].ravel() for area in areas if 1e6 * fit.foot.area_faces[area].sum() > PRESSURE_AREA]
    deepest = [int(vertices[fit.clearance[vertices].argmin()]) for vertices in areas]
    return sorted(deepest, key=lambda vertex: fit.clearance[vertex])


def _mark_pressure(axes: Axes, fit: ShoeFit, axis: int, sign: float, points: list[int]) -> None:
    """Circles and millimetres at the pressure points that face the viewer."""
    for vertex in points:
        if sign * fit.foot.vertex_normals[vertex, axis] < 0.2:
            continue
        place = 1000 * fit.foot.vertices[vertex][[0, 3 - axis]]
        axes.plot(*place, "o", markersize=9, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.1)
        label = f"{fit.clearance[vertex]:.1f}".replace("-", "−")
        axes.annotate(label, place, (7, 5), textcoords="offset points", fontsize=8)


@study_style
def landmark_figure(
    mesh: trimesh.Trimesh, landmarks: Mapping[str, Float[np.ndarray, "points 3"]], title: str = ""
) -> Figure:
    """Landmarks (`p2vtools.synthesis.feet.landmarks`) on a foot: labelled points, and closed outlines.

    Args:
        mesh: the foot in its own frame, metres; a left foot is drawn from above and from its inner side.
    """
    figure = new_figure(10, 8.4)
    grid = figure.subplots(2, 1, sharex=True)
    for axes, axis, view in zip(grid, (1, 2), ("from above", "inner side"), strict=True):
        draw_mesh(axes, mesh, axis)
        hide_axes(axes)
        for number, (name, points) in enumerate(landmarks.items()):
            flat, colour = 1000 * points[:, [0, 3 - axis]], PALETTE[number % len(PALETTE)]
            if len(points) > 1:
                axes.plot(*flat.T, "-", color=colour, label=name)
                continue
            axes.plot(*flat.T, "o", color=colour, markersize=5)
            if axis == 1 or name not in HIDDEN:
                axes.annotate(name, flat[0], (6, 6), textcoords="offset points", color=colour, fontsize=9)
        axes.margins(0.06, 0.12)
        axes.set_ylabel(view)
    grid[0].invert_yaxis()
    grid[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.suptitle(title)
    return figure


@study_style
def measurement_figure(
    mesh: trimesh.Trimesh, measures: Measures, landmarks: Landmarks, title: str = "", has_scale: bool = True
) -> Figure:
    """A foot from above and from the side, with the lines along which it was measured and their millimetres.

    Args:
        has_scale: whether the size is known; otherwise lengths are percentages of the length of the foot.
    """
    lower, upper = 1000 * mesh.bounds
    figure = new_figure(10, 5.6)
    above, side = figure.subplots(2, 1, sharex=True, height_ratios=(upper[2] - lower[2] + 40, 1.1 * (upper - lower)[1]))
    for axes, axis in ((above, 1), (side, 2)):
        draw_mesh(axes, mesh, axis)
    points = {name: None if value is None else 1000 * value for name, value in vars(landmarks).items()}

    def draw(axes: Axes, x: Iterable, y: Iterable, style: str, colour: str, label: str, at: tuple, **text: str) -> None:
        value = getattr(measures, label.replace(" ", "_"))
        axes.plot(x, y, style, color=colour)
        number = f"{value:.0f}" if has_scale else f"{value / measures.length:.0%}"
        axes.text(*at, f"{label} {number}", color=colour, **text)

    heel, toe, z = points["heel"], points["toe"], upper[2] + 12
    place = ((heel[0] + toe[0]) / 2, z + 5)
    draw(above, [heel[0], toe[0]], [z, z], "|-", PALETTE[0], "length", place, ha="center", va="top")
    ball = np.stack([points["first_metatarsal"], points["fifth_metatarsal"]])
    draw(above, ball[:, 0], ball[:, 2], "o-", PALETTE[1], "ball width", tuple(ball.mean(0)[[0, 2]] + 5))
    x, edges = points["heel_edges"][0, 0], points["heel_edges"][:, 2]
    draw(above, [x, x], edges, "--", PALETTE[2], "heel breadth", (x + 4, heel[2]), va="center")
    for name, colour in (("ball", PALETTE[1]), ("instep", PALETTE[3])):
        tape = points[f"{name}_tape"]
        if f"{name} girth" in measures.not_reached:
            continue
        place = (tape[:, 0].mean(), tape[:, 1].max() + 3)
        draw(side, tape[:, 0], tape[:, 1], "-", colour, f"{name} girth", place, ha="center")
    if points["arch"] is not None and measures.arch_height is not None:
        x, y, _ = points["arch"]
        draw(side, [x, x], [0, y], "_-", INK, "arch height", (x - 4, y / 2), ha="right", va="center")
    above.set_ylim(z + 22, lower[2] - 6)  # +z, the right side of the foot, is below in a view from above
    side.set_xlabel("x, towards the toes [mm]")
    if not has_scale:
        for axes in (above, side):
            axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
    figure.suptitle(title)
    return figure


@study_style
def cleaning_figure(scan: trimesh.Trimesh, foot: trimesh.Trimesh) -> Figure:
    """A scan and the cleaned foot, both in the frame of the foot, from above and from the right side.

    Inner sides, visible through holes and open ends, are dark; the line is the floor.
    """
    figure = new_figure(10, 6.2)
    grid = figure.subplots(2, 2, sharex=True, sharey="row")
    scan_lower, scan_upper, foot_lower, foot_upper = 1000 * np.concatenate([scan.bounds, foot.bounds])
    lower = np.minimum(np.maximum(scan_lower - 8, foot_lower - SCAN_MARGIN), foot_lower - 8)
    upper = np.maximum(np.minimum(scan_upper + 8, foot_upper + SCAN_MARGIN), foot_upper + 8)
    for column, (mesh, title) in enumerate(((scan, "scan"), (foot, "cleaned"))):
        for axes, axis in zip(grid[:, column], (1, 2), strict=True):
            draw_mesh(axes, mesh, axis)
            axes.label_outer()
        grid[1, column].axhline(0, color=INK, linewidth=0.8)
        grid[0, column].set_title(title)
        grid[1, column].set_xlabel("x, towards the toes [mm]")
    grid[0, 0].set(xlim=(lower[0], upper[0]), ylim=(upper[2], lower[2]))  # +z, the right side, is below
    grid[1, 0].set(ylim=(lower[1], upper[1]))
    return figure
