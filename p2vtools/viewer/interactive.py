"""Figures that answer the mouse: camera poses and training curves (plotly), volumes (k3d)."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import k3d
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import Cube
from p2vtools.viewer.figures import line_styles
from p2vtools.viewer.scene import isosurface
from p2vtools.viewer.static_html import Scenes
from p2vtools.viewer.style import FAINTER, INK, PALETTE, SOLID, use_plotly_style

DASHES = {"-": "solid", "--": "dash", ":": "dot"}
"""matplotlib's names of lines -> plotly's."""


def camera_poses(cameras: Sequence[Camera], cube: Cube, names: Sequence[str] = ()) -> go.Figure:
    """Where ``cameras`` stand around the ``cube``: positions and viewing pyramids in 3-D, y up, metres.

    The hover says azimuth, elevation (degrees) and distance (m) as seen from the cube's centre.
    """
    use_plotly_style()
    figure = go.Figure()
    _add_lines(figure, _cube_edges(cube), INK, "cube")
    floor = np.array([cube.centre[0], cube.lower[1], cube.centre[2]])
    _add_lines(figure, [np.stack([floor, floor + [0.75 * cube.edge, 0, 0]])], PALETTE[1], "+x: the front")
    reach = min((np.linalg.norm(c.position - cube.centre) for c in cameras), default=1.0) * 0.2
    _add_lines(figure, [line for c in cameras for line in _pyramid(c, reach)], PALETTE[4], "viewing pyramids")
    positions = np.array([camera.position for camera in cameras]).reshape(-1, 3)
    away = positions - cube.centre
    distance = np.linalg.norm(away, axis=1)
    azimuth = np.rad2deg(np.arctan2(away[:, 2], away[:, 0])) % 360
    elevation = np.rad2deg(np.arcsin(away[:, 1] / distance))
    figure.add_scatter3d(
        x=positions[:, 0],
        y=positions[:, 1],
        z=positions[:, 2],
        mode="markers+text",
        text=list(names) or [str(number) for number in range(len(positions))],
        marker={"size": 5, "color": PALETTE[0]},
        customdata=np.column_stack([azimuth, elevation, distance]),
        hovertemplate="view %{text}<br>azimuth %{customdata[0]:.1f}°<br>elevation %{customdata[1]:.1f}°"
        "<br>distance %{customdata[2]:.3f} m<extra></extra>",
        name="cameras",
    )
    axes = {f"{axis}axis": {"title": {"text": f"{axis} [m]"}, "backgroundcolor": "#f6f7f9"} for axis in "xyz"}
    eye = {"up": {"x": 0, "y": 1, "z": 0}, "eye": {"x": 1.5, "y": 1.1, "z": 1.4}}
    figure.update_layout(scene={**axes, "aspectmode": "data", "camera": eye}, height=560)
    return figure


def _add_lines(figure: go.Figure, lines: Sequence[np.ndarray], colour: str, name: str) -> None:
    """Adds polylines ``[points, 3]`` as one trace."""
    gap = np.full((1, 3), np.nan)
    x, y, z = np.concatenate([part for line in lines for part in (line, gap)] or [gap]).T
    style = {"color": colour, "width": 4}
    figure.add_scatter3d(x=x, y=y, z=z, mode="lines", line=style, name=name, hoverinfo="skip")


def _cube_edges(cube: Cube) -> list[np.ndarray]:
    corners = cube.corners()
    # Corners are numbered by three bits; an edge joins two whose numbers differ in one.
    return [corners[[corner, corner | bit]] for corner in range(8) for bit in (1, 2, 4) if not corner & bit]


def _pyramid(camera: Camera, depth: float) -> list[np.ndarray]:
    """The lines from a camera's centre to its picture's corners at ``depth`` metres, and around them."""
    w, h = camera.width, camera.height
    pixels = np.array([[0, 0, 1], [w, 0, 1], [w, h, 1], [0, h, 1.0]])
    inside = pixels @ np.linalg.inv(camera.intrinsics).T * depth
    corners = inside @ camera.extrinsics[:3, :3] + camera.position
    return [np.vstack([corners, corners[:1]]), *[np.vstack([camera.position, corner]) for corner in corners]]


def training_curves(history: pd.DataFrame, by: str | None = None) -> go.Figure:
    """Training curves with hover: loss and validation IoU against the step.

    Args:
        history: as `p2vlib.training` keeps it: columns ``step``, ``loss`` and ``validation_iou``; several trainings
            may stand in one table, told apart by column ``by``.
    """
    use_plotly_style()
    names = {"loss": "training loss", "validation_iou": "validation IoU"}
    figure = make_subplots(rows=1, cols=2, subplot_titles=tuple(names.values()))
    for index, (name, rows) in enumerate(history.groupby(by, sort=False) if by else [("training", history)]):
        for place, column in enumerate(names, start=1):
            figure.add_scatter(
                x=rows["step"],
                y=rows[column],
                name=str(name),
                legendgroup=str(name),
                showlegend=place == 1 and by is not None,
                mode="lines+markers",
                line={"color": PALETTE[index % len(PALETTE)]},
                hovertemplate=f"{name}<br>step %{{x}}<br>{names[column]} %{{y:.4f}}<extra></extra>",
                row=1,
                col=place,
            )
    figure.update_xaxes(title_text="step [optimiser updates]")
    figure.update_yaxes(title_text="loss", row=1, col=1)
    figure.update_yaxes(title_text="IoU", row=1, col=2)
    figure.update_layout(height=360, margin={"t": 50})
    return figure


def iou_curves(summary: pd.DataFrame, published: pd.DataFrame | None = None, by: str = "model") -> go.Figure:
    """IoU against the number of photos with hover: as `iou_against_views`, with the same arguments."""
    use_plotly_style()
    figure = go.Figure()
    for name, (colour, _, line) in line_styles(str(name) for name in summary[by].unique()).items():
        rows = summary[summary[by] == name].sort_values("views")
        spread = {"low", "high"} <= set(rows)
        bars = {"array": rows.high - rows.iou, "arrayminus": rows.iou - rows.low, "thickness": 1} if spread else None
        told = f"<br>95 % interval {'%{customdata[0]:.3f} to %{customdata[1]:.3f}'}" if spread else ""
        figure.add_scatter(
            x=rows.views,
            y=rows.iou,
            error_y=bars,
            customdata=rows[["low", "high"]] if spread else None,
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": DASHES[line]},
            hovertemplate=f"{html.escape(name)}<br>%{{x}} photos<br>IoU %{{y:.3f}}{told}<extra></extra>",
        )
    if published is not None:
        shown = published[published.views <= summary.views.max()].sort_values("views")
        for name, rows in shown.groupby("model", sort=False):
            line = {"color": FAINTER, "dash": "dot", "width": 1}
            hover = f"{html.escape(str(name))}, published<br>%{{x}} photos<br>IoU %{{y:.3f}}<extra></extra>"
            title = f"{name}, published"
            figure.add_scatter(x=rows.views, y=rows.iou, name=title, mode="lines", line=line, hovertemplate=hover)
    figure.update_xaxes(title_text="photos [count]", tickvals=sorted(summary.views.unique()))
    figure.update_yaxes(title_text="IoU")
    figure.update_layout(height=420)
    return figure


def volume_scene(grids: Mapping[str, np.ndarray], cube: Cube, level: float = 0.5) -> Scenes:
    """Surfaces of volumes over one ``cube``, side by side along z and named, in millimetres, to be turned by hand.

    Args:
        grids: name -> ``[x, y, z]``, boolean or occupancy in [0, 1].
        level: occupancy at which the surface is drawn.
    """
    if not grids:
        raise ValueError("a 3-D view needs at least one volume; found none")
    plot = k3d.plot(
        height=420, camera_auto_fit=False, camera_fov=30, grid_visible=False, menu_visibility=False, axes_helper=0
    )
    pitch = 1100 * cube.edge
    for index, (name, grid) in enumerate(grids.items()):
        colour = (SOLID, *PALETTE)[index % 8]
        plot += isosurface(grid, 1000 * cube.edge, colour, level, (0, 0, -index * pitch))
        words = f'<span style="color: {colour}">■</span> {html.escape(name)}'
        place = (0.02, 0.04 + 0.08 * index)
        plot += k3d.text2d(words, place, color=int(INK[1:], 16), is_html=True, label_box=False)
    middle = np.array([0, -250 * cube.edge, -pitch * (len(grids) - 1) / 2])
    distance = 1000 * cube.edge * (1 + 0.55 * len(grids))
    plot.camera = [*(middle + distance * np.array([1, 0.55, 0.45])), *middle, 0, 1, 0]
    return Scenes([plot], title=f"surfaces: {', '.join(grids)}")
