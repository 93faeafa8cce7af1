"""Interactive figures: camera poses and curves with hover labels (plotly), volumes (k3d)."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import k3d
import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import Cube
from p2vtools.viewer.curves import line_styles, published_in_range
from p2vtools.viewer.scene import isosurface, new_plot, to_number, view_pyramid
from p2vtools.viewer.static_html import Scenes, is_live
from p2vtools.viewer.style import FAINTER, INK, PALETTE, SOLID, use_plotly_style

DASHES = {"-": "solid", "--": "dash", ":": "dot"}
"""matplotlib's line styles -> plotly's."""


def camera_poses(cameras: Sequence[Camera], cube: Cube) -> go.Figure:
    """Positions and viewing pyramids of ``cameras`` around the ``cube``: metres, y up.

    Hover labels show azimuth, elevation (degrees) and distance (m) from the centre of the cube.
    """
    use_plotly_style()
    positions = np.array([camera.position for camera in cameras]).reshape(-1, 3)
    offset = positions - cube.centre
    distance = np.linalg.norm(offset, axis=1)
    table = pd.DataFrame(positions, columns=["x [m]", "y [m]", "z [m]"])
    table["azimuth [°]"] = np.rad2deg(np.arctan2(offset[:, 2], offset[:, 0])) % 360
    table["elevation [°]"] = np.rad2deg(np.arcsin(offset[:, 1] / distance))
    table["distance [m]"] = distance
    table["view"] = [str(number) for number in range(len(cameras))]
    hover = dict.fromkeys(table.columns[:3], False) | dict.fromkeys(table.columns[3:6], ":.3f")
    figure = px.scatter_3d(table, *table.columns[:3], text="view", hover_data=hover)
    figure.update_traces(marker={"size": 5, "color": PALETTE[0]}, name="cameras", showlegend=True)
    corners = cube.corners()
    # Corners are numbered by three bits; an edge joins two whose numbers differ in one bit.
    edges = [corners[[corner, corner | bit]] for corner in range(8) for bit in (1, 2, 4) if not corner & bit]
    floor = np.array([cube.centre[0], cube.lower[1], cube.centre[2]])
    reach = 0.2 * distance.min(initial=5.0)
    pyramids = [camera.position + reach * view_pyramid(camera)[[0, 1, 2, 0, 3, 4, 0, 4, 1, 2, 3]] for camera in cameras]
    arrow = np.stack([floor, floor + [0.75 * cube.edge, 0, 0]])
    lines = {"cube": (edges, INK), "+x: the front": ([arrow], PALETTE[1]), "viewing pyramids": (pyramids, PALETTE[4])}
    for name, (polylines, colour) in lines.items():
        gap = np.full((1, 3), np.nan)
        x, y, z = np.concatenate([part for line in polylines for part in (line, gap)] or [gap]).T
        style = {"color": colour, "width": 4}
        figure.add_scatter3d(x=x, y=y, z=z, mode="lines", line=style, name=name, hoverinfo="skip")
    view = {"up": {"x": 0, "y": 1, "z": 0}, "eye": {"x": 1.5, "y": 1.1, "z": 1.4}}
    figure.update_layout(scene={"aspectmode": "data", "camera": view}, height=560)
    return figure


def training_curves(history: pd.DataFrame, by: str) -> go.Figure:
    """Loss and validation IoU against the step, with hover labels.

    Args:
        history: as returned by `p2vlib.training.train`: columns ``step``, ``loss`` and ``validation_iou``.
        by: column that distinguishes several trainings.
    """
    use_plotly_style()
    names = {"loss": "training loss", "validation_iou": "validation IoU"}
    rows = history.rename(columns=names).melt(["step", by], [*names.values()], "curve", "value")
    figure = px.line(rows, x="step", y="value", color=by, facet_col="curve", markers=True, height=360)
    figure.for_each_annotation(lambda title: title.update(text=title.text.removeprefix("curve=")))
    figure.update_xaxes(title_text="step [optimiser updates]")
    figure.update_yaxes(matches=None, showticklabels=True, title_text=None)
    return figure


def iou_curves(summary: pd.DataFrame, published: pd.DataFrame | None = None, by: str = "model") -> go.Figure:
    """IoU against the number of photos with hover labels; arguments as for `iou_against_views`."""
    use_plotly_style()
    rows = summary.sort_values("views").astype({by: str})
    styles = line_styles(summary[by].astype(str).unique())
    bars = {}
    if {"low", "high"} <= set(rows):
        rows = rows.assign(up=rows.high - rows.iou, down=rows.iou - rows.low)
        bars = {"error_y": "up", "error_y_minus": "down", "hover_data": {"low": ":.3f", "high": ":.3f", "iou": ":.3f"}}
    figure = px.line(
        *(rows, "views", "iou", by),
        category_orders={by: list(styles)},
        color_discrete_map={name: style["color"] for name, style in styles.items()},
        line_dash=by,
        line_dash_map={name: DASHES[style["linestyle"]] for name, style in styles.items()},
        markers=True,
        height=420,
        **bars,
    )
    figure.update_traces(error_y_thickness=1)
    if published is not None:
        for name, line in published_in_range(published, summary).groupby("model", sort=False):
            style = {"color": FAINTER, "dash": "dot", "width": 1}
            figure.add_scatter(x=line.views, y=line.iou, name=f"{name}, published", mode="lines", line=style)
    figure.update_xaxes(title_text="photos [count]", tickvals=sorted(summary.views.unique()))
    figure.update_yaxes(title_text="IoU")
    return figure


def volume_scene(volumes: Mapping[str, np.ndarray], cube: Cube) -> k3d.Plot | Scenes:
    """Surfaces of volumes over one ``cube``, side by side along z and labelled, in millimetres.

    Args:
        volumes: name -> ``[x, y, z]``, boolean or occupancy in [0, 1]; the surface is where it is 0.5.
    """
    plot = new_plot(420)
    edge, pitch = 1000 * cube.edge, 1100 * cube.edge
    for index, (name, volume) in enumerate(volumes.items()):
        colour = (SOLID, *PALETTE)[index % 8]
        plot += isosurface(volume, edge, colour, 0.5, (0, 0, -index * pitch))
        label = f'<span style="color: {colour}">■</span> {html.escape(name)}'
        place = (0.02, 0.04 + 0.08 * index)
        plot += k3d.text2d(label, place, color=to_number(INK), is_html=True, label_box=False)
    target = np.array([0, -edge / 4, -pitch * (len(volumes) - 1) / 2])
    distance = edge * (1 + 0.55 * len(volumes))
    plot.camera = [*(target + distance * np.array([1, 0.55, 0.45])), *target, 0, 1, 0]
    return plot if is_live() else Scenes([plot], title=f"surfaces: {', '.join(volumes)}")
